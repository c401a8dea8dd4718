"""Settlements that Redis took in the last seconds, to be sent again when it comes back as another process, or
when it lost what it had been told.

A Redis whose journal is synced every second may lose its last second when the machine dies; a replica that takes
over may lack the last moments. Every entry is idempotent, so sending too much changes nothing; each says when the
ledger first took it, so that it is not counted beside a memory which has it.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import islice
from operator import attrgetter
from typing import NamedTuple, Protocol

from spendgate.ledger.exchanges import Settlement

BATCH = 200
ENTRIES_MAX = 300_000
"""A minute of 5,000 exchanges a second: some 50 MB, where each has names of its own."""
_values_of = attrgetter(*(f.name for f in fields(Settlement)))


class _Batch(NamedTuple):
    """Settlements that were acknowledged together, as bytes: some hundred thousand objects of a minute would be walked
    by every collection of the interpreter's, and be five times as large."""

    at_s: float
    size: int
    packed: bytes

    def settlements(self) -> Iterator[Settlement]:
        """Each with the ledger's time of it."""
        rows, times_us = pickle.loads(self.packed)  # our own, from memory
        for row, at in zip(rows, times_us, strict=True):
            s = Settlement(*row)
            yield replace(s, acknowledged_us=s.acknowledged_us or at, counted_us=s.counted_us or at)


class Taker(Protocol):
    """What a check asks of a ledger."""

    async def run_id(self) -> str:
        """See `port.Recover.run_id`."""
        ...

    async def settle(self, batch: list[Settlement]) -> list[str]:
        """See `port.Settle.settle`."""
        ...


class RecentSettlements:
    """Keeps what was acknowledged in the `seconds` before the last check that saw the same server.

    So nothing ages while the server is away. `seconds` must be longer than two readings of the memory are
    apart (`keeper`). `entries_max` bounds the memory: the batches of the oldest are let go first.
    """

    def __init__(
        self,
        seconds: float = 60.0,
        entries_max: int = ENTRIES_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._most = entries_max
        self._clock = clock
        self._batches: deque[_Batch] = deque()
        self._count = 0
        self._run_id = ""
        self._lost = False

    def __len__(self) -> int:
        return self._count

    def add(self, batch: list[Settlement], times_us: Sequence[int] = ()) -> None:
        """Note a batch that the ledger just acknowledged, with its own times of that."""
        if not batch:
            return
        rows = [_values_of(s) for s in batch[-self._most :]]
        times = list(times_us[-self._most :]) or [0] * len(rows)
        self._batches.append(_Batch(self._clock(), len(rows), pickle.dumps((rows, times), 5)))
        self._count += len(rows)
        while self._count > self._most:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._count -= self._batches.popleft().size

    def ledger_lost(self) -> None:
        """The store lost what it had been told: the next check sends all again."""
        self._lost = True

    async def check(self, ledger: Taker) -> int:
        """Ask which server runs; send all again where it is another one, or it lost something. Returns how many
        were sent.

        Call it every few seconds. Raises LedgerUnavailable; then nothing is forgotten, and the next check
        sends again.
        """
        asked_at = self._clock()
        run_id = await ledger.run_id()
        sent = 0
        if self._lost or (self._run_id and run_id != self._run_id):
            again = (s for batch in tuple(self._batches) for s in batch.settlements())
            while part := list(islice(again, BATCH)):
                await ledger.settle(part)
                sent += len(part)
        self._run_id = run_id
        self._lost = False
        while self._batches and self._batches[0].at_s < asked_at - self._seconds:
            self._forget_oldest()
        return sent
