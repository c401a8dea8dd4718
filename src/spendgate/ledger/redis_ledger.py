"""The ledger on Redis: one script a verb, one slot a team.

Reservations that arrive within one turn of the event loop share one pipeline, so that the price of a round
trip is paid once for all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from itertools import groupby
from typing import Any, TypeVar, cast

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import NoScriptError, RedisError

from spendgate.errors import ConfigurationError, LedgerError, LedgerUnavailable
from spendgate.ledger.lane import Lane
from spendgate.ledger.port import DayCell, Expired, ReserveRequest, ReserveResult, Settlement, TeamMonth
from spendgate.ledger.wire import (
    TEAMS_KEY,
    clean,
    day_cells,
    expired_rows,
    reserve_argument,
    reserve_result,
    settle_argument,
    team_month,
    team_prefix,
    text,
)

BULK_TIMEOUT_S = 2.0
"""The least time given to calls off the request's path."""
MONTHS_A_TRIP = 100
"""Teams read in one round trip."""
_T = TypeVar("_T")
_Waiter = tuple[str, bytes, ReserveRequest, "asyncio.Future[ReserveResult]"]


class Script:
    """A Lua file with the common prelude before it, and its SHA-1 as EVALSHA wants it."""

    def __init__(self, verb: str) -> None:
        folder = files("spendgate.ledger") / "lua"
        self.text = (folder / "common.lua").read_text() + (folder / f"{verb}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


RESERVE, SETTLE, RENEW, EXPIRE = (Script(v) for v in ("reserve", "settle", "renew", "expire"))


class RedisLedger:
    """The ledger's port on one Redis. `timeout_s` bounds every call; past it LedgerUnavailable is raised."""

    def __init__(self, client: aioredis.Redis, timeout_s: float = 0.25, lane: Lane | None = None) -> None:
        self._lane = lane
        self._redis = client
        self._timeout_s = timeout_s
        self._bulk_timeout_s = max(timeout_s, BULK_TIMEOUT_S)
        self._waiting: list[_Waiter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()

    @classmethod
    def from_url(cls, url: str, timeout_s: float = 0.25) -> RedisLedger:
        """Connect by `redis://`, `rediss://` or `unix://`; the first call makes the connection.

        A connection that broke is tried again once, at once: every call is idempotent. Raises
        ConfigurationError for an URL that can not be read.
        """
        retry = Retry(ConstantBackoff(0.005), 1)
        try:
            client = aioredis.Redis.from_url(url, socket_connect_timeout=timeout_s, retry=retry)
        except ValueError as e:
            raise ConfigurationError(f"not the URL of a Redis: {e}") from e
        return cls(client, timeout_s, Lane(url, max(timeout_s, 0.1)))

    async def _guard(self, what: str, call: Callable[[], Awaitable[_T]], timeout_s: float = 0.0) -> _T:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await call()
        except (RedisError, OSError, TimeoutError) as e:
            self._known.clear()
            if self._lane is not None and isinstance(e, TimeoutError):
                self._lane.reset()  # it may lead nowhere
            raise LedgerUnavailable(f"{what}: Redis did not answer: {type(e).__name__}: {e}") from e

    async def _run(self, script: Script, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        """Run one script for several teams in one pipeline; load it where Redis does not know it.

        One reply a call; a call that failed has its exception for a reply.
        """
        fresh = {team for team, _ in calls} - self._known
        commands: list[tuple[Any, ...]] = [
            ("EVALSHA", script.sha, 1, team_prefix(team) + "holds", *args) for team, args in calls
        ]
        if fresh:
            commands.append(("SADD", TEAMS_KEY, *(clean(team) for team in fresh)))
        replies = await self._send(commands)
        missing = [i for i in range(len(calls)) if isinstance(replies[i], NoScriptError)]
        if missing:  # a new server: it may have lost its teams too, they are added again by the next calls
            self._known.clear()
            loaded, *late = await self._send(
                [("SCRIPT", "LOAD", script.text), *(commands[i] for i in missing)]
            )
            if isinstance(loaded, Exception):
                raise loaded
            for i, reply in zip(missing, late, strict=True):
                replies[i] = reply
        if fresh and not isinstance(replies[-1], Exception):
            self._known |= fresh
        return replies[: len(calls)]

    async def _send(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """All replies in one round trip; an error reply stands as an exception in the list."""
        if self._lane is not None:
            return await self._lane.run(commands)
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(await pipe.execute(raise_on_error=False))

    async def _run_all(self, script: Script, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        """As `_run`, and any call's failure is raised."""
        replies = await self._run(script, calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        """See `port.Ledger.reserve`. Raises LedgerError for an amount that the ledger can not hold."""
        argument = reserve_argument(request, now_ms)
        result = await self._reserve_at_once(request, argument)
        if result is not None:
            return result
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ReserveResult] = loop.create_future()
        self._waiting.append((request.team, argument, request, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._send_waiting)
        return await future

    async def _reserve_at_once(self, request: ReserveRequest, argument: bytes) -> ReserveResult | None:
        """The usual case, with nothing to set up: no batch, no task. None where the long way is needed."""
        if self._lane is None or request.team not in self._known:
            return None
        future = self._lane.now(("EVALSHA", RESERVE.sha, 1, team_prefix(request.team) + "holds", argument))
        if future is None:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await future
        except TimeoutError as e:
            self._known.clear()
            self._lane.reset()  # it may lead nowhere
            raise LedgerUnavailable(f"reserve: Redis did not answer within {self._timeout_s} s") from e
        except OSError:
            return None  # the connection broke: the long way makes a new one
        return None if isinstance(reply, Exception) else reserve_result(request, reply)

    def _send_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        task = asyncio.ensure_future(self._reserve_batch(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reserve_batch(self, batch: list[_Waiter]) -> None:
        calls = [(team, [argument]) for team, argument, _, _ in batch]
        try:
            replies = await self._guard("reserve", lambda: self._run(RESERVE, calls))
        except BaseException as e:
            for _, _, _, future in batch:  # every waiter must hear of it, whatever it is
                if not future.done():
                    future.set_exception(e if isinstance(e, Exception) else LedgerUnavailable("closed"))
            if isinstance(e, Exception):
                return
            raise
        for (_, _, request, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(LedgerUnavailable(f"reserve: {type(reply).__name__}: {reply}"))
            else:
                future.set_result(reserve_result(request, reply))

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        """See `port.Ledger.settle`: one script call a team, one round trip for all."""
        order = sorted(range(len(batch)), key=lambda i: batch[i].team)
        calls: list[tuple[str, list[Any]]] = []
        for team, indices in groupby(order, key=lambda i: batch[i].team):
            calls.append((team, [now_ms, *(settle_argument(batch[i]) for i in indices)]))
        if not calls:
            return []
        replies = await self._guard("settle", lambda: self._run_all(SETTLE, calls), self._bulk_timeout_s)
        words = [text(word) for reply in replies for word in reply]
        out = [""] * len(batch)
        for i, word in zip(order, words, strict=True):
            out[i] = word
        return out

    async def renew(self, holds: list[tuple[str, str]], ttl_ms: int, now_ms: int = 0) -> int:
        """See `port.Ledger.renew`."""
        calls: list[tuple[str, list[Any]]] = []
        for team, group in groupby(sorted(holds), key=lambda h: h[0]):
            calls.append((team, [now_ms, ttl_ms, *(exchange for _, exchange in group)]))
        if not calls:
            return 0
        replies = await self._guard("renew", lambda: self._run_all(RENEW, calls), self._bulk_timeout_s)
        return sum(int(n) for n in replies)

    async def expire(self, team: str, now_ms: int = 0, limit: int = 100) -> list[Expired]:
        """See `port.Ledger.expire`."""
        replies = await self._guard(
            "expire", lambda: self._run_all(EXPIRE, [(team, [now_ms, limit])]), self._bulk_timeout_s
        )
        return list(expired_rows(team, replies[0]))

    async def teams(self) -> list[str]:
        """See `port.Ledger.teams`."""
        members = await self._guard(
            "teams", lambda: cast(Awaitable[Iterable[Any]], self._redis.smembers(TEAMS_KEY))
        )
        return sorted(text(m) for m in members)

    async def month(self, team: str, month: str) -> TeamMonth:
        """See `port.Ledger.month`."""
        return (await self.months([team], month))[0]

    async def months(self, teams: list[str], month: str) -> list[TeamMonth]:
        """See `port.Ledger.months`: one round trip for every 100 teams."""
        out: list[TeamMonth] = []
        for start in range(0, len(teams), MONTHS_A_TRIP):
            out += await self._months(teams[start : start + MONTHS_A_TRIP], month)
        return out

    async def _months(self, teams: list[str], month: str) -> list[TeamMonth]:
        pipe = self._redis.pipeline(transaction=False)
        for team in teams:
            prefix = team_prefix(team)
            pipe.hmget(f"{prefix}b:month:{month}", "s", "r")
            pipe.hlen(f"{prefix}holds")
            for day in range(1, 32):
                pipe.hgetall(f"{prefix}d:{month}{day:02d}")
        replies = await self._guard("month", pipe.execute, self._bulk_timeout_s)
        size = len(replies) // len(teams)
        return [
            team_month(team, month, reply[0], int(reply[1]), reply[2:])
            for team, reply in ((t, replies[i * size : (i + 1) * size]) for i, t in enumerate(teams))
        ]

    async def cells(self, teams: list[str], month: str) -> list[DayCell]:
        """What every app settled with every model on every day of a month (`YYYYMM`), for chargeback: in the
        order of teams, days, apps and models; one round trip for every 100 teams. Raises LedgerUnavailable.
        """
        days = [f"{month}{day:02d}" for day in range(1, 32)]
        out: list[DayCell] = []
        for start in range(0, len(teams), MONTHS_A_TRIP):
            pipe = self._redis.pipeline(transaction=False)
            asked = [(t, d) for t in teams[start : start + MONTHS_A_TRIP] for d in days]
            for team, day in asked:
                pipe.hgetall(f"{team_prefix(team)}d:{day}")
            replies = await self._guard("cells", pipe.execute, self._bulk_timeout_s)
            for (team, day), fields in zip(asked, replies, strict=True):
                out += day_cells(team, day, fields)
        return out

    async def open_holds(self, team: str) -> int:
        """See `port.Ledger.open_holds`."""
        key = team_prefix(team) + "holds"
        return await self._guard("open holds", lambda: self._redis.hlen(key))

    async def run_id(self) -> str:
        """See `port.Ledger.run_id`: `run_id` of INFO server, new with every start of a redis-server."""
        info = await self._guard("run id", lambda: cast(Awaitable[Any], self._redis.info("server")))
        return str(info["run_id"])

    async def ping(self) -> bool:
        """See `port.Ledger.ping`."""
        try:
            return bool(await self._guard("ping", lambda: cast(Awaitable[Any], self._redis.ping())))
        except LedgerError:
            return False

    async def close(self) -> None:
        """Wait for what is under way, then give connections back."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        if self._lane is not None:
            self._lane.close()
        await self._redis.aclose()
