"""Settlements that Redis took in the last seconds, to be sent again when it comes back as another process.

A Redis whose journal is synced every second may lose its last second when the machine dies. Every entry is
idempotent, so sending too much changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from spendgate.ledger.port import Ledger, Settlement

BATCH = 200


class RecentSettlements:
    """Keeps what was acknowledged in the `seconds` before the last check that saw the same server.

    So nothing ages while the server is away. `entries_max` bounds the memory: the oldest are let go first.
    """

    def __init__(
        self, seconds: float = 10.0, entries_max: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._entries: deque[tuple[float, Settlement]] = deque(maxlen=entries_max)
        self._run_id = ""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, batch: list[Settlement]) -> None:
        """Note a batch that the ledger just acknowledged."""
        now = self._clock()
        self._entries.extend((now, settlement) for settlement in batch)

    async def check(self, ledger: Ledger) -> int:
        """Ask which server runs; send all again where it is another one. Returns how many were sent.

        Call it every few seconds. Raises LedgerUnavailable; then nothing is forgotten, and the next check
        sends again.
        """
        asked_at = self._clock()
        run_id = await ledger.run_id()
        sent = 0
        if self._run_id and run_id != self._run_id:
            again = [settlement for _, settlement in self._entries]
            for start in range(0, len(again), BATCH):
                await ledger.settle(again[start : start + BATCH])
            sent = len(again)
        self._run_id = run_id
        while self._entries and self._entries[0][0] < asked_at - self._seconds:
            self._entries.popleft()
        return sent
