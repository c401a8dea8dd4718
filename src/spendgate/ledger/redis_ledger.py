"""The ledger on Redis: one script a verb, one slot a team.

Reservations that arrive within one turn of the event loop share one pipeline, so that the price of a round
trip is paid once for all of them. Team names are percent-encoded: a brace in a name can not move its keys
to another slot.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from itertools import groupby
from typing import Any, TypeVar, cast
from urllib.parse import quote

import orjson
import redis.asyncio as aioredis
from redis.exceptions import NoScriptError, RedisError

from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.ledger.port import (
    Expired,
    Refusal,
    ReserveRequest,
    ReserveResult,
    Settlement,
    TeamMonth,
)

PREFIX = "sg1:"
TEAMS_KEY = "sg1:teams"
SEP = "\x1f"
_T = TypeVar("_T")


class Script:
    """A Lua file with the common prelude before it, and its SHA-1 as EVALSHA wants it."""

    def __init__(self, verb: str) -> None:
        folder = files("spendgate.ledger") / "lua"
        self.text = (folder / "common.lua").read_text() + (folder / f"{verb}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


RESERVE, SETTLE, RENEW, EXPIRE = (Script(v) for v in ("reserve", "settle", "renew", "expire"))


def team_prefix(team: str) -> str:
    """The prefix of every key of a team, its hash tag included."""
    return f"{PREFIX}{{{quote(team, safe='')}}}:"


def _expired(team: str, rows: list[Any]) -> tuple[Expired, ...]:
    return tuple(Expired(_s(i), team, _s(a), _s(m), int(e), int(t)) for i, a, m, e, t in rows)


def _s(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def reserve_argument(request: ReserveRequest, now_ms: int) -> bytes:
    """Write a reservation as `reserve.lua` reads it."""
    candidates = []
    for c in request.candidates:
        row: dict[str, object] = {
            "m": c.model,
            "e": c.estimate_nanousd,
            "f": c.committed_from_nanousd,
            "b": c.committed_below_nanousd,
            "l": [[b.scope, b.window, b.floor_nanousd, b.ceiling_nanousd] for b in c.bounds],
        }
        if c.clamp is not None:
            k = c.clamp
            row["k"] = [k.fixed_nanousd, k.output_picousd_per_token, k.output_tokens_min]
        candidates.append(row)
    return orjson.dumps(
        {"id": request.exchange_id, "app": request.app, "ttl": request.ttl_ms, "now": now_ms, "c": candidates}
    )


def settle_argument(s: Settlement) -> bytes:
    """Write a settlement as `settle.lua` reads it."""
    return orjson.dumps(
        {
            "id": s.exchange_id,
            "app": s.app,
            "m": s.model,
            "e": s.cost_nanousd,
            "u": s.usage or {"requests": 0},
            "t": s.at_ms,
            "x": s.release,
            "s": s.scopes,
        }
    )


class RedisLedger:
    """The ledger's port on one Redis. `timeout_s` bounds every call; past it LedgerUnavailable is raised."""

    def __init__(self, client: aioredis.Redis, timeout_s: float = 0.25) -> None:
        self._redis = client
        self._timeout_s = timeout_s
        self._waiting: list[tuple[ReserveRequest, int, asyncio.Future[ReserveResult]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()

    @classmethod
    def from_url(cls, url: str, timeout_s: float = 0.25) -> RedisLedger:
        """Connect by `redis://`, `rediss://` or `unix://`; the first call makes the connection."""
        return cls(aioredis.Redis.from_url(url, socket_connect_timeout=timeout_s), timeout_s)

    async def _guard(
        self, what: str, call: Callable[[], Awaitable[_T]], timeout_s: float | None = None
    ) -> _T:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await call()
        except (RedisError, OSError, TimeoutError) as e:
            self._known.clear()
            raise LedgerUnavailable(f"{what}: Redis did not answer: {type(e).__name__}: {e}") from e

    async def _run(self, script: Script, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        """Run one script for several teams in one pipeline; load it where Redis does not know it."""
        pipe = self._redis.pipeline(transaction=False)
        fresh = {team for team, _ in calls} - self._known
        for team, args in calls:
            pipe.evalsha(script.sha, 1, team_prefix(team) + "holds", *args)
        if fresh:
            pipe.sadd(TEAMS_KEY, *fresh)
        replies = await pipe.execute(raise_on_error=False)
        missing = [i for i in range(len(calls)) if isinstance(replies[i], NoScriptError)]
        if missing:
            self._known.clear()
            await self._redis.script_load(script.text)
            again = self._redis.pipeline(transaction=False)
            for i in missing:
                again.evalsha(script.sha, 1, team_prefix(calls[i][0]) + "holds", *calls[i][1])
            for i, reply in zip(missing, await again.execute(raise_on_error=False), strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        self._known |= fresh
        return replies[: len(calls)]

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ReserveResult] = loop.create_future()
        self._waiting.append((request, now_ms, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._send_waiting)
        return await future

    def _send_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        task = asyncio.ensure_future(self._reserve_batch(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reserve_batch(
        self, batch: list[tuple[ReserveRequest, int, asyncio.Future[ReserveResult]]]
    ) -> None:
        calls = [(r.team, [reserve_argument(r, now_ms)]) for r, now_ms, _ in batch]
        try:
            replies = await self._guard("reserve", lambda: self._run(RESERVE, calls))
            results = [_reserve_result(r, reply) for (r, _, _), reply in zip(batch, replies, strict=True)]
        except Exception as e:  # noqa: BLE001  every waiter must hear of it, whatever it is
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(e)
            return
        for (_, _, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        order = sorted(range(len(batch)), key=lambda i: batch[i].team)
        calls: list[tuple[str, list[Any]]] = []
        for team, indices in groupby(order, key=lambda i: batch[i].team):
            calls.append((team, [now_ms, *(settle_argument(batch[i]) for i in indices)]))
        replies = await self._guard("settle", lambda: self._run(SETTLE, calls), max(self._timeout_s, 2.0))
        words = [_s(word) for reply in replies for word in reply]
        out = [""] * len(batch)
        for i, word in zip(order, words, strict=True):
            out[i] = word
        return out

    async def renew(self, holds: list[tuple[str, str]], ttl_ms: int, now_ms: int = 0) -> int:
        calls: list[tuple[str, list[Any]]] = []
        for team, group in groupby(sorted(holds), key=lambda h: h[0]):
            calls.append((team, [now_ms, ttl_ms, *(exchange for _, exchange in group)]))
        if not calls:
            return 0
        replies = await self._guard("renew", lambda: self._run(RENEW, calls), max(self._timeout_s, 2.0))
        return sum(int(n) for n in replies)

    async def expire(self, team: str, now_ms: int = 0, limit: int = 100) -> list[Expired]:
        replies = await self._guard("expire", lambda: self._run(EXPIRE, [(team, [now_ms, limit])]))
        return list(_expired(team, replies[0]))

    async def teams(self) -> list[str]:
        members = await self._guard(
            "teams", lambda: cast(Awaitable[set[Any]], self._redis.smembers(TEAMS_KEY))
        )
        return sorted(_s(m) for m in members)

    async def month(self, team: str, month: str) -> TeamMonth:
        prefix = team_prefix(team)
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(f"{prefix}b:month:{month}", "s", "r")
        for day in range(1, 32):
            pipe.hgetall(f"{prefix}d:{month}{day:02d}")
        replies = await self._guard("month", pipe.execute, max(self._timeout_s, 2.0))
        settled, reserved = (int(v or 0) for v in replies[0])
        return _team_month(team, month, settled, reserved, replies[1:])

    async def ping(self) -> bool:
        try:
            return bool(await self._guard("ping", lambda: cast(Awaitable[Any], self._redis.ping())))
        except LedgerError:
            return False

    async def close(self) -> None:
        for task in list(self._tasks):
            await asyncio.wait([task])
        await self._redis.aclose()


def _reserve_result(request: ReserveRequest, reply: list[Any]) -> ReserveResult:
    candidate, held, cap, committed, now, replayed, refusals, expired = reply
    named = tuple(
        Refusal(int(c), request.candidates[int(c)].bounds[int(b)], int(amount)) for c, b, amount in refusals
    )
    return ReserveResult(
        candidate=int(candidate),
        held_nanousd=int(held),
        output_cap=int(cap) if int(cap) >= 0 else None,
        committed_nanousd=int(committed),
        at_ms=int(now),
        refusals=named,
        replayed=bool(int(replayed)),
        expired=_expired(request.team, expired),
    )


def _team_month(team: str, month: str, settled: int, reserved: int, days: list[dict[Any, Any]]) -> TeamMonth:
    models: dict[str, int] = {}
    apps: dict[str, int] = {}
    tokens: dict[str, int] = {}
    cells: dict[tuple[str, str], int] = {}
    requests = 0
    for day in days:
        for field, value in day.items():
            app, model, kind = _s(field).split(SEP)
            n = int(value)
            if kind == "#":
                requests += n
            elif kind == "$":
                models[model] = models.get(model, 0) + n
                apps[app] = apps.get(app, 0) + n
                cells[app, model] = cells.get((app, model), 0) + n
            elif n:
                tokens[kind] = tokens.get(kind, 0) + n
    return TeamMonth(team, month, settled, reserved, requests, models, apps, tokens, cells)
