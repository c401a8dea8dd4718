"""Settling off the answer's latency path: endings queue up, one batch goes to the ledger at a time.

An ending is put without an await, so that Envoy's end of a call cannot cut it short. A batch that the
ledger does not take goes to the spool on local disk and from there to the ledger when it is back: every verb
is idempotent by exchange id. Usage lines and counters follow once the money is safe in one of both.

Where neither takes a batch (the disk is full, too), it waits in memory and is tried again every second; `is_full`
then tells the runtime, which lets nothing more pass without the ledger but what the policy sets no bound to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.exchange.sdk_retries import WINDOW_MS
from spendgate.gateway.log_throttle import Throttle
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.rejection_counter import Refusals
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.port import Ledger
from spendgate.ledger.spool.spool import Taken
from spendgate.records.outcome import Outcome
from spendgate.records.record import ExchangeResult
from spendgate.records.writer import UsageLog

log = structlog.get_logger()

BATCH_MAX = 500
GATHER_S = 0.005
"""A little patience, so that endings of one moment share a round trip."""
BUSY, BUSY_GATHER_S = 3, 0.02
"""Where the last batch had so many, traffic is dense enough that waiting longer saves a round trip each."""
SPOOL_RETRY_S = 1.0
CLOCK_SLACK_US = 50_000
"""By how much the ledger's clock may be behind what is known of it here."""
REFUSALS_S = 1.0
"""Refusals are counted into the ledger this often: a loop that runs into a 429 costs it one entry a second."""
UNPRICED_MAX = 1000
"""Models without a price that are named in the log; clients choose their names."""


class Spooling(Protocol):
    """The durable journal (ledger.spool.spool.Spool)."""

    def append(self, batch: list[Settlement]) -> None: ...

    async def replay(self, ledger: Ledger, taken: Taken | None = None) -> int: ...

    def depth(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def corrupt(self) -> int: ...


class Remembering(Protocol):
    """Recently acknowledged settlements (ledger.recovery.resend.RecentSettlements)."""

    def add(self, batch: list[Settlement], times_us: Sequence[int] = ()) -> None: ...

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
        self._queue: deque[ExchangeResult] = deque()
        self._refusals = Refusals()
        self._corrected: set[str] = set()
        self._handed_over: set[str] = set()
        self._taken_over: set[str] = set()
        """Of the last batch, what the next gateway meters: it counts there."""
        self._tried_us: dict[str, int] = {}
        """Of what neither the ledger nor the disk took: when it was sent first."""
        self._wake = asyncio.Event()
        self._closing = False
        self._hurried = False
        self._voids: list[Settlement] = []
        self._said = Throttle()
        self.is_full = False
        """Neither the ledger nor the disk took the last batch."""
        self.when_home: Callable[[], None] = lambda: None
        """Called when nothing waits: all that was put is in the ledger."""
        self.clock_us: Callable[[], int] = lambda: time.time_ns() // 1000
        """The ledger's clock, as well as it is known here."""
        self._unpriced: set[tuple[str, tuple[str, ...]]] = set()

    def put(self, ending: ExchangeResult) -> None:
        """Take an ending. Never waits, never raises."""
        self._queue.append(ending)
        self._wake.set()

    def void(self, settlement: Settlement) -> None:
        """Release what may have been reserved without anybody hearing of it. Never waits."""
        self._voids.append(settlement)
        self._wake.set()

    def hurry(self) -> None:
        """Mend at once: the ledger lost something."""
        self._hurried = True
        self._wake.set()

    def close(self) -> None:
        """Settle what is queued, then let `run` return."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Consume the queue until closed."""
        next_retry = next_refusals = 0.0
        busy = False
        while True:
            if not self._queue:
                if self._closing:
                    break
                timeout = SPOOL_RETRY_S if self._spool.depth() or self._refusals else 5.0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout)
            self._wake.clear()
            if self._queue:
                if not self._closing:
                    await asyncio.sleep(BUSY_GATHER_S if busy else GATHER_S)
                busy = len(self._queue) >= BUSY
                batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
                await self._settle(batch)
            await self._void()
            now = time.monotonic()
            if now >= next_refusals:
                next_refusals = now + REFUSALS_S
                await self._count_refusals()
            if now >= next_retry or self._hurried:
                self._hurried = False
                next_retry = now + SPOOL_RETRY_S
                await self._mend()
            if not self._queue and not self._spool.depth():
                self.when_home()
        await self._void()
        await self._count_refusals()
        await self._mend()

    async def _settle(self, batch: list[ExchangeResult]) -> None:
        settlements = [x.settlement for x in batch if x.settlement is not None]
        self._handed_over = {x.record.exchange_id for x in batch if x.notes.handed_over}
        self._corrected, self._taken_over = set(), set()
        if settlements:
            began = time.perf_counter()
            if not await self._make_safe(settlements):
                self._queue.extendleft(reversed(batch))
                await asyncio.sleep(0.1 if self._closing else SPOOL_RETRY_S)
                return
            self._metrics.settled.observe(time.perf_counter() - began)
        batch = [x for x in batch if x.record.exchange_id not in self._taken_over]
        try:
            self._usage_log.write([x.record.line() for x in batch])
        except OSError as problem:
            self._metrics.lost.inc(len(batch))
            log.error("usage_log_failed", lines=len(batch), error=str(problem))
        await self._count_refused_money([x for x in batch if x.notes.refused_nanousd])
        self._metrics.count_all((x, x.record.exchange_id in self._corrected) for x in batch)
        for ending in batch:
            if ending.record.outcome is Outcome.REFUSED:
                self._refusals.add(ending.record)
            if ending.notes.unpriced:
                self._say_unpriced(ending)
            if ending.notes.flags:
                log.warning(
                    "flagged",
                    exchange_id=ending.record.exchange_id,
                    flags=ending.notes.flags,
                    team=ending.record.team,
                    model=ending.record.model,
                )
            if ending.record.unmetered:
                log.warning(
                    "unmetered",
                    exchange_id=ending.record.exchange_id,
                    reason=ending.record.unmetered,
                    team=ending.record.team,
                    model=ending.record.model,
                )

    async def _count_refused_money(self, refused: list[ExchangeResult]) -> None:
        """Each call once, whichever worker its tries reach. Where the ledger cannot say, every try counts."""
        unmarked = [x for x in refused if x.notes.repeat_key]
        again: set[int] = set()
        if unmarked:
            try:
                keys = [(x.record.team, x.notes.repeat_key) for x in unmarked]
                first = await self._ledger.first_seen(keys, WINDOW_MS)
                again = {id(x) for x, new in zip(unmarked, first, strict=True) if not new}
            except LedgerUnavailable:
                self._metrics.ledger_failures.labels("first_seen").inc()
        for ending in refused:
            if id(ending) not in again:
                self._metrics.count_refused_call(ending)

    def _say_unpriced(self, ending: ExchangeResult) -> None:
        """Once a model and what of it has no price; the metric counts the rest."""
        record = ending.record
        key = (record.model, record.priced_by.unpriced)
        if key in self._unpriced or len(self._unpriced) >= UNPRICED_MAX:
            return
        self._unpriced.add(key)
        log.warning(
            "unpriced",
            model=record.model,
            stand_in=record.priced_by.stand_in,
            kinds=list(record.priced_by.unpriced),
            team=record.team,
            remedy="give it a price by --prices",
        )

    async def _void(self) -> None:
        voids, self._voids = self._voids, []
        if voids and not await self._make_safe(voids):
            self._voids = voids + self._voids

    async def _count_refusals(self) -> None:
        """Refusals since the last call as one entry a team, app, model and day."""
        waiting = self._refusals.settlements()
        if waiting and await self._make_safe(waiting):
            self._refusals.done()
        latest = self._refusals.latest()
        try:
            if latest:
                await self._ledger.note_refusals(latest)
        except LedgerError as problem:  # a memory for people, no books
            log.warning("refusals_not_noted", refusals=len(latest), error=str(problem))

    async def _make_safe(self, settlements: list[Settlement]) -> bool:
        """Into the ledger, else to disk; False where neither takes them. One that the ledger gave no answer to it may
        have taken all the same, from that time on."""
        tried_us = self._tried_us
        settlements = [
            replace(s, acknowledged_us=s.acknowledged_us or tried_us.get(s.exchange_id, 0)) for s in settlements
        ] if tried_us else settlements  # fmt: skip
        sent_us = self.clock_us() - CLOCK_SLACK_US
        try:
            taken = await self._ledger.settle_timed(settlements)
            words = [(s.exchange_id, word) for s, (word, _) in zip(settlements, taken, strict=True)]
            replayed = {exchange_id for exchange_id, word in words if word == "replayed"}
            self._corrected = {exchange_id for exchange_id, word in words if word == "corrected"}
            self._taken_over = replayed & self._handed_over
            own = [
                x for x in zip(settlements, taken, strict=True) if x[0].exchange_id not in self._taken_over
            ]
            self._recent.add([s for s, _ in own], [at for _, (_, at) in own])
        except Exception as problem:  # noqa: BLE001  no fault loses a cent: to disk with it, and loudly
            settlements = [replace(s, acknowledged_us=s.acknowledged_us or sent_us) for s in settlements]
            self._metrics.ledger_failures.labels("settle").inc()
            self._said(
                log.error,
                "settle_failed",
                settlements=len(settlements),
                unavailable=isinstance(problem, LedgerUnavailable),
                error=str(problem),
            )
            if not await self._to_disk(settlements):
                self._tried_us.update((s.exchange_id, s.acknowledged_us) for s in settlements)
                return False
            self._gauge()
        for s in settlements:
            tried_us.pop(s.exchange_id, None)
        self.is_full = False
        return True

    async def _to_disk(self, settlements: list[Settlement]) -> bool:
        now_us = self.clock_us()
        try:
            await asyncio.to_thread(
                self._spool.append, [replace(s, counted_us=s.counted_us or now_us) for s in settlements]
            )
        except (OSError, LedgerError) as problem:
            self.is_full = True
            self._metrics.spool_failures.inc()
            self._said(log.critical, "spool_failed", settlements=len(settlements), error=str(problem))
            return False
        return True

    def _gauge(self) -> None:
        self._metrics.spool_depth.set(self._spool.depth())
        self._metrics.spool_bytes.set(self._spool.size)
        self._metrics.spool_corrupt.set(self._spool.corrupt)

    async def _mend(self) -> None:
        """Bring the spool home, and what a restarted Redis may have lost."""
        try:
            await self._recent.check(self._ledger)
            if self._spool.depth():
                replayed = await self._spool.replay(self._ledger, self._recent.add)
                log.info("spool_replayed", settlements=replayed, left=self._spool.depth())
            self._gauge()
        except LedgerUnavailable:
            return
        except Exception as problem:  # noqa: BLE001  the next round tries again; nothing is removed before
            log.error("spool_replay_failed", error=f"{type(problem).__name__}: {problem}")
