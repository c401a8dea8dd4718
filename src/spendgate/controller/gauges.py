"""What the leader's gauges read of the ledger: little, also where there are many teams."""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio as aioredis

from spendgate.controller.spend import read_numbers
from spendgate.controller.status import Numbers
from spendgate.ledger.drift import Drift
from spendgate.ledger.port import Ledger, OldestHold, TeamMonth

_NOTHING = Numbers(0, 0)


class ChangedMonths:
    """Reads a team's month (its apps and models, day by day) only where its two counters moved since the last
    time: of ten thousand teams few do between two scrapes."""

    def __init__(self, ledger: Ledger, redis: aioredis.Redis) -> None:
        self._ledger = ledger
        self._redis = redis
        self._month = ""
        self._known: dict[str, tuple[Numbers, TeamMonth]] = {}

    async def teams(self) -> list[str]:
        """Every team that the ledger knows. Raises LedgerUnavailable."""
        return await self._ledger.teams()

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """See `ledger.port.Ledger.months`."""
        if month != self._month:
            self._known, self._month = {}, month
        numbers = await read_numbers(self._redis, teams, month)
        moved = []
        for team in teams:
            if numbers[team] == _NOTHING:
                self._known[team] = _NOTHING, TeamMonth(team, month, 0, 0, 0, {}, {}, {}, {})
            elif team not in self._known or self._known[team][0] != numbers[team]:
                moved.append(team)
        for found in await self._ledger.months(moved, month):
            self._known[found.team] = numbers[found.team], found
        return [self._known[t][1] for t in teams]

    async def oldest_holds(self, teams: list[str]) -> list[OldestHold]:
        """See `ledger.port.Ledger.oldest_holds`."""
        return await self._ledger.oldest_holds(teams)

    async def drifts(self) -> list[Drift]:
        """See `ledger.port.Ledger.drifts`."""
        return await self._ledger.drifts()

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """See `ledger.port.Ledger.daily`."""
        return await self._ledger.daily(teams, days)
