"""Noticing that Redis lost what it had been told: flushed, restored from an old copy, taken over by a replica that
lagged, started on an empty volume.

Every process beats once a second: it leaves a number of its own in `sg1:epoch` and gets back who stands there. Its
own last beat must still be there. The first that misses its own (or the whole key) begins a new epoch; all others
see that at their next beat. See `lua/epoch.lua` for the rules.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from spendgate.ledger.wire import text

BEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class Epoch:
    """One life of the ledger's data. `lost`: it began with a loss whose spend is being rebuilt. `empty`: nothing
    at all was left. Number 0: none is known."""

    id: str = ""
    number: int = 0
    lost: bool = False
    since_ms: int = 0
    empty: bool = False


class Beating(Protocol):
    """What a pulse needs of the ledger."""

    async def epoch(self, *arguments: Any) -> list[Any]: ...


class Pulse:
    """One process' beats. `known` and `acknowledged` come from its last life, where that was kept."""

    def __init__(
        self,
        process: str = "",
        known: Epoch | None = None,
        acknowledged: int = 0,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.process = process or secrets.token_hex(8)
        self.epoch = known or Epoch()
        self.acknowledged = acknowledged
        self._sent = acknowledged
        self._clock_us = clock_us
        self._ahead_us = 0

    async def beat(self, ledger: Beating, *, rebuilt: bool = False) -> bool:
        """Beat once; True where the epoch is another than was known (the first one known is no change).
        `rebuilt` says that the spend of the epoch in force is whole again. Raises LedgerUnavailable.
        """
        self._sent = max(self._sent + 1, self._clock_us())
        asked_at = self._clock_us()
        reply = await ledger.epoch(
            self.process, self._sent, self.epoch.id, self.epoch.number, self.acknowledged,
            secrets.token_hex(8), "whole" if rebuilt else "beat",
        )  # fmt: skip
        known, now_us = self.epoch, int(reply[5])
        self.epoch = Epoch(
            text(reply[0]), int(reply[1]), text(reply[2]) == "lost", int(reply[3]), text(reply[4]) == "1"
        )
        self.acknowledged = self._sent
        self._ahead_us = now_us - (asked_at + self._clock_us()) // 2
        return bool(known.id) and known.id != self.epoch.id

    def ledger_us(self) -> int:
        """The ledger's clock, to about half a round trip."""
        return self._clock_us() + self._ahead_us
