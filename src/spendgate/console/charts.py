"""Bars as inline SVG: no script, and no inline style, which the pages' content policy forbids. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from spendgate.values import dataclass

WIDTH, HEIGHT = 120, 12
SPARK_WIDTH, SPARK_HEIGHT = 80, 18


@dataclass(frozen=True, slots=True)
class Part:
    """A named share of a whole. `share` is 0 to 1000 of the largest."""

    name: str
    amount_nanousd: int
    share: int
    tokens: int = 0


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


def spark(days: Sequence[int]) -> Markup:
    """A team's last days as a line, without axes: its numbers stand beside it, so it is hidden from readers."""
    if len(days) < 2 or max(days) <= 0:
        return Markup("")
    top, step = max(days), SPARK_WIDTH / (len(days) - 1)
    points = " ".join(
        f"{i * step:.1f},{SPARK_HEIGHT - 1 - max(0, n) * (SPARK_HEIGHT - 2) / top:.1f}"
        for i, n in enumerate(days)
    )
    return Markup(
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" aria-hidden="true">'
        f'<polyline points="{points}"/></svg>'
    )
