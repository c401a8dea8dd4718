"""How a worker stands with the ledger: does it still know what it was told, and what did it say last?

The worker's own pulse notices a loss within a second. From then on every team is given back what the replica
remembers of it (its supervisor's memory file) before the ledger decides on its next request; what this worker
settled in the last seconds is sent again; what is in flight is held again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.accounts import Restored
from spendgate.ledger.recovery.checkpoint import Checkpoint, restore_argument
from spendgate.ledger.recovery.heartbeat import BEAT_S, Beating, Heartbeat
from spendgate.ledger.redis.codec import clean

log = structlog.get_logger()


class Restoring(Beating, Protocol):
    """What standing needs of the ledger."""

    async def restore(self, asked: list[tuple[str, bytes]]) -> list[Restored]: ...


class LedgerWatch:
    """One a worker. `when_lost` is awaited at every loss: send again, hold again."""

    def __init__(
        self, ledger: Restoring, memory_path: Path | None, when_lost: Callable[[], Awaitable[None]]
    ) -> None:
        self._ledger = ledger
        self._path = memory_path
        self._when_lost = when_lost
        self._memory = self._read()
        self._read_stamp = self._stamp()
        self._owed = self._memory
        """What was remembered when the ledger lost it: what is read since is not lost."""
        self._unrestored: set[str] = set()
        self._hurry = asyncio.Event()
        self.pulse = Heartbeat(known=self._memory.epoch)

    def remembered(self, team: str, month: str) -> int:
        """What the replica knows that the team settled in a month, for while the ledger is away."""
        if (stamp := self._stamp()) != self._read_stamp:
            self._memory, self._read_stamp = self._read(), stamp
        return self._memory.settled(team, month)

    def hurry(self) -> None:
        """Something looks lost: do not wait for the next second."""
        self._hurry.set()

    async def restore(self, team: str) -> None:
        """Give the team back what is remembered, once after a loss. Raises LedgerUnavailable."""
        name = clean(team)
        if name not in self._unrestored:
            return
        argument = restore_argument(self.pulse.epoch, self._owed.month, self._owed.teams[name])
        await asyncio.sleep(0)  # into a task (`rpc.eager`): the call below is bounded by a timeout
        await self._ledger.restore([(team, argument)])
        self._unrestored.discard(name)

    async def run_forever(self) -> None:
        """Beat every second; a ledger that is away is waited for."""
        while True:
            try:
                await self.look()
            except LedgerUnavailable as problem:
                log.debug("pulse_waits", error=str(problem))
            try:
                await asyncio.wait_for(self._hurry.wait(), BEAT_S)
                self._hurry.clear()
                await asyncio.sleep(BEAT_S / 20)  # looks by hurry are bounded too
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Beat once, and act where the ledger lost what it had been told."""
        before = self.pulse.epoch
        if not await self.pulse.beat(self._ledger):
            return
        self._owed = self._memory = self._read()
        behind = self._owed.epoch.number < self.pulse.epoch.number  # else the supervisor was faster
        self._unrestored = set(self._owed.teams) if behind else set()
        log.critical(
            "ledger_lost",
            epoch=self.pulse.epoch.number,
            was=before.number,
            empty=self.pulse.epoch.empty,
            remembered_teams=len(self._unrestored),
        )
        await self._when_lost()

    def _read(self) -> Checkpoint:
        return Checkpoint.read(self._path) if self._path is not None else Checkpoint()

    def _stamp(self) -> int:
        try:
            return self._path.stat().st_mtime_ns if self._path is not None else 0
        except OSError:
            return 0
