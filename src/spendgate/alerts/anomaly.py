"""A team's day against its own weekdays: is it far above them, and what made it so? Pure; amounts are nano-USD.

The profile of a weekday is the median of the last four of it, and its spread their mean distance from it. A day is
an anomaly where it is above twice the profile and above it by six spreads, and by enough money to matter. It needs
three weekdays of history. Its explanation is the app and model that grew most over their own median day, over the
same weekdays: on one without the app it spent nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low

from spendgate.alerts.message import shown, usd
from spendgate.budget.forecast import HISTORY_DAYS
from spendgate.ledger.accounts import DayCell
from spendgate.money import NANO_PER_USD, usd_text
from spendgate.months import day_text
from spendgate.values import dataclass

WEEK = 7
SAMPLES_MIN = 3
TIMES = 2
SPREADS = 6
MATERIAL_SHARE = 100
"""The excess must be a hundredth of the month's budget at the least, and never less than `MATERIAL_NANOUSD`."""
MATERIAL_NANOUSD = NANO_PER_USD


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A day that is far above its weekday. `day` is `YYYYMMDD`; `weekdays`: how many it was judged by."""

    day: str
    spent_nanousd: int
    usual_nanousd: int
    weekdays: int


def anomaly_of(days: Sequence[str], spent: Sequence[int], limit_nanousd: int | None) -> Anomaly | None:
    """Judge the last of the days by its weekday's profile; `days` and `spent` run day by day up to it. It may be a day
    that still runs: then it has passed a whole usual day already."""
    if len(days) != HISTORY_DAYS + 1:
        raise ValueError(f"anomaly_of: {len(days)} days, not {HISTORY_DAYS + 1}")
    first = next((i for i, n in enumerate(spent) if n > 0), len(spent))
    samples = [spent[i] for i in range(len(days) - 1 - WEEK, first - 1, -WEEK) if i >= 0]
    if len(samples) < SAMPLES_MIN:
        return None
    usual = max(0, median_low(samples))
    spread = sum(abs(n - usual) for n in samples) // len(samples)
    excess = spent[-1] - usual
    material = max(MATERIAL_NANOUSD, (limit_nanousd or 0) // MATERIAL_SHARE)
    if spent[-1] <= TIMES * usual or excess <= SPREADS * spread or excess < material:
        return None
    return Anomaly(days[-1], spent[-1], usual, len(samples))


def explained(team: str, found: Anomaly, cells: Sequence[DayCell]) -> str:
    """The text: how much, and which app and model grew most. `cells` are the team's of that day and of the weekdays
    before it."""
    now = {(c.app, c.model): c for c in cells if c.day == found.day}
    earlier: dict[tuple[str, str], list[DayCell]] = {}
    for c in cells:
        if c.day < found.day:
            earlier.setdefault((c.app, c.model), []).append(c)
    grown = sorted(
        ((c.cost_nanousd - _usual(earlier.get(key, ()), found.weekdays), key) for key, c in now.items()),
        key=lambda x: (-x[0], x[1]),
    )
    lines = [
        f"LLM spend of team {shown(team)} is unusual on {day_text(found.day)}: {usd(found.spent_nanousd)}, on this "
        f"weekday it is usually {usd(found.usual_nanousd)}."
    ]
    for more, (app, model) in grown[:2]:
        if more > 0:
            before = earlier.get((app, model), ())
            lines.append(_cause(app, model, now[app, model], before, found.weekdays, more))
    lines.append(
        "See who called: spendgate log tail, or the team's page. maxUSDPerHour and maxUSDPerRun end a loop."
    )
    return "\n".join(lines)


def _usual(cells: Sequence[DayCell], weekdays: int) -> int:
    return max(0, _median([c.cost_nanousd for c in cells], weekdays))


def _median(amounts: Sequence[int], weekdays: int) -> int:
    """Of so many weekdays; on those that are not there it was nothing."""
    return median_low([*amounts, *[0] * (weekdays - len(amounts))])


def _cause(app: str, model: str, cell: DayCell, before: Sequence[DayCell], weekdays: int, more: int) -> str:
    name = f"app {shown(app) or '(unnamed)'} with {shown(model) or '(unnamed)'}"
    said = f"{name}: {usd(cell.cost_nanousd)}, {usd(more)} more than usual, with {cell.requests} requests"
    if not before:
        return f"{said}; it was not there on this weekday before."
    requests = _median([c.requests for c in before], weekdays)
    if requests and cell.requests > 0:
        each, was = cell.cost_nanousd // cell.requests, _usual(before, weekdays) // requests
        kind = (
            "more requests"
            if cell.requests * 2 > requests * 3
            else "dearer requests"
            if each > was
            else "both"
        )
        return f"{said} (usually {requests}): {kind}, {usd_each(each)} each (usually {usd_each(was)})."
    return f"{said} (usually {requests})."


def usd_each(nano: int) -> str:
    """A request's cost, to a hundredth of a cent."""
    return usd_text(nano, 4, grouped=False)


def weekdays_before(days: Sequence[str]) -> list[str]:
    """Of the days of a profile, the last one and its own weekdays before it."""
    return list(days[::-WEEK])


def by_month(days: Sequence[str]) -> Mapping[str, list[str]]:
    """Days by their month."""
    out: dict[str, list[str]] = {}
    for day in days:
        out.setdefault(day[:6], []).append(day)
    return out
