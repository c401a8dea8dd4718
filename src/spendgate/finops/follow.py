"""Reading the end of a usage log while it grows: over rotation by rename and by truncation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

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


def follow(path: Path, offset: int, wait: Callable[[], bool]) -> Iterator[bytes]:
    """Every whole line after `offset`, for ever; `wait` pauses when there is none, and ends it by False.

    A file that another took the place of is read to its end first; one that became shorter is read anew.
    """
    file = path.open("rb")
    rest = b""
    try:
        file.seek(offset)
        while True:
            data = file.read(BLOCK)
            if data:
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
                continue
            try:
                there = path.stat()
            except FileNotFoundError:
                there = None
            ours = os.fstat(file.fileno())
            if there is not None and (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                file.close()
                file, rest = path.open("rb"), b""
                continue
            if ours.st_size < file.tell():
                file.seek(0)
                rest = b""
                continue
            if not wait():
                return
    finally:
        file.close()
