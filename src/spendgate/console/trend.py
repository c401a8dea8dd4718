"""A month by day as inline SVG with axis, amounts, forecast and budget: told apart by form, not by colour. Pure."""

from __future__ import annotations

from calendar import monthrange
from html import escape

from markupsafe import Markup

from spendgate.console.overview import Overview
from spendgate.console.text import money
from spendgate.money import NANO_PER_USD

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 70, 8, 12, 24
TICKS = 4


def trend(of: Overview, forecast_nanousd: int | None, budget_nanousd: int) -> Markup:
    """Filled columns: spent. Hollow ones: what the forecast leaves for each day to come. A bar across: the same day of
    the month before. Dashed: the budgets, a day's share of them."""
    whole = monthrange(int(of.month[:4]), int(of.month[4:]))[1]
    left = whole - len(of.days)
    to_come = max(0, (forecast_nanousd or 0) - of.spent_nanousd) // left if left else 0
    a_day = budget_nanousd // whole
    amounts = [d.spent_nanousd for d in of.days] + [d.before_nanousd or 0 for d in of.days]
    top = nice(max(*amounts, to_come, 1))
    if a_day <= 2 * top:
        top = max(top, nice(a_day))
    step = (WIDTH - LEFT - RIGHT) / whole
    parts = [_axis(top)]
    for n in range(1, whole + 1):
        x = LEFT + (n - 1) * step
        if n <= len(of.days):
            day = of.days[n - 1]
            label = f"{_iso(day.day)}: {money(day.spent_nanousd)}"
            parts.append(_column("fill", x, step, day.spent_nanousd, top, label))
            if day.before_nanousd:
                y = _y(day.before_nanousd, top)
                label = f"the {n}. of the month before: {money(day.before_nanousd)}"
                parts.append(
                    f'<line class="before" x1="{x:.1f}" x2="{x + step:.1f}" y1="{y:.1f}" y2="{y:.1f}">'
                    f"<title>{escape(label)}</title></line>"
                )
        elif to_come:
            label = f"{_iso(f'{of.month}{n:02d}')}: {money(to_come)} expected"
            parts.append(_column("expected", x, step, to_come, top, label))
        if n == 1 or n % 5 == 0:
            parts.append(f'<text x="{x + step / 2:.1f}" y="{HEIGHT - 7}" text-anchor="middle">{n}</text>')
    if 0 < a_day <= top:
        y = _y(a_day, top)
        parts.append(
            f'<line class="pace" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">budgets {escape(money(a_day))} a day</text>'
        )
    said = f"Spend by day, at most {money(max((d.spent_nanousd for d in of.days), default=0))}"
    return Markup(
        f'<svg class="trend" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"{''.join(parts)}</svg>"
    )


def nice(nano: int) -> int:
    """The next amount that divides well into four ticks: 1, 2, 4 or 8 times a power of ten."""
    power = 1
    while True:
        for n in (1, 2, 4, 8):
            if nano <= n * power:
                return max(n * power, TICKS)
        power *= 10


def _axis(top: int) -> str:
    lines = []
    for i in range(TICKS + 1):
        amount = top * i // TICKS
        y = _y(amount, top)
        lines.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(amount))}</text>'
        )
    return "".join(lines)


def _short(nano: int) -> str:
    """Whole dollars without cents."""
    return f"${nano // NANO_PER_USD:,}" if nano % NANO_PER_USD == 0 else money(nano)


def _y(nano: int, top: int) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(nano, 0), top) / top)


def _column(name: str, x: float, step: float, nano: int, top: int, label: str) -> str:
    y = _y(nano, top)
    height = max(HEIGHT - BOTTOM - y, 0.5)
    return (
        f'<g><title>{escape(label)}</title><rect class="{name}" x="{x + 2:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
        f'width="{step - 4:.1f}" height="{height:.1f}" rx="1"/></g>'
    )


def _iso(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"
