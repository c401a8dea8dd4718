"""What the leader's gauges read of the ledger: little, also where there are many teams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spendgate.ledger.accounts import OldestHold, TeamMonth
from spendgate.ledger.drift import Drift
from spendgate.ledger.port import Read

IN_TURN = 500
_NOTHING = (0, 0)
_EMPTY: dict[Any, int] = {}
"""Shared by all teams without spend; nobody writes into a month that was read."""


class ChangedMonths:
    """Reads every team's month (its apps and models, day by day) where there are few; of many only those whose two
    counters moved since the last time, and some in turn, for what moves without them (refusals)."""

    def __init__(self, ledger: Read) -> None:
        self._ledger = ledger
        self._month = ""
        self._turn = 0
        self._known: dict[str, tuple[tuple[int, int], TeamMonth]] = {}

    async def teams(self) -> list[str]:
        """Every team that the ledger knows. Raises LedgerUnavailable."""
        return await self._ledger.teams()

    async def group_months(self, names: Sequence[str], month: str) -> list[TeamMonth]:
        """As the ledger's own: groups are few."""
        return await self._ledger.group_months(names, month)

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """See `ledger.port.Ledger.months`."""
        if month != self._month:
            self._known, self._month = {}, month
        numbers = dict(zip(teams, await self._ledger.balances(teams, month), strict=True))
        moved = set(self._in_turn(teams))
        for team in teams:
            known = self._known.get(team)
            if known is None and numbers[team] == _NOTHING and team not in moved:
                self._known[team] = _NOTHING, TeamMonth(team, month, 0, 0, 0, _EMPTY, _EMPTY, _EMPTY, _EMPTY)
            elif known is None or known[0] != numbers[team]:
                moved.add(team)
        for found in await self._ledger.months(sorted(moved), month):
            self._known[found.team] = numbers[found.team], found
        return [self._known[t][1] for t in teams]

    def _in_turn(self, teams: list[str]) -> list[str]:
        start = self._turn if self._turn < len(teams) else 0
        self._turn = start + IN_TURN
        return teams[start : self._turn]

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        """See `ledger.port.Read.months_settled`."""
        return await self._ledger.months_settled(accounts, month)

    async def oldest_holds(self, teams: list[str]) -> list[OldestHold]:
        """See `ledger.port.Ledger.oldest_holds`."""
        return await self._ledger.oldest_holds(teams)

    async def drifts(self) -> list[Drift]:
        """See `ledger.port.Ledger.drifts`."""
        return await self._ledger.drifts()

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """See `ledger.port.Ledger.daily`."""
        return await self._ledger.daily(teams, days)
