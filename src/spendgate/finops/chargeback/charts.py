"""Charts of money as inline SVG: no scripts, nothing fetched, every value also as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from spendgate.money import NANO_PER_USD, nano_to_usd, usd_cell

BARS_MAX = 12
"""Bars of a chart; what is smaller adds up to one more."""
SERIES_MAX = 6
"""Colours of a stacked chart; what is smaller adds up to one more."""
WIDTH = 860


def bars(amounts: Iterable[tuple[str, int]], title: str) -> str:
    """A bar chart of nano-USD by name, the largest first; every bar has its name and amount as text."""
    ordered = sorted(amounts, key=lambda a: (-a[1], a[0]))
    if len(ordered) > BARS_MAX + 1:
        rest = ordered[BARS_MAX:]
        ordered = [*ordered[:BARS_MAX], (f"{len(rest)} others", sum(n for _, n in rest))]
    top = max((n for _, n in ordered), default=0)
    step, left, width = 26, 230, 440
    out = [
        f'<svg viewBox="0 0 {WIDTH} {step * len(ordered) + 4}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(title)}">'
    ]
    for i, (name, nano) in enumerate(ordered):
        y = i * step
        length = max(0, nano) * width // top if top > 0 else 0
        shown = name if len(name) <= 30 else f"{name[:29]}…"
        out.append(
            f"<g><title>{label(name)}: ${nano_to_usd(nano)}</title>"
            f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">{label(shown)}</text>'
            f'<rect class="s0" x="{left}" y="{y + 4}" width="{length}" height="18" rx="2"/>'
            f'<text x="{left + length + 8}" y="{y + 18}">{escape(usd_cell(nano))}</text></g>'
        )
    return "".join([*out, "</svg>"])


def columns(days: Mapping[str, Mapping[str, int]], last_day: int, title: str) -> str:
    """A column a day of the month (`days`: `YYYYMMDD` → name → nano-USD), stacked by name, with a legend.

    A name's day below zero is left out of its column, and said in its title."""
    totals: dict[str, int] = {}
    for by_name in days.values():
        for name, nano in by_name.items():
            totals[name] = totals.get(name, 0) + nano
    names = sorted(totals, key=lambda n: (-totals[n], n))
    if len(names) > SERIES_MAX + 1:
        shown = names[:SERIES_MAX]
        rest = f"{len(names) - SERIES_MAX} others"
    else:
        shown, rest = names, ""
    stacks: dict[int, dict[str, int]] = {}
    for day, by_name in days.items():
        stack = stacks.setdefault(int(day[6:]), {})
        for name, nano in by_name.items():
            key = name if name in shown else rest
            stack[key] = stack.get(key, 0) + nano
    top = max((sum(max(0, n) for n in s.values()) for s in stacks.values()), default=0)
    left, height, foot = 70, 190, 22
    out = [
        f'<svg viewBox="0 0 {WIDTH} {height + foot + 14}" width="{WIDTH}" role="img" aria-label="{escape(title)}">'
    ]
    tick = _tick(top)
    for step_no in range(int(top // tick) + 1 if tick else 1):
        at = 10 + height - (step_no * tick * height // top if top else 0)
        out.append(f'<line x1="{left}" x2="{WIDTH}" y1="{at}" y2="{at}"/>')
        out.append(
            f'<text class="axis" x="{left - 8}" y="{at + 4}" text-anchor="end">{_short(step_no * tick)}</text>'
        )
    step = (WIDTH - left) / last_day
    for number in range(1, last_day + 1):
        x = left + (number - 1) * step
        stack = stacks.get(number, {})
        told = ", ".join(f"{label(k)} ${nano_to_usd(n)}" for k, n in stack.items()) or "nothing"
        out.append(f"<g><title>{number}: {told}</title>")
        y = 10.0 + height
        for i, name in enumerate([*shown, *([rest] if rest else [])]):
            tall = max(0, stack.get(name, 0)) * height / top if top else 0
            if tall:
                y -= tall
                out.append(
                    f'<rect class="s{i}" x="{x + 2:.1f}" y="{y:.1f}" width="{step - 4:.1f}" height="{tall:.1f}"/>'
                )
        out.append("</g>")
        if number == 1 or number % 5 == 0:
            place = f'x="{x + step / 2:.1f}" y="{height + foot + 4}" text-anchor="middle"'
            out.append(f'<text class="axis" {place}>{number}</text>')
    out.append("</svg>")
    legend = "".join(
        f'<li><svg width="12" height="12" aria-hidden="true"><rect class="s{i}" width="12" height="12"/></svg> '
        f"{label(name)}</li>"
        for i, name in enumerate([*shown, *([rest] if rest else [])])
    )
    return "".join([*out, f'<ul class="legend">{legend}</ul>'])


def label(name: str) -> str:
    """A name as it may stand in HTML."""
    return escape(name) or "(unnamed)"


def _tick(top: int) -> int:
    """A round step, so that two to five of them make the height."""
    if top <= 0:
        return 0
    step = int(10 ** max(0, len(str(top)) - 2))
    return next(step * factor for factor in (1, 2, 5, 10, 20, 50) if top // (step * factor) <= 5)


def _short(nano: int) -> str:
    """A round amount for an axis."""
    usd = nano / NANO_PER_USD
    return f"${usd:,.0f}" if usd >= 10 or usd == 0 else f"${usd:.10f}".rstrip("0").rstrip(".")
