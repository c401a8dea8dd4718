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
from typing import Any, Protocol

from spendgate.ledger.redis.codec import text
from spendgate.values import dataclass

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

    async def shard_beats(self, process: str, beat: int) -> list[int]: ...


async def epoch_of(ledger: Beating) -> Epoch:
    """The epoch in force, looked at without a beat; number 0 where nobody ever beat. Raises LedgerUnavailable."""
    return _read(await ledger.epoch("", 0, "", 0, 0, "", "beat"))


async def make_whole(ledger: Beating, epoch: Epoch) -> None:
    """Say that the spend of this epoch is rebuilt; nothing happens where another is in force."""
    await ledger.epoch("", 0, epoch.id, epoch.number, 0, "", "whole")


def _read(reply: list[Any]) -> Epoch:
    name, number, state, since, empty = (text(x) if x is not None else "" for x in reply[:5])
    return Epoch(name, int(number or 0), state == "lost", int(since or 0), empty == "1")


class Heartbeat:
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
        self._shards: list[int] = []
        """The last beat that each part of a cluster acknowledged in this life."""
        self._clock_us = clock_us
        self._ahead_us = 0

    async def beat(self, ledger: Beating) -> bool:
        """Beat once; True where the epoch is another than was known (the first one known is no change). Raises
        LedgerUnavailable.
        """
        self._sent = max(self._sent + 1, self._clock_us())
        asked_at = self._clock_us()
        known = self.epoch
        shards = await ledger.shard_beats(self.process, self._sent)
        part_lost = any(now < last for now, last in zip(shards, self._shards, strict=False))
        reply = await ledger.epoch(
            self.process, self._sent, known.id, known.number, self.acknowledged, secrets.token_hex(8),
            "lose" if part_lost else "beat",
        )  # fmt: skip
        self._shards = [self._sent] * len(shards)
        self.epoch = _read(reply)
        self.acknowledged = self._sent
        self._ahead_us = int(reply[5]) - (asked_at + self._clock_us()) // 2
        return bool(known.id) and known.id != self.epoch.id

    @property
    def ahead_ms(self) -> int:
        """By how much the ledger's clock is ahead of ours, to about half a round trip."""
        return self._ahead_us // 1000

    def ledger_us(self) -> int:
        """The ledger's clock, to about half a round trip."""
        return self._clock_us() + self._ahead_us
