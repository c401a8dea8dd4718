"""Spend by day, team, app, user, model and provider in SQLite: any sum of it is one query, and memory stays small.

Amounts are nano-USD, days `YYYYMMDD`. A cube holds what can be read again elsewhere (the ledger, usage logs) and
proves nothing by itself. Its methods block: call them in a thread.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from spendgate.ledger.accounts import DayCell
from spendgate.usage import Usage, input_total, output_total
from spendgate.values import dataclass

VERSION = 1
CACHE_KIB = 32_768
DIMENSIONS = ("team", "app", "user", "model", "provider", "day")
_KEY = ("day", "team", "app", "model", "provider", "user", "beside")
_SUMS = (
    "requests",
    "cost",
    "saved",
    "cached",
    "refused",
    "adjusted",
    "tokens_in",
    "tokens_cached",
    "tokens_out",
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS cell (
  day INTEGER, team TEXT, app TEXT, model TEXT, provider TEXT, user TEXT, beside INTEGER,
  {", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)}, tokens TEXT NOT NULL,
  PRIMARY KEY ({", ".join(_KEY)})
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cell_team ON cell (team, day);
CREATE TABLE IF NOT EXISTS rolled (
  day INTEGER, team TEXT, model TEXT, provider TEXT, beside INTEGER,
  {", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)},
  PRIMARY KEY (day, team, model, provider, beside)
) WITHOUT ROWID;
"""
_PUT = (
    f"INSERT OR REPLACE INTO cell ({', '.join((*_KEY, *_SUMS))}, tokens) "
    f"VALUES ({', '.join('?' * (len(_KEY) + len(_SUMS) + 1))})"
)
_ADD = (
    f"INSERT INTO cell ({', '.join((*_KEY, *_SUMS))}, tokens) "
    f"VALUES ({', '.join('?' * (len(_KEY) + len(_SUMS) + 1))}) ON CONFLICT DO UPDATE SET "
    f"{', '.join(f'{name} = {name} + excluded.{name}' for name in _SUMS)}, tokens = merged(tokens, excluded.tokens)"
)
_ROLLED = "day, team, model, provider, beside"
_ROLL = (
    f"INSERT INTO rolled SELECT {_ROLLED}, {', '.join(f'SUM({name})' for name in _SUMS)} FROM cell "
    f"WHERE team = ? AND day = ? GROUP BY {_ROLLED}"
)
_CACHED = ("cached_input", "cached_input_audio", "cached_input_image", "cached_input_video")
Key = tuple[int, str, str, str, str, str, int]


@dataclass(frozen=True, slots=True)
class Where:
    """Which cells: days from `first` to `last`, and what is named; None stands for all."""

    first: str
    last: str
    team: str | None = None
    app: str | None = None
    user: str | None = None
    model: str | None = None
    provider: str | None = None

    def named(self) -> dict[str, str]:
        """The dimensions that are fixed."""
        pairs = ((d, getattr(self, d)) for d in DIMENSIONS if d != "day")
        return {name: value for name, value in pairs if value is not None}

    def within(self, first: str, last: str) -> Where:
        """The same in other days."""
        return replace(self, first=first, last=last)

    def _sql(self) -> tuple[str, list[object]]:
        named = self.named()
        # with a team the index by team and day is the shorter way
        tests = ["day BETWEEN ? AND ?", *(f"{name} = ?" for name in named)]
        return " AND ".join(tests), [int(self.first), int(self.last), *named.values()]


@dataclass(frozen=True, slots=True)
class Sums:
    """What some cells add up to. `saved`: by other models than asked for; `cached`: by caching, at list prices."""

    requests: int = 0
    cost_nanousd: int = 0
    saved_nanousd: int = 0
    cached_nanousd: int = 0
    refused: int = 0
    adjusted_nanousd: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0

    @property
    def tokens(self) -> int:
        """Of both sides."""
        return self.tokens_in + self.tokens_out

    @property
    def cached_share(self) -> float | None:
        """The part of the input that came from a cache."""
        return self.tokens_cached / self.tokens_in if self.tokens_in > 0 else None

    @property
    def a_thousand_requests_nanousd(self) -> int | None:
        """What a thousand requests cost, without adjustments."""
        return (
            (self.cost_nanousd - self.adjusted_nanousd) * 1000 // self.requests if self.requests > 0 else None
        )

    @property
    def a_million_tokens_nanousd(self) -> int | None:
        """What a million tokens cost, without adjustments."""
        return (self.cost_nanousd - self.adjusted_nanousd) * 10**6 // self.tokens if self.tokens > 0 else None


def added(of: Iterable[Sums]) -> Sums:
    """Several together."""
    columns = zip(*(astuple(s) for s in of), strict=True)
    return Sums(*(sum(column) for column in columns))


class Cube:
    """The table, in `file`, or (None) in a private temporary file of SQLite's that is gone with the process.

    `rolled`: what is replaced is also kept without apps and users, for questions about all teams. `version` grows
    with every change."""

    def __init__(self, file: Path | None = None, rolled: bool = False) -> None:
        self.version = 0
        self._rolled = rolled
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file or "", check_same_thread=False, isolation_level=None)
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if file is not None:
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF" if file is None else "PRAGMA synchronous = NORMAL")
        self._db.create_function("merged", 2, _merged, deterministic=True)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    # -- writing --------------------------------------------------------------------------------------------

    def replace(
        self, team: str, days: Sequence[str], rows: Iterable[Sequence[object]], beside: bool = False
    ) -> None:
        """Put `rows` (`row_of`) in the place of a team's days."""
        with self._lock, self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "DELETE FROM cell WHERE team = ? AND day = ? AND beside = ?",
                [(team, int(day), int(beside)) for day in days],
            )
            self._db.executemany(_PUT, rows)
            if self._rolled:
                those = [(team, int(day)) for day in days]
                self._db.executemany("DELETE FROM rolled WHERE team = ? AND day = ?", those)
                self._db.executemany(_ROLL, those)
            self.version += 1

    def add(
        self, rows: Mapping[Key, tuple[list[int], Usage]], also: Iterable[tuple[str, Sequence[object]]] = ()
    ) -> None:
        """Add to what is there, and run statements (`also`), all or nothing."""
        with self._lock, self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                _ADD, [(*key, *sums, json.dumps(tokens)) for key, (sums, tokens) in rows.items()]
            )
            for statement, values in also:
                self._db.execute(statement, values)
            self.version += 1

    def run(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Any statement of who owns the cube."""
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def forget(self, before: str) -> None:
        """Let go of the days before one."""
        for name in ("cell", "rolled"):
            self.run(f"DELETE FROM {name} WHERE day < ?", (int(before),))

    # -- reading --------------------------------------------------------------------------------------------

    def sums(self, where: Where) -> Sums:
        """All together."""
        tests, values = where._sql()
        row = self.run(f"SELECT {_totals()} FROM {self._from(where)} WHERE {tests}", values)[0]
        return Sums(*(int(n or 0) for n in row))

    def by(self, dimension: str, where: Where, limit: int = -1, offset: int = 0) -> list[tuple[str, Sums]]:
        """By one of `DIMENSIONS`, the dearest first."""
        name = DIMENSIONS[DIMENSIONS.index(dimension)]
        tests, values = where._sql()
        found = self.run(
            f"SELECT {name}, {_totals()} FROM {self._from(where, name)} WHERE {tests} GROUP BY {name} "
            f"ORDER BY SUM(cost) DESC, {name} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return [(str(row[0]), Sums(*(int(n or 0) for n in row[1:]))) for row in found]

    def costs(self, dimension: str, where: Where, names: Sequence[str] | None = None) -> dict[str, int]:
        """What each of a dimension cost; `names`: of those alone."""
        name = DIMENSIONS[DIMENSIONS.index(dimension)]
        tests, values = where._sql()
        if names is not None:
            tests += f" AND {name} IN ({', '.join('?' * len(names))})"
            values += [int(n) for n in names] if dimension == "day" else list(names)
        return {
            str(key): int(cost)
            for key, cost in self.run(
                f"SELECT {name}, SUM(cost) FROM {self._from(where, name)} WHERE {tests} GROUP BY {name}",
                values,
            )
        }

    def count(self, dimension: str, where: Where) -> int:
        """How many of a dimension there are."""
        name = DIMENSIONS[DIMENSIONS.index(dimension)]
        tests, values = where._sql()
        return int(
            self.run(f"SELECT COUNT(DISTINCT {name}) FROM {self._from(where, name)} WHERE {tests}", values)[
                0
            ][0]
        )

    def _from(self, where: Where, dimension: str = "") -> str:
        """The shorter table that knows the answer; a team's own cells are few."""
        fine = "app" in (dimension, *where.named()) or "user" in (dimension, *where.named())
        return "rolled" if self._rolled and where.team is None and not fine else "cell"

    def cells(self, where: Where) -> Iterator[list[DayCell]]:
        """The cells themselves, a team at a time, in the order of days, apps, models and users."""
        names = "day, app, model, provider, user, requests, cost, tokens, saved, refused, adjusted, beside"
        for team, _ in sorted(self.costs("team", where).items()):
            tests, values = replace(where, team=team)._sql()
            found = self.run(
                f"SELECT {names} FROM cell WHERE {tests} ORDER BY day, beside, app, model, provider, user",
                values,
            )
            yield [
                DayCell(
                    team, str(day), str(app), str(model), int(requests), int(cost), json.loads(str(tokens)), int(saved),
                    int(refused), int(adjusted), provider=str(provider), user=str(user),
                )
                for day, app, model, provider, user, requests, cost, tokens, saved, refused, adjusted, _ in found
            ]  # fmt: skip


def row_of(cell: DayCell, provider: str, cached_nanousd: int, beside: bool = False) -> tuple[object, ...]:
    """A cell as the table has it."""
    key, sums = key_of(cell, provider, cell.user, beside), sums_of(cell, cached_nanousd)
    return (*key, *sums, json.dumps(cell.tokens))


def key_of(cell: DayCell, provider: str, user: str, beside: bool = False) -> Key:
    """What tells a cell from others."""
    return int(cell.day), cell.team, cell.app, cell.model, provider, user, int(beside)


def sums_of(cell: DayCell, cached_nanousd: int) -> list[int]:
    """A cell's numbers in the order of the table."""
    return [
        cell.requests, cell.cost_nanousd, cell.saved_nanousd, cached_nanousd, cell.refused, cell.adjusted_nanousd,
        input_total(cell.tokens), sum(cell.tokens.get(k, 0) for k in _CACHED), output_total(cell.tokens),
    ]  # fmt: skip


def _totals() -> str:
    return ", ".join(f"SUM({name})" for name in _SUMS)


def _merged(one: str, other: str) -> str:
    tokens = json.loads(one)
    for kind, n in json.loads(other).items():
        tokens[kind] = tokens.get(kind, 0) + n
    return json.dumps({kind: n for kind, n in tokens.items() if n})
