"""Shares what answers taught between the workers of a replica: a small file of lines that each of them appends to and
reads on from where it was. It is written anew, with what is still known, when it has grown."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson
import structlog

from spendgate.exchange.learned import Learned, Lesson, Place
from spendgate.files import write_whole

FILE = "learned.jsonl"
LOOK_S = 0.1
SIZE_MAX = 1024 * 1024
log = structlog.get_logger()


class LearnedFile:
    """One worker's view of the file."""

    def __init__(self, path: Path, learned: Learned) -> None:
        self._path, self._learned = path, learned
        self._inode = self._read = 0
        self._failed = False

    async def share_forever(self) -> None:
        """Tell the others, and hear them, a few times a second."""
        while True:
            try:
                self.share()
            except OSError as problem:
                if not self._failed:
                    log.warning("learned_not_shared", path=str(self._path), error=str(problem))
                self._failed = True
            else:
                self._failed = False
            await asyncio.sleep(LOOK_S)

    def share(self) -> None:
        """Read what is new, write what is fresh. Raises OSError."""
        self._hear()
        fresh, self._learned.fresh = self._learned.fresh, []
        if not fresh:
            return
        lines = b"".join(map(_line, fresh))
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, lines)  # one write to a file's end is not torn by another's
            size = os.fstat(handle).st_size
        finally:
            os.close(handle)
        if size > SIZE_MAX:
            self._write_anew()

    def _hear(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return
        if stat.st_ino != self._inode or stat.st_size < self._read:
            self._inode, self._read = stat.st_ino, 0
        if stat.st_size == self._read:
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._read += whole
        for line in data[:whole].splitlines():
            if (lesson := _lesson(line)) is not None:
                self._learned.take(lesson)

    def _write_anew(self) -> None:
        write_whole(self._path, b"".join(map(_line, self._learned.all())), 0o600)


def _line(lesson: Lesson) -> bytes:
    return orjson.dumps([*lesson.place, lesson.model, lesson.at_ms]) + b"\n"


def _lesson(line: bytes) -> Lesson | None:
    """A line's lesson; None for one that is broken, which teaches nothing."""
    try:
        upstream, provider, host, name, model, at_ms = orjson.loads(line)
    except (ValueError, TypeError):
        return None
    texts = (upstream, provider, host, name, model)
    if not all(isinstance(t, str) for t in texts) or type(at_ms) is not int:
        return None
    return Lesson(Place(upstream, provider, host, name), model, at_ms)
