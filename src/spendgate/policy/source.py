"""The policy as the controller writes it: from Redis, else the last known from local disk.

Announced by pub/sub, so that a change is in force in well under a second, and looked for every two seconds,
should an announcement be lost. A snapshot that cannot be read, or is older than the one in force, is not
used. Redis and controller may both be away: what is in force stays, over restarts too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from spendgate.budget.load import budget_from_document
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.errors import ConfigurationError, LedgerError
from spendgate.files import write_whole
from spendgate.ledger.redis import url
from spendgate.ledger.redis.client import UNREACHABLE
from spendgate.ledger.redis.codec import POLICY_CHANNEL
from spendgate.ledger.redis.gateways import EVERY_S, Gateways
from spendgate.policy.store import (
    SNAPSHOT_FILE,
    BadSnapshot,
    Head,
    PolicyStore,
    decode,
    document_of,
    encode,
)
from spendgate.protos.policy_pb2 import PolicySnapshot
from spendgate.tasks import cancel_and_wait

log = structlog.get_logger()

POLICY_FILE = SNAPSHOT_FILE
"""Name of the last known policy in the data dir."""
POLL_S = 2.0
CALL_S = 2.0
RESUBSCRIBE_S = 1.0


class PolicyMetrics:
    """Which policy this process enforces, and when it was last known to be the newest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.generation = Gauge(
            "spendgate_gateway_policy_generation",
            "Generation of the policy in force, of the worker that is furthest behind.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.confirmed = Gauge(
            "spendgate_gateway_policy_confirmed_timestamp_seconds",
            "When the policy in force was last confirmed by Redis; time() less this is its age.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.refused = Counter(
            "spendgate_gateway_policy_refused_total",
            "Snapshots, or budgets in one, that could not be read; the last valid ones stay in force.",
            registry=registry,
        )


class RedisPolicySource:
    """`first`, then `run`. `policy` is what is in force; before one is `known` nobody may decide by it."""

    def __init__(
        self,
        redis_url: str,
        cache_file: Path,
        metrics: PolicyMetrics | None = None,
        second: str = "",
        name: str = "",
    ) -> None:
        """`second`: another file with a last known policy, which somebody else keeps; "": none. `name`: of the gateway
        that enforces it, which tells so in Redis; "": nobody does."""
        self._name = name
        self._told_at = float("-inf")
        self._told: tuple[str, int] = ("", 0)
        self._misread: frozenset[str] = frozenset()
        self._redis = url.client(redis_url, CALL_S)
        self._store = PolicyStore(self._redis)
        self._gateways = Gateways(self._redis)
        self._file = cache_file
        self._files = (cache_file, *([Path(second)] if second else []))
        self._metrics = metrics
        self._announced = asyncio.Event()
        self._compiled: dict[bytes, TeamBudget] = {}
        self._by_uid: dict[str, TeamBudget] = {}
        self._ignored: Head | None = None
        self._written_ms = 0
        self._unsaved: PolicySnapshot | None = None
        self._confirmed_at = 0.0
        self.policy = Policy()
        self.generation = 0
        self.version = ""

    @property
    def known(self) -> bool:
        """Was there ever a policy, in Redis or on this disk? An empty one is a policy, too."""
        return self.generation > 0

    async def first(self) -> Policy:
        """The policy to begin with."""
        self._load_files()
        try:
            await self._look()
        except LedgerError as problem:
            log.error("policy_from_redis_failed", error=str(problem), in_force=self.generation)
        await self._save()
        if not self.known:
            log.warning("no_policy", why="neither Redis nor this disk has one; not ready before there is one")
        return self.policy

    async def run(self, apply: Callable[[Policy], None]) -> None:
        """Follow for ever; `apply` gets each policy that takes the place of the former."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._announced.wait()
                except TimeoutError:
                    pass
                self._announced.clear()
                if not self.known and self._load_files():
                    apply(self.policy)
                try:
                    if await self._look():
                        apply(self.policy)
                        await self._tell()
                        await self._save()
                    await self._tell()
                except LedgerError as problem:
                    log.warning("policy_poll_failed", error=str(problem), in_force=self.generation)
                if listening.done():
                    listening.result()
        finally:
            await cancel_and_wait(listening)
            await self._leave()
            await self._redis.aclose()

    async def _tell(self) -> None:
        """Say what is enforced here: at once where it changed, else every few seconds. Raises LedgerUnavailable."""
        now, told = time.monotonic(), (self.version, self.generation)
        if not self._name or not self.known or (told == self._told and now - self._told_at < EVERY_S):
            return
        await self._gateways.tell(self._name, self.version, self.generation, self._misread)
        self._told, self._told_at = told, now

    async def _leave(self) -> None:
        if self._told[1]:
            try:
                async with asyncio.timeout(1.0):
                    await self._gateways.leave(self._name)
            except (LedgerError, TimeoutError) as problem:
                log.info("gateway_left_unsaid", why=str(problem) or "Redis did not answer in time")

    def age_s(self) -> float:
        """Seconds since Redis last confirmed the policy in force; infinite where it never did."""
        return time.time() - self._confirmed_at if self._confirmed_at else float("inf")

    async def _listen(self) -> None:
        while True:
            try:
                await self._redis.initialize()  # a cluster's places, before a channel asks for one
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(POLICY_CHANNEL)
                    self._announced.set()  # what was announced before we listened
                    while True:
                        if await channel.get_message(timeout=60.0) is not None:
                            self._announced.set()
            except UNREACHABLE as problem:
                log.warning("policy_subscription_lost", error=f"{type(problem).__name__}: {problem}")
                await asyncio.sleep(RESUBSCRIBE_S)

    async def _look(self) -> bool:
        """Look at Redis; True where another policy is in force now. Raises LedgerUnavailable."""
        head = await self._store.head()
        if head.generation == self.generation and head.version == self.version:
            self._confirm()
            return False
        if head.generation == 0 or head == self._ignored:
            return False  # lost, or refused before: the controller writes it anew
        try:
            snapshot = await self._store.read()
        except BadSnapshot as problem:
            self._refuse(head, str(problem))
            return False
        if snapshot is None or not self._is_newer(snapshot):
            return False
        if not self._take(snapshot):
            self._ignored = head
            return False
        self._confirm()
        self._unsaved = snapshot
        log.info("policy_in_force", generation=self.generation, version=self.version[:12])
        return True

    def _is_newer(self, snapshot: PolicySnapshot) -> bool:
        """A higher generation, or (Redis was lost, so its count began anew) written later."""
        return (
            snapshot.generation > self.generation or snapshot.written_at.ToMilliseconds() > self._written_ms
        )

    def _take(self, snapshot: PolicySnapshot) -> bool:
        """Compile and put in force; a budget that cannot be read keeps its last valid form."""
        compiled: dict[bytes, TeamBudget] = {}
        by_uid: dict[str, TeamBudget] = {}
        misread: set[str] = set()
        for entry in snapshot.budgets:
            budget = self._compiled.get(entry.json)
            if budget is None:
                name = f"{entry.namespace}/{entry.name}"
                try:
                    budget = budget_from_document(document_of(entry), name)
                except BadSnapshot as problem:
                    self._refuse(None, str(problem))
                    return False
                except ConfigurationError as problem:
                    budget = self._by_uid.get(entry.uid)
                    misread.add(entry.uid)
                    self._refuse(None, f"{name}: {problem}; kept: {budget is not None}")
                    if budget is None:
                        continue
            by_uid[entry.uid] = budget
            if entry.uid not in misread:
                compiled[entry.json] = budget
        try:
            self.policy = Policy.of(by_uid.values(), (lapsed.team for lapsed in snapshot.lapsed))
        except ValueError as problem:
            self._refuse(None, str(problem))
            return False
        self._compiled, self._by_uid, self._misread = compiled, by_uid, frozenset(misread)
        self.generation, self.version = snapshot.generation, snapshot.version
        self._written_ms = snapshot.written_at.ToMilliseconds()
        if self._metrics is not None:
            self._metrics.generation.set(self.generation)
        return True

    def _confirm(self) -> None:
        self._confirmed_at = time.time()
        if self._metrics is not None:
            self._metrics.confirmed.set(self._confirmed_at)

    def _refuse(self, head: Head | None, why: str) -> None:
        self._ignored = head or self._ignored
        log.error("policy_refused", why=why, in_force=self.generation)
        if self._metrics is not None:
            self._metrics.refused.inc()

    def _load_files(self) -> bool:
        """Take the newest policy on disk; is there one?"""
        for file in self._files:
            try:
                snapshot = decode(file.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, BadSnapshot) as problem:
                log.error("policy_file_unreadable", path=str(file), error=str(problem))
                continue
            if self._is_newer(snapshot):
                self._take(snapshot)
        return self.known

    async def _save(self) -> None:
        """Keep what is in force for a cold start; beside the loop, for it is written through to the disk."""
        snapshot, self._unsaved = self._unsaved, None
        if snapshot is not None:
            await asyncio.to_thread(self._write, snapshot)

    def _write(self, snapshot: PolicySnapshot) -> None:
        """Whole or not at all; the last one to write wins, and all write the same."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, encode(snapshot))
        except OSError as problem:
            log.error("policy_not_saved", path=str(self._file), error=str(problem))
