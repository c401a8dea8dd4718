"""Each team's spend by day, for the forecast: whole days are read once, the last two where spend moved and every
few minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NamedTuple, Protocol

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.forecast import HOUR_MS, Forecast, forecast, history_days
from spendgate.budget.policy import TeamBudget
from spendgate.values import dataclass

FRESH_MS = 300_000
"""Yesterday and today are read anew after so long: what was open at midnight settles into yesterday."""


class DailyReader(Protocol):
    """What a history asks of a ledger."""

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """See `port.Ledger.daily`."""
        ...


class Outlook(NamedTuple):
    """Nano-USD at the month's end, and when the bound is reached (None: not within the month)."""

    month_end_nanousd: int
    exhausted_at_ms: int | None


@dataclass(slots=True)
class History:
    """Refresh it, then ask it; a team that was never read is forecast at the month's mean pace."""

    ledger: DailyReader
    _days: list[str] = field(default_factory=list)
    _spent: dict[str, list[int]] = field(default_factory=dict)
    _settled: dict[str, int] = field(default_factory=dict)
    _made: dict[str, tuple[object, Outlook]] = field(default_factory=dict)
    _read_ms: dict[str, int] = field(default_factory=dict)

    async def refresh(self, settled: Mapping[str, int], now_ms: int) -> None:
        """Read what is missing or old. `settled` is each team's month to date: where it moved, the last days are
        read anew at once, so that all who show a forecast show the same. Raises LedgerUnavailable; what was
        known stays."""
        days = history_days(now_ms)
        if days != self._days:
            self._days, self._spent, self._settled, self._made = days, {}, {}, {}
        unread = [t for t in settled if t not in self._spent]
        old = [
            t
            for t in settled
            if t in self._spent
            and (self._settled.get(t) != settled[t] or now_ms - self._read_ms[t] >= FRESH_MS)
        ]
        for team, last in (await self.ledger.daily(old, days[-2:])).items():
            if self._spent[team][-2:] != last:
                self._spent[team] = [*self._spent[team][:-2], *last]
        self._spent.update(await self.ledger.daily(unread, days))
        self._read_ms.update(dict.fromkeys((*old, *unread), now_ms))
        self._settled.update({t: settled[t] for t in (*old, *unread)})

    def daily(self, team: str) -> list[int]:
        """The team's spend by day, the oldest first, today last; empty where it was never read."""
        return self._spent.get(team, [])

    def forecast(self, team: str, now_ms: int, settled_nanousd: int) -> Forecast:
        """Where the team's month leads."""
        return forecast(self.daily(team), now_ms, settled_nanousd)

    def outlook(self, budget: TeamBudget, now_ms: int, settled_nanousd: int) -> Outlook:
        """The forecast in two numbers, made anew only where it may have changed: for many teams at once."""
        days, bound = self.daily(budget.team), budget.month_bound_nanousd(now_ms)
        if bound == UNLIMITED:
            bound = budget.limit_nanousd(now_ms)
        of = (now_ms // HOUR_MS, settled_nanousd, bound, id(days))
        found = self._made.get(budget.team)
        if found is None or found[0] != of:
            ahead = forecast(days, now_ms, settled_nanousd)
            found = of, Outlook(ahead.month_end_nanousd, ahead.exhausted_at_ms(bound))
            self._made[budget.team] = found
        return found[1]
