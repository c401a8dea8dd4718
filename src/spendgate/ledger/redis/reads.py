"""What is read of the ledger on Redis, many teams in a round trip: see `port.Read`. Nothing here writes."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, cast

from spendgate.ledger.accounts import (
    Adjusted,
    DayCell,
    OldestHold,
    RefusedRequest,
    TeamMonth,
)
from spendgate.ledger.drift import KEY as DRIFT_KEY
from spendgate.ledger.drift import Drift, decode
from spendgate.ledger.exchanges import (
    group_account,
)
from spendgate.ledger.redis import recent_rejections
from spendgate.ledger.redis.calls import RedisCalls, Script
from spendgate.ledger.redis.codec import (
    GROUPS_KEY,
    TEAMS_KEY,
    adjusted,
    team_prefix,
    text,
)
from spendgate.ledger.redis.readings import day_cells, team_month

OLDEST_SAMPLE = 1000
"""Of a team with more holds than this, the oldest of a sample of so many is told."""
MONTHS_PER_TRIP = 100
BALANCES_PER_TRIP = 1000
"""Teams read in one round trip."""

OLDEST = Script("oldest")
DAILY = (files("spendgate.ledger") / "lua" / "daily.lua").read_text()
MONTH = (files("spendgate.ledger") / "lua" / "month.lua").read_text()


class LedgerReads:
    """The reads of `RedisLedger`. Every call raises LedgerUnavailable where Redis does not answer in time."""

    calls: RedisCalls

    async def adjustments(self, team: str) -> list[Adjusted]:
        """See `port.Ledger.adjustments`."""
        key = team_prefix(team) + "adj"
        fields = await self.calls.bulk("adjustments", lambda: self.calls.redis.hgetall(key))
        return adjusted(team, fields)

    async def teams(self) -> list[str]:
        """See `port.Ledger.teams`."""
        members = await self.calls.guard(
            "teams", lambda: cast(Awaitable[Iterable[Any]], self.calls.redis.smembers(TEAMS_KEY))
        )
        return sorted(text(m) for m in members)

    async def groups(self) -> list[str]:
        """Every group that the ledger has ever seen, sorted. Raises LedgerUnavailable."""
        members = await self.calls.guard(
            "groups", lambda: cast(Awaitable[Iterable[Any]], self.calls.redis.smembers(GROUPS_KEY))
        )
        return sorted(text(m) for m in members)

    async def group_months(self, names: Sequence[str], month: str) -> list[TeamMonth]:
        """The month of groups, by their names: teams stand for apps. Raises LedgerUnavailable."""
        found = await self.months([group_account(name) for name in names], month)
        return [replace(m, team=name) for name, m in zip(names, found, strict=True)]

    async def month(self, team: str, month: str) -> TeamMonth:
        """See `port.Ledger.month`."""
        return (await self.months([team], month))[0]

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """See `port.Ledger.months`: one round trip for every 100 teams."""
        out: list[TeamMonth] = []
        for start in range(0, len(teams), MONTHS_PER_TRIP):
            out += await self._months(teams[start : start + MONTHS_PER_TRIP], month)
        return out

    async def _months(self, teams: list[str], month: str) -> list[TeamMonth]:
        pipe = self.calls.redis.pipeline(transaction=False)
        for team in teams:
            pipe.execute_command("EVAL", MONTH, 1, f"{team_prefix(team)}holds", month)
        replies = await self.calls.bulk("month", pipe.execute)
        out = []
        for team, (settled, reserved, holds, *days) in zip(teams, replies, strict=True):
            cells = [dict(zip(day[::2], day[1::2], strict=True)) for day in days]
            out.append(team_month(team, month, [settled, reserved], int(holds), cells))
        return out

    async def balances(self, teams: Sequence[str], month: str) -> list[tuple[int, int]]:
        """See `port.Ledger.balances`: one round trip for every `BALANCES_PER_TRIP` teams."""
        out: list[tuple[int, int]] = []
        for start in range(0, len(teams), BALANCES_PER_TRIP):
            pipe = self.calls.redis.pipeline(transaction=False)
            for team in teams[start : start + BALANCES_PER_TRIP]:
                pipe.hmget(f"{team_prefix(team)}b:month:{month}", "s", "r")
            replies = await self.calls.bulk("balances", pipe.execute)
            out += [(int(settled or 0), int(reserved or 0)) for settled, reserved in replies]
        return out

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        """See `port.Read.months_settled`: one round trip for every `BALANCES_PER_TRIP`."""
        out: list[int | None] = []
        for start in range(0, len(accounts), BALANCES_PER_TRIP):
            pipe = self.calls.redis.pipeline(transaction=False)
            for account in accounts[start : start + BALANCES_PER_TRIP]:
                pipe.hmget(f"{team_prefix(account)}b:month:{month}", "s", "r")
            replies = await self.calls.bulk("month", pipe.execute)
            out += [None if s is None and r is None else int(s or 0) for s, r in replies]
        return out

    async def cells(self, teams: list[str], month: str) -> list[DayCell]:
        """See `port.Ledger.cells`: one round trip for every 100 teams."""
        days = [f"{month}{day:02d}" for day in range(1, 32)]
        out: list[DayCell] = []
        for start in range(0, len(teams), MONTHS_PER_TRIP):
            pipe = self.calls.redis.pipeline(transaction=False)
            asked = [(t, d) for t in teams[start : start + MONTHS_PER_TRIP] for d in days]
            for team, day in asked:
                pipe.hgetall(f"{team_prefix(team)}d:{day}")
            replies = await self.calls.bulk("cells", pipe.execute)
            for (team, day), fields in zip(asked, replies, strict=True):
                out += day_cells(team, day, fields)
        return out

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """See `port.Ledger.daily`: added up in Redis, one round trip for every 100 teams."""
        out: dict[str, list[int]] = {}
        for start in range(0, len(teams), MONTHS_PER_TRIP):
            some = teams[start : start + MONTHS_PER_TRIP]
            pipe = self.calls.redis.pipeline(transaction=False)
            for team in some:
                prefix = team_prefix(team)
                pipe.execute_command("EVAL", DAILY, len(days), *(f"{prefix}d:{day}" for day in days))
            replies = await self.calls.bulk("daily", pipe.execute)
            for team, sums in zip(some, replies, strict=True):
                out[team] = [int(n) for n in sums]
        return out

    async def refusals(self, team: str) -> list[RefusedRequest]:
        """See `port.Ledger.refusals`."""
        key = recent_rejections.refusals_key(team)
        rows = await self.calls.guard(
            "refusals", lambda: cast(Awaitable[list[bytes]], self.calls.redis.lrange(key, 0, -1))
        )
        return recent_rejections.read(rows)

    async def drifts(self) -> list[Drift]:
        """See `port.Ledger.drifts`."""
        return decode(
            await self.calls.guard("drift", lambda: cast(Awaitable[Any], self.calls.redis.hgetall(DRIFT_KEY)))
        )

    async def open_holds(self, team: str) -> int:
        """See `port.Ledger.open_holds`."""
        key = team_prefix(team) + "holds"
        return await self.calls.guard("open holds", lambda: self.calls.redis.hlen(key))

    async def oldest_holds(self, teams: Sequence[str], now_ms: int = 0) -> list[OldestHold]:
        """See `port.Ledger.oldest_holds`."""
        replies = await self.calls.ask(
            "oldest hold", OLDEST, [(team, [now_ms, OLDEST_SAMPLE]) for team in teams]
        )
        return [
            OldestHold(team, int(n), max(0, int(now) - int(oldest)) if int(oldest) else 0, int(overdue))
            for team, (now, n, oldest, overdue) in zip(teams, replies, strict=True)
        ]
