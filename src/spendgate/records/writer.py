"""The usage log: JSON lines, appended with one write a batch, so that several workers can share a file.

Each write holds a lock on the file (flock) and looks first whether the file is still the one at its path. So a line
is never torn by another worker, nothing is written to a file after it was rotated, and whoever rotates it (we, or
logrotate by rename or copytruncate) needs to tell nobody. A batch that does not fit on the disk is taken out again
whole. The page `docs/reference/usage-log.md` has the fields.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spendgate.records.rotation import NEVER, Rotation


class UsageLog:
    """Appends to a file (made, with its folder, at the first line), to standard output (`-`), or nowhere
    (`off`)."""

    def __init__(
        self,
        target: str,
        rotation: Rotation = NEVER,
        clock: Callable[[], float] = time.time,
        also: Callable[[list[bytes]], None] | None = None,
    ) -> None:
        """`also` gets every batch of lines first, whatever the target."""
        self._also = also
        self._target = target
        self._rotation = rotation
        self._clock = clock
        self._fd: int | None = None

    @property
    def is_on(self) -> bool:
        """Are lines kept at all?"""
        return self._target != "off"

    def write(self, lines: list[bytes]) -> None:
        """Append lines (without newlines), all or none. Raises OSError."""
        if self._also is not None and lines:
            self._also(lines)
        if not lines or not self.is_on:
            return
        data = b"\n".join(lines) + b"\n"
        if self._target == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        fd = self._lock()
        try:
            self._append(fd, data)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _append(self, fd: int, data: bytes) -> None:
        size = os.fstat(fd).st_size
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            os.ftruncate(fd, size)  # no half line before the next one
            raise

    def _lock(self) -> int:
        """The file at the path, open and locked; one that is due is put aside first."""
        path = Path(self._target)
        while True:
            fd = self._fd
            if fd is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
                self._fd = fd
            fcntl.flock(fd, fcntl.LOCK_EX)
            ours = os.fstat(fd)
            try:
                there = path.stat()
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    if not self._is_due(ours):
                        return fd
                    self._put_aside(path)
            except FileNotFoundError:
                pass
            self.close()

    def _is_due(self, found: os.stat_result) -> bool:
        r = self._rotation
        if not found.st_size:
            return False
        if r.max_bytes and found.st_size >= r.max_bytes:
            return True
        return (
            bool(r.every_ms)
            and int(self._clock() * 1000) // r.every_ms > int(found.st_mtime * 1000) // r.every_ms
        )

    def _put_aside(self, path: Path) -> None:
        """Rename to `usage-20261126T061500.123456Z.jsonl`; names sort by time."""
        at = datetime.fromtimestamp(self._clock(), UTC)
        while (aside := path.with_name(f"{path.stem}-{at:%Y%m%dT%H%M%S.%fZ}{path.suffix}")).exists():
            at += timedelta(microseconds=1)
        path.rename(aside)
        if self._rotation.keep:
            for old in rotated(path)[: -self._rotation.keep]:
                old.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the file back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def rotated(path: Path) -> list[Path]:
    """The files that were put aside beside `path`, the oldest first."""
    return sorted(path.parent.glob(f"{path.stem}-[0-9]*T*Z{path.suffix}*"))
