"""Settlements that Redis took in the last seconds, to be sent again when it comes back as another process, or
when it lost what it had been told.

A Redis whose journal is synced every second may lose its last second when the machine dies; a replica that takes
over may lack the last moments. Every entry is idempotent, so sending too much changes nothing; each says when the
ledger first took it, so that it is not counted beside a memory which has it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from spendgate.ledger.exchanges import Settlement

BATCH = 200


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
    apart (`keeper`). `entries_max` bounds the memory: the oldest are let go first.
    """

    def __init__(
        self, seconds: float = 60.0, entries_max: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._entries: deque[tuple[float, Settlement]] = deque(maxlen=entries_max)
        self._run_id = ""
        self._lost = False

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, batch: list[Settlement], times_us: Sequence[int] = ()) -> None:
        """Note a batch that the ledger just acknowledged, with its own times of that."""
        now = self._clock()
        for i, settlement in enumerate(batch):
            at = times_us[i] if times_us else 0
            first, counted = settlement.acknowledged_us or at, settlement.counted_us or at
            self._entries.append((now, replace(settlement, acknowledged_us=first, counted_us=counted)))

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
            again = [settlement for _, settlement in self._entries]
            for start in range(0, len(again), BATCH):
                await ledger.settle(again[start : start + BATCH])
            sent = len(again)
        self._run_id = run_id
        self._lost = False
        while self._entries and self._entries[0][0] < asked_at - self._seconds:
            self._entries.popleft()
        return sent
