"""Reading the end of a usage log while it grows: over rotation by rename and by truncation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from spendgate.records.writer import rotated

BLOCK = 1 << 16


def last_lines(path: Path, count: int) -> tuple[list[bytes], int]:
    """The last `count` whole lines, and the offset after them. Raises OSError."""
    with path.open("rb") as f:
        end = f.seek(0, os.SEEK_END)
        data, start = b"", end
        while start > 0 and data.count(b"\n") <= count:
            start = max(0, start - BLOCK)
            f.seek(start)
            data = f.read(end - start)
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    return lines[-count:] if count else [], start + len(whole)


class Tail:
    """Every whole line that is appended to a log from an offset on (None: from its end), over rotation by rename,
    also several at once, and by truncation. A file that is not there yet is read from its beginning."""

    def __init__(self, path: Path, offset: int | None = None) -> None:
        """Raises OSError where the file is there and cannot be read."""
        self._path = path
        self._rest = b""
        self._file: BinaryIO | None = self._opened(path)
        if self._file is not None:
            self._file.seek(offset or 0, os.SEEK_END if offset is None else os.SEEK_SET)

    def lines(self) -> Iterator[bytes]:
        """What has come since. A file that another took the place of is read to its end first; one that became
        shorter is read anew."""
        while True:
            if self._file is None:
                self._file = self._opened(self._path)
                if self._file is None:
                    return
            yield from self._appended(self._file)
            ours = os.fstat(self._file.fileno())
            try:
                there = self._path.stat()
            except FileNotFoundError:
                return
            if not _is_same(ours, there):
                yield from self._appended(self._file)  # what came before it was put aside
                self._file.close()
                self._file, self._rest = self._opened(self._after(ours)), b""
            elif ours.st_size < self._file.tell():
                self._file.seek(0)
                self._rest = b""
            else:
                return

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def _appended(self, file: BinaryIO) -> Iterator[bytes]:
        while data := file.read(BLOCK):
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from lines

    def _after(self, ours: os.stat_result) -> Path:
        """The file that was begun after ours: one that was put aside in the meantime, else the log itself."""
        aside = [p for p in rotated(self._path) if p.suffix == self._path.suffix]
        for older, newer in pairwise(aside):
            if _is_same(ours, older.stat()):
                return newer
        return self._path

    @staticmethod
    def _opened(path: Path) -> BinaryIO | None:
        try:
            return path.open("rb")
        except FileNotFoundError:
            return None


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def follow(path: Path, offset: int, wait: Callable[[], bool]) -> Iterator[bytes]:
    """Every whole line after `offset`, for ever; `wait` pauses when there is none, and ends it by False."""
    tail = Tail(path, offset)
    try:
        while True:
            yield from tail.lines()
            if not wait():
                return
    finally:
        tail.close()
