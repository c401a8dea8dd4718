"""A month's spend as it adds up, against the budget and to where the forecast leads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate

from markupsafe import Markup

from spendgate.console.axes import Frame, amounts, both, day_labels, labels, nice, note
from spendgate.console.figures import Day
from spendgate.console.period import Period
from spendgate.console.text import money


def burnup(
    period: Period, days: Sequence[Day], expected: Sequence[int] = (), budget_nanousd: int = 0
) -> Markup:
    """Solid: spent so far. Dashed: the forecast. A thick line across: the budget (0: none). Dotted: the time before."""
    spent = list(accumulate(d.spent_nanousd for d in days)) or [0]
    before = list(accumulate(d.before_nanousd or 0 for d in days))
    now = spent[-1]
    ahead = [now, *(now + n for n in accumulate(max(0, n) for n in expected))] if expected else []
    most = max(*spent, *before, *ahead, 1)
    top = nice(max(most, budget_nanousd if budget_nanousd <= 4 * most else 0))
    budget = f", of {money(budget_nanousd)}" if budget_nanousd else ""
    forecast = f", {money(ahead[-1])} expected" if ahead else ""
    said = f"Spend as it adds up: {money(now)}{budget}{forecast}"
    return both(lambda frame: _draw(frame, period, (spent, before, ahead), top, budget_nanousd), said)


def _draw(
    frame: Frame, period: Period, lines: tuple[list[int], list[int], list[int]], top: int, budget: int
) -> str:
    spent, before, ahead = lines
    step = frame.inner / period.length

    def points(amounts_: Sequence[int], start: float) -> str:
        return " ".join(
            f"{frame.left + (start + i) * step:.1f},{frame.y(n, top):.1f}" for i, n in enumerate(amounts_)
        )

    parts = [amounts(frame, top)]
    first_x, here = frame.left + step, frame.left + len(spent) * step
    area = f"{first_x:.1f},{frame.floor} {points(spent, 1)} {here:.1f},{frame.floor}"
    parts.append(f'<polygon class="area" points="{area}"/>')
    if any(before):
        parts.append(f'<polyline class="earlier" points="{points(before, 1)}"/>')
    parts.append(f'<polyline class="spent" points="{points(spent, 1)}"/>')
    parts.append(f'<circle class="here" cx="{here:.1f}" cy="{frame.y(spent[-1], top):.1f}" r="3.5"/>')
    if len(ahead) > 1:
        # the rest of today stands at today's own place, the days after it at theirs
        rise = [ahead[0], *ahead[2:]] if len(ahead) > 2 else [ahead[0]]
        parts.append(f'<polyline class="ahead" points="{points(rise, len(spent))}"/>')
    parts.append(_notes(frame, spent[-1], here, ahead, top, budget))
    parts.append(labels(frame, day_labels([period.first + timedelta(days=n) for n in range(period.length)])))
    return "".join(parts)


def _notes(frame: Frame, now: int, here: float, ahead: Sequence[int], top: int, budget: int) -> str:
    """The amounts at their lines, none upon another."""
    right, out = frame.width - frame.right, []
    taken: list[float] = []
    if 0 < budget <= top:
        y = frame.y(budget, top)
        out.append(f'<line class="budget" x1="{frame.left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(note(frame.left + 6, y - 6, f"budget {money(budget)}", "start"))
        taken.append(y - 6)
    if ahead:
        y = frame.y(ahead[-1], top) - 8
        while any(abs(y - t) < 14 for t in taken) and y < frame.floor - 16:
            y += 15
        out.append(note(right, y, f"forecast {money(ahead[-1])}"))
    is_left = here < frame.left + frame.inner * 0.4
    y = max(frame.y(now, top) + (20 if ahead else -8), frame.top)
    y = min(y, frame.floor - 6)
    out.append(note(here + (8 if is_left else -8), y, money(now), "start" if is_left else "end"))
    return "".join(out)
