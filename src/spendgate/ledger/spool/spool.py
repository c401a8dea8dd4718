"""The spool: settlements that Redis could not take, kept on disk until it acknowledges them.

One file a worker, `DIR/<worker>.jsonl`, locked while the worker lives; the file of a worker that died is
adopted by any other when that starts or replays. Durability: an append returns when its lines are synced to
the disk (fdatasync; the folder too, when a file is made), so call it in a thread and in batches. A file past
its size bound takes no more: the caller keeps the batch and tries again. A replay may send again
what Redis took already (its reply was lost, or we crashed before noting it): the ledger knows every ended
exchange for 7 days, so this changes nothing. Only an outage longer than that could charge twice the one batch
whose reply was lost when it began.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from spendgate.errors import ConfigurationError, LedgerError
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.spool.journal import Journal

BATCH = 200
"""Settlements sent in one call."""
BYTES_MAX = 256 * 2**20
"""A worker's file is full at this size: about half a million settlements."""

Taken = Callable[[list[Settlement], Sequence[int]], None]
"""Is told of settlements that the ledger took, and when (its clock, us)."""


class Taker(Protocol):
    """What a replay asks of a ledger."""

    async def settle_timed(self, batch: list[Settlement]) -> list[tuple[str, int]]:
        """See `port.Settle.settle_timed`."""
        ...


class Spool:
    """A worker's journal and those it adopted. `worker` names the file: letters, digits, `-`, `_`, `.`.

    Where a living process holds that file (it adopted what the worker's last run left), the next free of
    `<worker>-2`, `<worker>-3`, … is taken. Raises ConfigurationError where the folder cannot be written.
    """

    def __init__(self, folder: str | Path, worker: str, bytes_max: int = BYTES_MAX) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", worker):
            raise ConfigurationError(f"spool: {worker!r} cannot name a file; use letters, digits, - and _")
        self._folder = Path(folder)
        self._bytes_max = bytes_max
        self._retired_torn = 0
        self._retired_corrupt = 0
        self._adopted: list[Journal] = []
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._own = self._open_own(worker)
            _sync_folder(self._folder)
            self.adopt()
        except OSError as e:
            raise ConfigurationError(f"spool: {e}; give a --data-dir that can be written") from e

    def _open_own(self, worker: str) -> Journal:
        for number in itertools.count(1):
            name = worker if number == 1 else f"{worker}-{number}"
            own = Journal.open(self._folder / f"{name}.jsonl", create=True)
            if own is not None:
                return own
        raise AssertionError("itertools.count ended")

    def append(self, batch: list[Settlement]) -> None:
        """Keep a batch; returns when it is on disk. Raises LedgerError where it could not be kept."""
        if self._own.size >= self._bytes_max:
            raise LedgerError(
                f"spool {self._own.path} is full ({self._own.size} bytes): Redis was away too long; bring it back"
            )
        if batch:
            self._own.append(batch)

    def adopt(self) -> int:
        """Take over the files of dead workers; returns how many settlements they hold."""
        taken = 0
        known = {j.path for j in (self._own, *self._adopted)}
        for path in sorted(self._folder.glob("*.jsonl")):
            journal = None if path in known else Journal.open(path, create=False)
            if journal is not None:
                self._adopted.append(journal)
                taken += len(journal)
        return taken

    async def replay(self, ledger: Taker, taken: Taken | None = None) -> int:
        """Send all that is kept, oldest first, and return how many were acknowledged. `taken` hears of each batch, and
        when the ledger took it: what just came home can be lost with the ledger like anything else.

        Raises LedgerUnavailable when Redis goes away in between; what was acknowledged until then is gone
        from the spool, the rest stays. One replay at a time.
        """
        self.adopt()
        sent = 0
        for journal in (*self._adopted, self._own):
            while len(journal):
                batch, end = journal.oldest(BATCH)
                times = [at for _, at in await ledger.settle_timed(batch)]
                if taken is not None:
                    taken(batch, times)
                journal.acknowledge(end)
                sent += len(batch)
            if journal is not self._own:
                self._retire(journal)
        return sent

    def _retire(self, journal: Journal) -> None:
        if journal.size:  # only what could not be read is left, and it stands in the .bad file
            journal.acknowledge(journal.size)
        self._retired_torn += journal.torn
        self._retired_corrupt += journal.corrupt
        journal.close()
        self._adopted.remove(journal)

    @property
    def size(self) -> int:
        """Bytes on disk, adopted files included."""
        return sum(j.size for j in (self._own, *self._adopted))

    def depth(self) -> int:
        """Settlements that wait, adopted ones included."""
        return sum(len(j) for j in (self._own, *self._adopted))

    @property
    def torn(self) -> int:
        """Torn last lines found and cut off since the start; each was a write that nobody was promised."""
        return self._retired_torn + sum(j.torn for j in (self._own, *self._adopted))

    @property
    def corrupt(self) -> int:
        """Unreadable lines moved to a .bad file since the start; each is a settlement to look into."""
        return self._retired_corrupt + sum(j.corrupt for j in (self._own, *self._adopted))

    def close(self) -> None:
        """Unlock the files; what waits is replayed by the next start or by another worker."""
        for journal in (self._own, *self._adopted):
            journal.close()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
