"""Each team's spend by day, for the forecast: whole days are read once, the last two every few minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spendgate.budget.forecast import Forecast, forecast, history_days
from spendgate.ledger.port import Ledger

FRESH_MS = 300_000
"""Yesterday and today are read anew after so long: what was open at midnight settles into yesterday."""


@dataclass(slots=True)
class History:
    """Refresh it, then ask it; a team that was never read is forecast at the month's mean pace."""

    ledger: Ledger
    _days: list[str] = field(default_factory=list)
    _spent: dict[str, list[int]] = field(default_factory=dict)
    _read_ms: dict[str, int] = field(default_factory=dict)

    async def refresh(self, teams: Sequence[str], now_ms: int) -> None:
        """Read what is missing or old. Raises LedgerUnavailable; what was known stays."""
        days = history_days(now_ms)
        if days != self._days:
            self._days, self._spent = days, {}
        unread = [t for t in teams if t not in self._spent]
        old = [t for t in teams if t in self._spent and now_ms - self._read_ms[t] >= FRESH_MS]
        for team, last in (await self.ledger.daily(old, days[-2:])).items():
            self._spent[team][-2:] = last
        self._spent.update(await self.ledger.daily(unread, days))
        self._read_ms.update(dict.fromkeys((*old, *unread), now_ms))

    def daily(self, team: str) -> list[int]:
        """The team's spend by day, the oldest first, today last; empty where it was never read."""
        return self._spent.get(team, [])

    def forecast(self, team: str, now_ms: int, settled_nanousd: int) -> Forecast:
        """Where the team's month leads."""
        return forecast(self.daily(team), now_ms, settled_nanousd)
