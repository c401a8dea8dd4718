"""The ledger on Redis: one script a verb, one slot a team.

Reservations that arrive within one turn of the event loop share one pipeline, so that the price of a round
trip is paid once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from importlib.resources import files
from itertools import chain, groupby
from typing import Any, Self, cast

import redis.asyncio as aioredis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.ledger.accounts import (
    Adjustment,
    AdjustResult,
    RefusedRequest,
    Restored,
)
from spendgate.ledger.drift import KEY as DRIFT_KEY
from spendgate.ledger.drift import Drift
from spendgate.ledger.exchanges import (
    Expired,
    Growing,
    Grown,
    ReserveRequest,
    ReserveResult,
    Settlement,
    group_account,
)
from spendgate.ledger.redis import recent_rejections, two_phase
from spendgate.ledger.redis import url as connect
from spendgate.ledger.redis.calls import BULK_TIMEOUT_S, RedisCalls, Script, script_call
from spendgate.ledger.redis.cluster_connection import ClusterLane
from spendgate.ledger.redis.codec import (
    EPOCH_KEY,
    adjust_argument,
    adjust_result,
    beat_keys,
    expired_rows,
    grow_argument,
    reserve_argument,
    reserve_result,
    settle_argument,
    team_prefix,
    text,
)
from spendgate.ledger.redis.connection import Lane
from spendgate.ledger.redis.readings import restored
from spendgate.ledger.redis.reads import MONTHS_PER_TRIP, LedgerReads

_Waiter = tuple[tuple[str, ...], bytes, ReserveRequest, "asyncio.Future[ReserveResult]"]
"""Accounts, argument, request, and who waits."""

RESERVE, SETTLE, RENEW, EXPIRE, ADJUST = (
    Script(v) for v in ("reserve", "settle", "renew", "expire", "adjust")
)
REMEMBER, RESTORE = Script("remember"), Script("restore")
EPOCH = (files("spendgate.ledger") / "lua" / "epoch.lua").read_text()

_BEAT = """
local last = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], 172800)
return last
"""


class RedisLedger(LedgerReads):
    """The ledger's port on one Redis. `timeout_s` bounds every call; past it LedgerUnavailable is raised."""

    def __init__(
        self, client: aioredis.Redis, timeout_s: float = 0.25, lane: Lane | ClusterLane | None = None
    ) -> None:
        self.calls = RedisCalls(client, timeout_s, lane)
        self._waiting: list[_Waiter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat_keys: tuple[str, ...] = ()

    @classmethod
    def from_url(cls, url: str, timeout_s: float = 0.25) -> Self:
        """Connect by any form of URL that `connect` knows; the first call makes the connection.

        A connection that broke is tried again once, at once: every call is idempotent. Raises
        ConfigurationError for an URL that cannot be read.
        """
        client = connect.client(url, max(timeout_s, BULK_TIMEOUT_S))
        address = connect.parse(url)
        made = cls(client, timeout_s, _lane_of(address, max(timeout_s, 0.1)))
        if address.kind == "cluster":
            made._beat_keys = beat_keys()
        return made

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        """See `port.Ledger.reserve`: one call, but for groups on a cluster (`two_phase`). Raises LedgerError for an
        amount that the ledger can not hold."""
        if request.groups and isinstance(self.calls.redis, RedisCluster):
            return await two_phase.reserve(partial(self._reserve, now_ms), request)
        return await self._reserve(now_ms, request)

    async def _reserve(self, now_ms: int, request: ReserveRequest, again: bool = False) -> ReserveResult:
        argument = reserve_argument(request, now_ms, again)
        groups = request.groups
        accounts = (request.team, *map(group_account, groups)) if groups else (request.team,)
        result = await self._reserve_at_once(request, accounts, argument)
        if result is not None:
            return result
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ReserveResult] = loop.create_future()
        self._waiting.append((accounts, argument, request, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._send_waiting)
        return await future

    async def _reserve_at_once(
        self, request: ReserveRequest, accounts: tuple[str, ...], argument: bytes
    ) -> ReserveResult | None:
        """The usual case, with nothing to set up: no batch, no task. None where the long way is needed."""
        if self.calls.lane is None or not all(map(self.calls.knows, accounts)):
            return None
        command = script_call(RESERVE, accounts, (argument,))
        future = self.calls.lane.now(command, self.calls.timeout_s)
        if future is None:
            return None
        try:
            reply = await future
        except TimeoutError as e:
            self.calls.forget()
            self.calls.lane.reset(command)  # it may lead nowhere
            raise LedgerUnavailable(f"reserve: Redis did not answer within {self.calls.timeout_s} s") from e
        except OSError:
            return None  # the connection broke: the long way makes a new one
        return None if isinstance(reply, Exception) else reserve_result(request, reply)

    def _send_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        task = asyncio.ensure_future(self._reserve_batch(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reserve_batch(self, batch: list[_Waiter]) -> None:
        calls = [(accounts[0], [argument]) for accounts, argument, _, _ in batch]
        beside = [accounts[1:] for accounts, _, _, _ in batch]
        try:
            replies = await self.calls.guard("reserve", lambda: self.calls.run(RESERVE, calls, beside))
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
        """See `port.Ledger.settle`."""
        return [word for word, _ in await self.settle_timed(batch, now_ms)]

    async def settle_timed(self, batch: list[Settlement], now_ms: int = 0) -> list[tuple[str, int]]:
        """See `port.Ledger.settle_timed`: one script call an account, one round trip for all. Of an exchange in
        several accounts the team's word is told; each of them ends it by its own id, so that all may be sent again."""
        every = [*batch, *(s.of_group(g, group_account(g.name)) for s in batch for g in s.groups)]
        if not every:
            return []
        by_team: dict[str, list[Any]] = {}
        places: dict[str, list[int]] = {}
        for i, s in enumerate(every):
            team = s.team
            if team not in by_team:
                by_team[team], places[team] = [now_ms], []
            by_team[team].append(settle_argument(s))
            places[team].append(i)
        calls = list(by_team.items())
        replies = await self.calls.bulk("settle", lambda: self.calls.run_all(SETTLE, calls))
        words = [(text(word), int(reply[-1])) for reply in replies for word in reply[:-1]]
        out = [("", 0)] * len(every)
        for i, word in zip(chain.from_iterable(places.values()), words, strict=True):
            out[i] = word
        return out[: len(batch)]

    async def remember(self, asked: list[tuple[str, list[str]]]) -> list[tuple[int, list[int]]]:
        """Counters (without the team's prefix) of teams: the ledger's time (us) and what each has settled, a
        team's all at one instant. Raises LedgerUnavailable."""
        replies = await self.calls.ask("remember", REMEMBER, list(asked), MONTHS_PER_TRIP)
        return [(int(at), [int(n) for n in amounts]) for at, *amounts in replies]

    async def restore(self, asked: list[tuple[str, bytes]]) -> list[Restored]:
        """Give teams back what was lost; arguments by `checkpoint.restore_argument`. Raises LedgerUnavailable."""
        replies = await self.calls.ask(
            "restore", RESTORE, [(team, [argument]) for team, argument in asked], MONTHS_PER_TRIP
        )
        return [restored(team, reply) for (team, _), reply in zip(asked, replies, strict=True)]

    async def shard_beats(self, process: str, beat: int) -> list[int]:
        """Leave a beat in every part of a cluster, and give back the process' last one in each (0: none); of a
        single server there is none but the epoch's. Raises LedgerUnavailable."""
        if not self._beat_keys:
            return []

        calls = [("EVAL", _BEAT, 1, key, process, beat) for key in self._beat_keys]
        return [int(x) for x in await self.calls.send_all("beats", calls)]

    async def epoch(self, *arguments: Any) -> list[Any]:
        """Run `epoch.lua`. Raises LedgerUnavailable."""
        (reply,) = await self.calls.send_all("epoch", [("EVAL", EPOCH, 1, EPOCH_KEY, *arguments)])
        return list(reply)

    async def renew(self, holds: list[tuple[str, str]], ttl_ms: int, now_ms: int = 0) -> int:
        """See `port.Ledger.renew`."""
        calls: list[tuple[str, list[Any]]] = []
        for team, group in groupby(sorted(holds), key=lambda h: h[0]):
            calls.append((team, [now_ms, ttl_ms, *(exchange for _, exchange in group)]))
        if not calls:
            return 0
        replies = await self.calls.bulk("renew", lambda: self.calls.run_all(RENEW, calls))
        return sum(int(n) for n, *_ in replies)

    async def grow(self, streams: Sequence[Growing], ttl_ms: int, now_ms: int = 0) -> dict[str, Grown]:
        """See `port.Ledger.grow`."""
        calls: list[tuple[str, list[Any]]] = []
        for team, group in groupby(sorted(streams, key=lambda g: g.team), key=lambda g: g.team):
            calls.append((team, [now_ms, ttl_ms, *map(grow_argument, group)]))
        replies = await self.calls.ask("renew", RENEW, calls)
        found: dict[str, Grown] = {}
        for _, *rows in replies:
            for exchange, held, room in rows:
                now, before = Grown(int(held), int(room)), found.get(text(exchange))
                found[text(exchange)] = now if before is None else before.tightest(now)
        return found

    async def expire(self, team: str, now_ms: int = 0, limit: int = 100) -> list[Expired]:
        """See `port.Ledger.expire`."""
        return await self.expire_many([team], now_ms, limit)

    async def expire_many(self, teams: Sequence[str], now_ms: int = 0, limit: int = 100) -> list[Expired]:
        """As `expire`, for many teams in one round trip, at most `limit` holds of each."""
        replies = await self.calls.ask("expire", EXPIRE, [(team, [now_ms, limit]) for team in teams])
        return [x for team, rows in zip(teams, replies, strict=True) for x in expired_rows(team, rows)]

    async def adjust(self, batch: list[Adjustment], now_ms: int = 0) -> list[AdjustResult]:
        """See `port.Ledger.adjust`: one round trip for every 100."""
        done = await self._adjust(batch, now_ms)
        made = [
            a for a, r in zip(batch, done, strict=True) if a.scopes and r.outcome in ("adjusted", "replayed")
        ]
        await self._adjust([a.of_group(name) for a in made for name in a.groups], now_ms)
        return done

    async def _adjust(self, batch: list[Adjustment], now_ms: int) -> list[AdjustResult]:
        calls: list[tuple[str, list[Any]]] = [(a.team, [adjust_argument(a, now_ms)]) for a in batch]
        return [adjust_result(x) for x in await self.calls.ask("adjust", ADJUST, calls, MONTHS_PER_TRIP)]

    async def note_refusals(self, refused: list[RefusedRequest]) -> None:
        """See `port.Ledger.note_refusals`."""

        async def write() -> None:
            pipe = self.calls.redis.pipeline(transaction=False)
            for command in recent_rejections.commands(refused):
                pipe.execute_command(*command)
            await pipe.execute()

        if refused:
            await self.calls.bulk("note refusals", write)

    async def note_drift(self, drift: Drift) -> None:
        """Keep what a reconciliation found, for the metric and the alert. Raises LedgerUnavailable."""
        await self.calls.guard(
            "drift",
            lambda: cast(Awaitable[Any], self.calls.redis.hset(DRIFT_KEY, drift.provider, drift.encode())),
        )

    async def run_id(self) -> str:
        """See `port.Ledger.run_id`: `run_id` of INFO server, new with every start of a redis-server, and another
        one where a replica took over; of every master of a cluster."""
        if isinstance(self.calls.redis, RedisCluster):
            infos = await self.calls.bulk(
                "run id",
                lambda: cast(Any, self.calls.redis).info("server", target_nodes=RedisCluster.PRIMARIES),
            )
            return " ".join(sorted(str(info["run_id"]) for info in infos.values()))
        info = await self.calls.guard("run id", lambda: cast(Awaitable[Any], self.calls.redis.info("server")))
        return str(info["run_id"])

    async def first_seen(self, keys: list[tuple[str, str]], ttl_ms: int) -> list[bool]:
        """See `port.Ledger.first_seen`."""

        async def call() -> list[bool]:
            pipe = self.calls.redis.pipeline(transaction=False)
            for team, key in keys:
                pipe.set(f"{team_prefix(team)}seen:{key}", 1, nx=True, px=ttl_ms)
            return [bool(new) for new in await pipe.execute()]

        return await self.calls.bulk("first seen", call)

    async def ping(self) -> bool:
        """See `port.Ledger.ping`."""
        try:
            return bool(await self.calls.guard("ping", lambda: cast(Awaitable[Any], self.calls.redis.ping())))
        except LedgerError:
            return False

    async def close(self) -> None:
        """Wait for what is under way, then give connections back."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        if self.calls.lane is not None:
            self.calls.lane.close()
        await self.calls.redis.aclose()


def _lane_of(address: connect.RedisUrl, timeout_s: float) -> Lane | ClusterLane:
    if address.kind == "cluster":
        return ClusterLane(address, timeout_s)
    if address.kind == "single":
        return Lane(address, timeout_s)
    sentinels = connect.sentinel(address, timeout_s)

    async def master() -> connect.HostPort:
        try:
            host, port = await sentinels.discover_master(address.master)
        except RedisError as e:
            raise ConnectionError(f"no sentinel names the master {address.master}: {e}") from e
        return str(host), int(port)

    return Lane(address, timeout_s, master)
