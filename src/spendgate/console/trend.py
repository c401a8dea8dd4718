"""A period by day as columns, beside the time before, what is expected, and the budgets' share of a day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from html import escape

from markupsafe import Markup

from spendgate.console.axes import Frame, amounts, both, day_labels, labels, nice, note
from spendgate.console.figures import Day
from spendgate.console.period import Period
from spendgate.console.text import money
from spendgate.values import dataclass

DAYS_DRAWN, WEEKS_DRAWN = 62, 215
"""Up to so many days each has a column, and up to so many each week; else each month."""


@dataclass(slots=True)
class _Column:
    """One column. `expected`: what is still to come in it."""

    first: date
    last: date
    spent: int = 0
    before: int | None = None
    expected: int = 0
    has_begun: bool = False


def trend(
    period: Period, days: Sequence[Day], expected: Sequence[int] = (), a_day_nanousd: int = 0
) -> Markup:
    """Filled columns: spent. Hollow ones: expected; `expected` has the rest of today and the days after it. A bar
    across: the time before. Dashed: `a_day_nanousd`, a day's share of the budgets (0: none)."""
    columns = _columns(period, days, expected)
    is_daily = all(c.first == c.last for c in columns)
    share = a_day_nanousd if is_daily else 0
    most = max((max(c.spent + c.expected, c.before or 0) for c in columns), default=0)
    top = nice(max(most, 1))
    if share <= 2 * top:
        top = max(top, nice(share))
    unit = (
        "day" if is_daily else "week" if columns[0].last - columns[0].first < timedelta(days=7) else "month"
    )
    said = f"Spend by {unit}, at most {money(max((c.spent for c in columns), default=0))}"
    return both(lambda frame: _draw(frame, columns, top, share), said)


def _draw(frame: Frame, columns: Sequence[_Column], top: int, share: int) -> str:
    step = frame.inner / len(columns)
    gap = min(2.0, step / 6)
    parts = [amounts(frame, top)]
    for i, c in enumerate(columns):
        x = frame.left + i * step
        if c.has_begun:
            parts.append(
                _bar(
                    frame, "fill", (x + gap, step - 2 * gap), 0, c.spent, top, f"{_name(c)}: {money(c.spent)}"
                )
            )
        if c.expected:
            label = f"{_name(c)}: {money(c.expected)} expected"
            parts.append(
                _bar(frame, "expected", (x + gap, step - 2 * gap), max(c.spent, 0), c.expected, top, label)
            )
        if c.before:
            y = frame.y(c.before, top)
            parts.append(
                f'<line class="before" x1="{x:.1f}" x2="{x + step:.1f}" y1="{y:.1f}" y2="{y:.1f}">'
                f"<title>{escape(f'the time before: {money(c.before)}')}</title></line>"
            )
    parts.append(labels(frame, _labels(columns)))
    if 0 < share <= top:
        y = frame.y(share, top)
        parts.append(
            f'<line class="pace" x1="{frame.left}" x2="{frame.width - frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            + note(frame.width - frame.right, y - 5, f"budgets {money(share)} a day")
        )
    return "".join(parts)


def _bar(
    frame: Frame, name: str, across: tuple[float, float], floor: int, nano: int, top: int, label: str
) -> str:
    x, width = across
    high, low = frame.y(floor + nano, top), frame.y(floor, top)
    height = max(low - high, 0.5)
    return (
        f'<g><title>{escape(label)}</title><rect class="{name}" x="{x:.1f}" y="{low - height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}"/></g>'
    )


def _columns(period: Period, days: Sequence[Day], expected: Sequence[int]) -> list[_Column]:
    spent = {d.day: d for d in days}
    ahead = {period.today + timedelta(days=n): nano for n, nano in enumerate(expected)}
    columns: list[_Column] = []
    for n in range(period.length):
        day = period.first + timedelta(days=n)
        if not columns or _begins(day, period.length):
            columns.append(_Column(day, day))
        c = columns[-1]
        c.last = day
        found = spent.get(f"{day:%Y%m%d}")
        if found is not None:
            c.has_begun = True
            c.spent += found.spent_nanousd
            if found.before_nanousd is not None:
                c.before = (c.before or 0) + found.before_nanousd
        c.expected += max(0, ahead.get(day, 0))
    return columns


def _begins(day: date, length: int) -> bool:
    """Does a column begin with this day?"""
    if length <= DAYS_DRAWN:
        return True
    return day.weekday() == 0 if length <= WEEKS_DRAWN else day.day == 1


def _labels(columns: Sequence[_Column]) -> list[str]:
    if any((c.last - c.first).days >= 27 for c in columns):
        return [f"{c.first:%b}" for c in columns]
    return day_labels([c.first for c in columns])


def _name(c: _Column) -> str:
    return c.first.isoformat() if c.first == c.last else f"{c.first.isoformat()} to {c.last.isoformat()}"
