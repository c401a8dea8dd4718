"""Usage logs in a cube, for what the ledger does not keep: users. Read as they grow, a few megabytes at a time.

What was read is kept in a file, so that a long log is read once. A log is known by its first line (it has an id that
no other has), so rotation by rename, by copy and by compression begins nothing anew. Sums and the place up to which
they go are written in one transaction: a process that dies reads no line twice.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson
import structlog

from spendgate.console.cube import VERSION, Cube, Key, key_of, sums_of
from spendgate.console.mirror import Facts
from spendgate.finops.log_cells import is_exchange
from spendgate.ledger.accounts import DayCell
from spendgate.months import day_key
from spendgate.pricing.table import PriceTable
from spendgate.records.outcome import Outcome
from spendgate.records.reader import Unreadable, parse
from spendgate.records.record import UsageRecord
from spendgate.records.writer import rotated
from spendgate.usage import Usage
from spendgate.values import dataclass

log = structlog.get_logger()

STEP_BYTES = 1 << 20
FIRST_LINE_MAX = 1 << 20
USERS_MAX = 2_000
"""Cells that a team's day keeps apart; what is more is counted as `OTHERS`."""
OTHERS = "(others)"
COUNTS_MAX = 50_000
"""Days of teams of which the number of cells is remembered."""
KEPT_DAYS = 400
EXPIRED_KEPT_DAYS = 8
"""The true cost of a hold that expired comes within seven days."""
FRESH_MS = 1_000
DAY_MS = 86_400_000
_TABLES = """
CREATE TABLE IF NOT EXISTS source (id TEXT PRIMARY KEY, name TEXT, offset INTEGER, size INTEGER, lines INTEGER,
  bad INTEGER);
CREATE TABLE IF NOT EXISTS expired (id TEXT PRIMARY KEY, day INTEGER, cell TEXT);
"""
Rows = dict[Key, tuple[list[int], Usage]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the logs are read, in bytes; how many lines were no usage records; what keeps them from being read."""

    read: int = 0
    total: int = 0
    lines: int = 0
    bad: int = 0
    problem: str = ""
    has_begun: bool = True

    @property
    def is_whole(self) -> bool:
        """Is everything read?"""
        return self.has_begun and not self.problem and self.read >= self.total

    @property
    def share(self) -> float:
        """The part that is read."""
        return self.read / self.total if self.total else float(self.has_begun)


class UsageIndex:
    """What usage logs say of users. `file` None: kept for as long as the process lives."""

    def __init__(self, paths: Sequence[Path], file: Path | None, prices: Callable[[], PriceTable]) -> None:
        self.paths = tuple(paths)
        self.cube = _opened(file)
        self.progress = Progress(has_begun=False)
        self.is_caught_up = False
        """Has what goes on, or went on last, read all that was there?"""
        self._prices = prices
        self._looked_ms = 0
        self._task: asyncio.Task[None] | None = None
        self._aside: dict[Path, _Source | None] = {}
        self._facts: Facts | None = None
        self._days: dict[int, str] = {}
        self._counts: dict[tuple[str, int], int] = {}
        """Cells of a team's day, at most."""
        self._at: tuple[str, int, BinaryIO] | None = None
        self._file: BinaryIO | None = None

    def nudge(self, now_ms: int) -> asyncio.Task[None]:
        """See what has come, in the background; a run that goes on is that run."""
        if self._task is None or (self._task.done() and now_ms - self._looked_ms >= FRESH_MS):
            self._looked_ms, self.is_caught_up = now_ms, False
            self._task = asyncio.create_task(self._bring(now_ms))
        return self._task

    async def _bring(self, now_ms: int) -> None:
        try:
            is_whole = False
            while not is_whole:
                is_whole = await asyncio.to_thread(self.step, now_ms)
                self.is_caught_up = is_whole or self.progress.is_whole
        except (OSError, EOFError, sqlite3.Error) as problem:
            log.warning("console_usage_log_unread", error=str(problem))
            self.progress = Progress(problem=str(problem))

    def step(self, now_ms: int) -> bool:
        """Read the next few megabytes; True where everything was read. Raises OSError, sqlite3.Error."""
        files = list(self._sources())
        known = {
            str(row[0]): (int(row[1]), int(row[2]))
            for row in self.cube.run("SELECT id, offset, size FROM source")
        }
        sources = {s.id: s for s in files if s is not None}
        read = 0
        for source in sources.values():
            offset, size = known.get(source.id, (0, -1))
            if source.is_compressed and size == source.size:
                continue
            if not source.is_compressed and offset > source.size:
                offset = 0  # it was emptied, and begins with the same line: never seen, and then better twice than not
            if source.is_compressed or offset < source.size:
                read += self._read(source, offset)
                if read:
                    break
        self._measure(sources)
        if read == 0:
            self._forget(now_ms)
        return read == 0

    def _sources(self) -> Iterator[_Source | None]:
        """The files as they are now; one that was put aside does not change any more."""
        seen: dict[Path, _Source | None] = {}
        for path in self.paths:
            for aside in rotated(path):
                known = self._aside.get(aside)
                if known is None or known.is_other_size():
                    known = _Source.of(aside)
                seen[aside] = known
                yield known
            if path.exists():
                yield _Source.of(path)
        self._aside = seen

    def _read(self, source: _Source, offset: int) -> int:
        """Take in what stands behind `offset`: whole lines of at most `STEP_BYTES`. Returns how many bytes."""
        data = self._piece(source, offset)
        end = data.rfind(b"\n") + 1
        rows, bad, count = Rows(), 0, 0
        prices = self._prices()
        if self._facts is None or self._facts.version != prices.version:
            self._facts = Facts(prices)
        facts = self._facts
        gone: list[tuple[str, Sequence[object]]] = []
        expired = _Expired(self.cube)
        for line in data[:end].splitlines():
            if not line.strip():
                continue
            count += 1
            try:
                record = parse(line)
            except Unreadable:
                bad += 1
                continue
            if record.unmetered == "expired" and record.outcome is Outcome.UNMETERED:
                statement = expired.note(record, self._take(rows, record, facts))
                gone.append(statement)
            else:
                before = expired.came(record.exchange_id)
                if before is not None:
                    key, sums, tokens = before
                    _add(rows, key, [-n for n in sums], {k: -n for k, n in tokens.items()})
                    gone.append(("DELETE FROM expired WHERE id = ?", (record.exchange_id,)))
                self._take(rows, record, facts)
        size = source.size if source.is_compressed and len(data) < STEP_BYTES else -1
        self._leave(source, offset + end, at_an_end=end == len(data))
        upsert = (
            "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, "
            "offset = excluded.offset, size = excluded.size, lines = lines + excluded.lines, bad = bad + excluded.bad"
        )
        noted = (upsert, (source.id, source.path.name, offset + end, size, count, bad))
        self.cube.add(self._bounded(rows), [*gone, noted])
        return end

    def _piece(self, source: _Source, offset: int) -> bytes:
        """About `STEP_BYTES` from an offset on, up to a line's end (the file's last line may have none yet)."""
        at, self._at = self._at, None
        if at is not None and at[:2] == (source.id, offset):
            file = at[2]
        else:
            if at is not None:
                at[2].close()
            file = source.open()
            file.seek(offset)
        self._file = file
        return file.read(STEP_BYTES) + file.readline()

    def _leave(self, source: _Source, offset: int, at_an_end: bool) -> None:
        """Keep the file open for the next piece: to find a place in a compressed one is to read up to it."""
        if self._file is not None and at_an_end and source.is_compressed:
            self._at = source.id, offset, self._file
        elif self._file is not None:
            self._file.close()
        self._file = None

    def _take(self, rows: Rows, record: UsageRecord, facts: Facts) -> tuple[Key, list[int], Usage]:
        is_refused = record.outcome is Outcome.REFUSED
        tokens = {} if is_refused else dict(record.tokens)
        number = record.at_ms // DAY_MS
        day = self._days.get(number) or self._days.setdefault(number, day_key(record.at_ms))
        cell = DayCell(
            record.team, day, record.app, record.model, 0 if is_refused else int(is_exchange(record)),
            0 if is_refused else record.cost_nanousd, tokens, 0 if is_refused else record.saved_nanousd,
            int(is_refused),
        )  # fmt: skip
        key = key_of(cell, facts.provider_of(record), record.user)
        sums = sums_of(cell, facts.cached(cell))
        _add(rows, key, sums, tokens)
        return key, sums, tokens

    def _bounded(self, rows: Rows) -> Rows:
        """The rows, those of users beyond `USERS_MAX` of a team's day together."""
        more: dict[tuple[str, int], int] = {}
        for day, team, *_ in rows:
            more[team, day] = more.get((team, day), 0) + 1
        if len(self._counts) > COUNTS_MAX:
            self._counts.clear()
        full = set()
        for of, n in more.items():
            if of not in self._counts or self._counts[of] + n > USERS_MAX:
                found = self.cube.run("SELECT COUNT(*) FROM cell WHERE team = ? AND day = ?", of)
                self._counts[of] = int(found[0][0])
            if self._counts[of] + n > USERS_MAX:
                full.add(of)
            else:
                self._counts[of] += n
        if not full:
            return rows
        out = Rows()
        for key, (sums, tokens) in rows.items():
            day, team, app, model, provider, _, beside = key
            of = team, day
            if of in full and not self._is_known(key):
                if self._counts[of] >= USERS_MAX:
                    key = (day, team, app, model, provider, OTHERS, beside)
                self._counts[of] += 1
            _add(out, key, sums, tokens)
        return out

    def _is_known(self, key: Key) -> bool:
        tests = "day = ? AND team = ? AND app = ? AND model = ? AND provider = ? AND user = ? AND beside = ?"
        return bool(self.cube.run(f"SELECT 1 FROM cell WHERE {tests}", key))

    def _measure(self, sources: dict[str, _Source]) -> None:
        read = total = lines = bad = 0
        for name, offset, size, count, wrong in self.cube.run(
            "SELECT id, offset, size, lines, bad FROM source"
        ):
            lines, bad = lines + int(count), bad + int(wrong)
            source = sources.get(str(name))
            if source is not None:
                whole = source.is_compressed and int(size) == source.size
                read += source.size if whole else min(int(offset), source.size)
        total = sum(s.size for s in sources.values())
        self.progress = Progress(read, max(total, read), lines, bad)

    def _forget(self, now_ms: int) -> None:
        self.cube.forget(day_key(now_ms - KEPT_DAYS * DAY_MS))
        self.cube.run(
            "DELETE FROM expired WHERE day < ?", (int(day_key(now_ms - EXPIRED_KEPT_DAYS * DAY_MS)),)
        )

    def first_day(self) -> str:
        """The first day of which a line is known, "" for none."""
        found = self.cube.run("SELECT MIN(day) FROM cell")[0][0]
        return "" if found is None else str(found)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file as it is now. `id` is made of its first line."""

    id: str
    path: Path
    size: int

    @classmethod
    def of(cls, path: Path) -> _Source | None:
        """None for one without a whole line."""
        try:
            size = path.stat().st_size
            with _open(path) as file:
                line = file.readline(FIRST_LINE_MAX)
        except FileNotFoundError:
            return None  # put aside in this moment: the next look finds it
        if not line.endswith(b"\n"):
            return None
        return cls(hashlib.sha256(line).hexdigest(), path, size)

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix == ".gz"

    def open(self) -> BinaryIO:
        return _open(self.path)

    def is_other_size(self) -> bool:
        """Is the file another by now, or gone?"""
        try:
            return self.path.stat().st_size != self.size
        except FileNotFoundError:
            return True


class _Expired:
    """Holds that expired, whose line may be followed by one with the true cost, which then stands alone."""

    def __init__(self, cube: Cube) -> None:
        self._known = {str(i): str(cell) for i, cell in cube.run("SELECT id, cell FROM expired")}

    def note(self, record: UsageRecord, taken: tuple[Key, list[int], Usage]) -> tuple[str, Sequence[object]]:
        """Remember one, with what it was counted as."""
        cell = orjson.dumps(taken).decode()
        self._known[record.exchange_id] = cell
        day = int(day_key(record.at_ms))
        return "INSERT OR REPLACE INTO expired VALUES (?, ?, ?)", (record.exchange_id, day, cell)

    def came(self, exchange_id: str) -> tuple[Key, list[int], Usage] | None:
        """What was counted for an exchange that has its true cost now."""
        cell = self._known.pop(exchange_id, None) if self._known else None
        if cell is None:
            return None
        key, sums, tokens = orjson.loads(cell)
        return tuple(key), sums, tokens


def _add(rows: Rows, key: Key, sums: Sequence[int], tokens: Usage) -> None:
    had = rows.get(key)
    if had is None:
        rows[key] = list(sums), dict(tokens)
        return
    for i, n in enumerate(sums):
        had[0][i] += n
    for kind, n in tokens.items():
        had[1][kind] = had[1].get(kind, 0) + n


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _opened(file: Path | None) -> Cube:
    """The cube of `file`, empty where it is from another version or spoilt: everything in it can be read again. Where
    no file can be made it lives as long as the process: a console is never why a gateway does not start."""
    if file is None:
        return _prepared(Cube())
    try:
        if file.exists():
            try:
                cube = Cube(file)
                if cube.run("PRAGMA user_version")[0][0] == VERSION:
                    return cube
                cube.close()
            except sqlite3.DatabaseError as problem:
                log.warning("console_index_begins_anew", file=str(file), error=str(problem))
            for suffix in ("", "-wal", "-shm"):
                Path(f"{file}{suffix}").unlink(missing_ok=True)
        return _prepared(Cube(file))
    except (OSError, sqlite3.Error) as problem:
        log.warning("console_index_not_kept", file=str(file), error=str(problem))
        return _prepared(Cube())


def _prepared(cube: Cube) -> Cube:
    for statement in _TABLES.split(";"):
        cube.run(statement)
    cube.run(f"PRAGMA user_version = {VERSION}")
    return cube
