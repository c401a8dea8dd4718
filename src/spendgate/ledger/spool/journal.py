"""One append-only file of settlements: a line each, `crc32 json`, with acknowledgements in the same file.

An acknowledgement is a line too (`{"ack": offset}`): the last one says up to which byte all is settled. So a
crash at any byte leaves a file that reads rightly: a torn last line was never promised to anybody and is cut
off; a line in the middle whose checksum is wrong is copied to `<name>.bad` and reported, never dropped.

Each settlement's line carries the form's version, `v`. Older forms are read; fields that this release does not
know are let go where the version is its own. A file with a line of a newer form is left alone, for a release
that can read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import threading
import zlib
from collections import deque
from pathlib import Path

import orjson
import structlog

from spendgate.errors import LedgerError
from spendgate.ledger.exchanges import GroupShare, Settlement
from spendgate.ledger.redis.codec import clean

_log = structlog.get_logger()


VERSION = 1
"""Of a line's form. 0: a line without `v`, of the first release. Raise it only where an older release would
misread what is new."""
_FIELDS = frozenset(Settlement.__dataclass_fields__)


class NewerForm(ValueError):
    """A line that a newer release wrote: whole, but not ours to read."""


def write_line(document: object) -> bytes:
    """A document as a line of the journal."""
    body = orjson.dumps(document)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def write_settlement(s: Settlement) -> bytes:
    """A settlement as a line, its names as the ledger stores them."""
    document: dict[str, object] = {
        "v": VERSION,
        "exchange_id": s.exchange_id,
        "team": clean(s.team),
        "app": clean(s.app),
        "model": clean(s.model),
        "cost_nanousd": s.cost_nanousd,
        "usage": s.usage,
        "at_ms": s.at_ms,
        "release": s.release,
        "scopes": [(clean(scope), window) for scope, window in s.scopes],
    }
    later = {"off_list_nanousd": s.off_list_nanousd, "markup_nanousd": s.markup_nanousd,
             "saved_nanousd": s.saved_nanousd, "refused": s.refused, "counted_us": s.counted_us,
             "acknowledged_us": s.acknowledged_us}  # fmt: skip
    if s.unspent:
        document["unspent"] = [clean(scope) for scope in s.unspent]
    if s.tokens is not None:
        document["tokens"] = s.tokens
    if s.groups:
        document["groups"] = [[clean(g.name), [(clean(sc), w) for sc, w in g.scopes]] for g in s.groups]
    return write_line(document | {name: n for name, n in later.items() if n})


def read_line(line: bytes) -> Settlement | int:
    """A line as a settlement, or as the offset it acknowledges. Raises NewerForm for a newer release's line,
    ValueError for anything else."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        raise ValueError("the checksum is wrong")
    document = orjson.loads(body)
    if isinstance(document, dict) and "ack" in document:
        return int(document["ack"])
    try:
        version = int(document.pop("v", 0))
        if version > VERSION:
            raise NewerForm(f"its form is {version}, this release reads up to {VERSION}")
        scopes = tuple((str(scope), str(window)) for scope, window in document.pop("scopes"))
        if version == VERSION:
            document = {name: value for name, value in document.items() if name in _FIELDS}
        document["unspent"] = tuple(map(str, document.get("unspent", ())))
        document["groups"] = tuple(
            GroupShare(str(name), tuple((str(scope), str(window)) for scope, window in scopes_there))
            for name, scopes_there in document.get("groups", ())
        )
        return Settlement(**document, scopes=scopes)
    except (TypeError, KeyError, AttributeError) as e:
        raise ValueError(f"not a settlement: {e}") from e


def _lines(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


class Journal:
    """A journal file, locked for as long as it is open (flock: the kernel unlocks it when we die).

    Of a settlement not yet acknowledged only its place in the file is kept in memory. `torn` and `corrupt`
    count what opening found. Safe to use from several threads.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.torn = 0
        self.corrupt = 0
        self._waiting: deque[tuple[int, int]] = deque()
        self._fd = fd
        self._mutex = threading.Lock()
        self._end = self._load()

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Journal | None:
        """Open and lock; None where it is gone, somebody else's, or a newer release's. Raises OSError."""
        while True:
            try:
                fd = os.open(
                    path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600
                )
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_ino == path.stat().st_ino:
                    return cls(path, fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except NewerForm as problem:
                os.close(fd)
                _log.error("spool_of_newer_release", path=str(path), error=str(problem))
                return None
            except FileNotFoundError:
                pass
            os.close(fd)  # its last owner removed it between our open and our lock: look again

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, batch: list[Settlement]) -> None:
        """Write and fdatasync; returns when the batch survives a crash of the machine. Raises LedgerError."""
        with self._mutex:
            end = self._end
            lines, places = [], []
            for settlement in batch:
                lines.append(write_settlement(settlement))
                places.append((end, end + len(lines[-1])))
                end += len(lines[-1])
            self._write(b"".join(lines))
            os.fdatasync(self._fd)
            self._waiting += places

    def oldest(self, count: int) -> tuple[list[Settlement], int]:
        """Read up to `count` settlements that wait, and the offset that acknowledges them all."""
        with self._mutex:
            batch: list[Settlement] = []
            end = 0
            for start, end in itertools.islice(self._waiting, count):
                line = os.pread(self._fd, end - start, start)
                read = read_line(line[:-1])
                assert isinstance(read, Settlement)
                batch.append(read)
            return batch, end

    def acknowledge(self, offset: int) -> None:
        """All up to `offset` is settled. Empties the file when nothing is left."""
        with self._mutex:
            while self._waiting and self._waiting[0][1] <= offset:
                self._waiting.popleft()
            if self._waiting:
                self._write(write_line({"ack": offset}))
            else:
                os.ftruncate(self._fd, 0)
                self._end = 0

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._end

    def close(self) -> None:
        """Unlock; an empty file is removed first, while it is still ours."""
        with self._mutex:
            if self._fd < 0:
                return
            if not self._end:
                with contextlib.suppress(FileNotFoundError):
                    self.path.unlink()
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(f"{written} of {len(data)} bytes written")
        except OSError as e:
            with contextlib.suppress(OSError):  # then the next start cuts the torn line off
                os.ftruncate(self._fd, self._end)
            raise LedgerError(f"spool {self.path}: {e}; free space in its file system") from e
        self._end += len(data)

    def _load(self) -> int:
        with os.fdopen(os.dup(self._fd), "rb") as f:
            f.seek(0)
            data = f.read()
        whole = data.rfind(b"\n") + 1
        offset, acknowledged = 0, 0
        bad: list[tuple[int, bytes]] = []
        found: list[tuple[int, int]] = []
        for line in _lines(data[:whole]):
            start, offset = offset, offset + len(line)
            try:
                read = read_line(line[:-1])
            except NewerForm:
                raise
            except ValueError:
                bad.append((offset, line))
                continue
            if isinstance(read, int):
                acknowledged = max(acknowledged, read)
            else:
                found.append((start, offset))
        if whole != len(data):
            self.torn = 1
            _log.warning("spool_torn_line", path=str(self.path), bytes=len(data) - whole)
            os.ftruncate(self._fd, whole)
        self._waiting.extend(place for place in found if place[1] > acknowledged)
        self._quarantine([line for end, line in bad if end > acknowledged])
        return whole

    def _quarantine(self, lines: list[bytes]) -> None:
        self.corrupt = len(lines)
        if not lines:
            return
        bad_path = self.path.with_suffix(".bad")
        kept = _lines(bad_path.read_bytes()) if bad_path.exists() else []
        with bad_path.open("ab") as f:
            f.writelines(line for line in lines if line not in kept)
            f.flush()
            os.fsync(f.fileno())
        _log.error("spool_corrupt_lines", path=str(self.path), lines=len(lines), kept_in=str(bad_path))
