"""Bars as inline SVG: no script, and no inline style, which the pages' content policy forbids. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from spendgate.console.text import usd

WIDTH, HEIGHT = 120, 12
DAYS_WIDTH, DAYS_HEIGHT = 620, 140


@dataclass(frozen=True, slots=True)
class Part:
    """A named share of a whole. `share` is 0 to 1000 of the largest."""

    name: str
    amount_nanousd: int
    share: int


def parts(amounts: Iterable[tuple[str, int]]) -> list[Part]:
    """The dearest first."""
    ordered = sorted(amounts, key=lambda a: (-a[1], a[0]))
    top = max((n for _, n in ordered), default=0)
    return [Part(name, n, max(0, n) * 1000 // top if top > 0 else 0) for name, n in ordered]


def bar(share: int) -> Markup:
    """A horizontal bar of 0 to 1000. Its number stands beside it as text, so it is hidden from readers."""
    return Markup(
        f'<svg class="bar" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">'
        f'<rect class="fill" width="{share * WIDTH // 1000}" height="{HEIGHT}" rx="2"/></svg>'
    )


def gauge(ratio: float | None, thresholds: Sequence[tuple[int, str]]) -> Markup:
    """Utilization against its thresholds: a bar with a tick a threshold. Beyond 120 % it is full."""
    if ratio is None:
        return Markup("")
    scale = WIDTH / 1.2
    level = _level(ratio, thresholds)
    ticks = "".join(
        f'<line class="tick {action}" x1="{p / 100 * scale:.1f}" x2="{p / 100 * scale:.1f}" y1="0" y2="{HEIGHT}"/>'
        for p, action in thresholds
        if p <= 120
    )
    return Markup(
        f'<svg class="bar gauge {level}" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">'
        f'<rect class="track" width="{WIDTH}" height="{HEIGHT}" rx="2"/>'
        f'<rect class="fill" width="{min(ratio, 1.2) * scale:.1f}" height="{HEIGHT}" rx="2"/>{ticks}</svg>'
    )


def _level(ratio: float, thresholds: Sequence[tuple[int, str]]) -> str:
    reached = [action for p, action in sorted(thresholds) if ratio * 100 >= p]
    return reached[-1] if reached else "calm"


def days_chart(days: Sequence[tuple[str, int]]) -> Markup:
    """A month's days as columns; the same numbers stand in a table below it."""
    top = max((n for _, n in days), default=0)
    if top <= 0:
        return Markup("")
    step = DAYS_WIDTH / 31
    columns = []
    for i, (day, nano) in enumerate(days):
        height = max(0, nano) * (DAYS_HEIGHT - 20) / top
        label = f"{day[:4]}-{day[4:6]}-{day[6:]}: {usd(nano)}"
        columns.append(
            f'<g><title>{escape(label)}</title><rect class="fill" x="{i * step + 2:.1f}" '
            f'y="{DAYS_HEIGHT - 18 - height:.1f}" width="{step - 4:.1f}" height="{max(height, 0.5):.1f}" rx="1"/>'
            f'<text x="{i * step + step / 2:.1f}" y="{DAYS_HEIGHT - 4}" text-anchor="middle">{int(day[6:])}</text></g>'
        )
    return Markup(
        f'<svg class="days" viewBox="0 0 {DAYS_WIDTH} {DAYS_HEIGHT}" role="img" '
        f'aria-label="Spend by day, at most {usd(top)}">{"".join(columns)}</svg>'
    )
