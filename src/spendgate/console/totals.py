"""The sums of the overview's rows. Pure; amounts are nano-USD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spendgate.budget.forecast import Forecast
from spendgate.console.books import Row
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Totals:
    """`unbudgeted`: spent by teams without a budget, part of settled. `forecast`: where all teams' month leads, None
    while a team's is still being read, or the month is over."""

    limit_nanousd: int
    settled_nanousd: int
    reserved_nanousd: int
    unbudgeted_nanousd: int
    without_budget: int
    forecast_nanousd: int | None

    @property
    def budgeted_nanousd(self) -> int:
        """Spent by teams with a budget."""
        return self.settled_nanousd - self.unbudgeted_nanousd


def totals(rows: Sequence[Row], forecasts: Mapping[str, Forecast]) -> Totals:
    """The sums of rows."""
    alone = [r for r in rows if r.limit_nanousd is None]
    whole = bool(rows) and all(r.team in forecasts for r in rows)
    return Totals(
        sum(r.limit_nanousd or 0 for r in rows),
        sum(r.settled_nanousd for r in rows),
        sum(r.reserved_nanousd for r in rows),
        sum(r.settled_nanousd for r in alone),
        len(alone),
        sum(forecasts[r.team].month_end_nanousd for r in rows) if whole else None,
    )
