"""Settling off the answer's latency path: endings queue up, one batch goes to the ledger at a time.

An ending is put without an await, so that Envoy's end of a call can not cut it short. A batch that the
ledger does not take goes to the spool on local disk and from there to the ledger when it is back: every verb
is idempotent by exchange id. Usage lines and counters follow once the money is safe in one of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Protocol

import structlog

from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.record import Ending
from spendgate.gateway.usage_log import UsageLog
from spendgate.ledger.port import Ledger, Settlement

log = structlog.get_logger()

BATCH_MAX = 500
GATHER_S = 0.005
"""A little patience, so that endings of one moment share a round trip."""
SPOOL_RETRY_S = 1.0


class Spooling(Protocol):
    """The durable journal (ledger.spool.Spool)."""

    def append(self, batch: list[Settlement]) -> None: ...

    async def replay(self, ledger: Ledger) -> int: ...

    def depth(self) -> int: ...


class Remembering(Protocol):
    """Recently acknowledged settlements (ledger.recent.RecentSettlements)."""

    def add(self, batch: list[Settlement]) -> None: ...

    async def check(self, ledger: Ledger) -> int: ...


class Settler:
    """Owns the queue and its one consumer."""

    def __init__(
        self, ledger: Ledger, spool: Spooling, recent: Remembering, usage_log: UsageLog, metrics: Metrics
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._recent = recent
        self._usage_log = usage_log
        self._metrics = metrics
        self._queue: deque[Ending] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    def put(self, ending: Ending) -> None:
        """Take an ending. Never waits, never raises."""
        self._queue.append(ending)
        self._wake.set()

    def close(self) -> None:
        """Settle what is queued, then let `run` return."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Consume the queue until closed."""
        next_retry = 0.0
        while True:
            if not self._queue:
                if self._closing:
                    break
                timeout = SPOOL_RETRY_S if self._spool.depth() else 5.0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout)
            self._wake.clear()
            if self._queue:
                if not self._closing:
                    await asyncio.sleep(GATHER_S)
                batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
                await self._settle(batch)
            now = time.monotonic()
            if now >= next_retry:
                next_retry = now + SPOOL_RETRY_S
                await self._mend()
        await self._mend()

    async def _settle(self, batch: list[Ending]) -> None:
        settlements = [x.settlement for x in batch if x.settlement is not None]
        if settlements:
            began = time.perf_counter()
            try:
                await self._ledger.settle(settlements)
                self._recent.add(settlements)
            except Exception as problem:  # noqa: BLE001  no fault loses a cent: to disk with it, and loudly
                self._metrics.ledger_failures.labels("settle").inc()
                log.error(
                    "settle_failed",
                    settlements=len(settlements),
                    unavailable=isinstance(problem, LedgerUnavailable),
                    error=str(problem),
                )
                if not await self._to_disk(settlements):
                    self._queue.extendleft(reversed(batch))
                    await asyncio.sleep(0.1 if self._closing else SPOOL_RETRY_S)
                    return
                self._metrics.spool_depth.set(self._spool.depth())
            self._metrics.settled.observe(time.perf_counter() - began)
        try:
            self._usage_log.write([x.record.line() for x in batch])
        except OSError as problem:
            self._metrics.lost.inc(len(batch))
            log.error("usage_log_failed", lines=len(batch), error=str(problem))
        for ending in batch:
            self._metrics.count(ending)
            if ending.record.unmetered:
                log.warning(
                    "unmetered",
                    exchange_id=ending.record.exchange_id,
                    reason=ending.record.unmetered,
                    team=ending.record.team,
                    model=ending.record.model,
                )

    async def _to_disk(self, settlements: list[Settlement]) -> bool:
        try:
            await asyncio.to_thread(self._spool.append, settlements)
        except (OSError, LedgerError) as problem:
            log.critical("spool_failed", settlements=len(settlements), error=str(problem))
            return False
        return True

    async def _mend(self) -> None:
        """Bring the spool home, and what a restarted Redis may have lost."""
        try:
            await self._recent.check(self._ledger)
            if self._spool.depth():
                replayed = await self._spool.replay(self._ledger)
                log.info("spool_replayed", settlements=replayed, left=self._spool.depth())
            self._metrics.spool_depth.set(self._spool.depth())
        except LedgerUnavailable:
            return
        except Exception as problem:  # noqa: BLE001  the next round tries again; nothing is removed before
            log.error("spool_replay_failed", error=f"{type(problem).__name__}: {problem}")
