"""How a field of a record stands in a line of the usage log: one declaration, from which it is written and read.

A record is a dataclass; each of its fields is annotated with its `Column`, in the order of the line. A field that
comes new is one such line (`docs/reference/usage-log.md` and `protos/` have its meaning, and tests name what lacks it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from sys import intern
from typing import Any, Generic, NamedTuple, TypeVar, cast, get_type_hints

from spendgate.money import LEDGER_MAX_NANOUSD, NANO_PER_USD, nano_to_usd
from spendgate.usage import COUNT_MAX, Usage

_USD = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_R = TypeVar("_R")

Row = Mapping[str, Any]
"""A line, parsed."""


class Unreadable(Exception):
    """A line that is not a usage record: field, problem."""


_NEEDED: Any = object()


class Kind(NamedTuple):
    """How the values of a field are read and written. A value is checked before it is taken."""

    read: Callable[[Any, str, Row], Any]
    """(value, its name, the line): the record's value. Raises Unreadable."""
    write: Callable[[Any], object] | None = None
    """What the line has for a value; None: the value as it is."""
    write_of: Callable[[Any], object] | None = None
    """The same where it depends on the whole record."""


class Column(NamedTuple):
    """A field of a line."""

    kind: Kind
    name: str = ""
    """What the line calls it; empty: what the record calls it."""
    missing: Any = _NEEDED
    """What the record has where a line of before the field was is without it; by default what the field's default is,
    and where it has none, no line may be without it."""
    sparse: bool = False
    """Left out of the line where it is nothing."""


class Columns(Generic[_R]):
    """The columns of a dataclass, in its order: what writes and reads it as an object of JSON."""

    def __init__(self, record: type[_R]) -> None:
        hints = get_type_hints(record, include_extras=True)
        declared = fields(record)  # type: ignore[arg-type]
        columns: list[Column] = [hints[f.name].__metadata__[0] for f in declared]
        self.names = tuple(c.name or f.name for f, c in zip(declared, columns, strict=True))
        """As the line calls them."""
        self.write = _writer([f.name for f in declared], self.names, columns)
        """The record as an object of JSON."""
        self._record = record
        self._reads = []
        for f, name, column in zip(declared, self.names, columns, strict=True):
            missing = f.default if column.missing is _NEEDED and f.default is not MISSING else column.missing
            self._reads.append((name, missing, missing is _NEEDED, column.kind.read))

    def read(self, row: Row) -> _R:
        """Back from it. Raises Unreadable."""
        get = row.get
        return self._record(
            *[
                read(value, name, row) if (value := get(name)) is not None or needed else missing
                for name, missing, needed, read in self._reads
            ]
        )


def _writer(
    fields: Sequence[str], names: Sequence[str], columns: Sequence[Column]
) -> Callable[[Any], dict[str, object]]:
    """A function of straight assignments, made as dataclasses make theirs: a line is written for each exchange, and a
    loop over the columns takes half as long again."""
    lines, known = ["def write(record):", "    row = {}"], {}
    for field, name, column in zip(fields, names, columns, strict=True):
        value = f"record.{field}"
        if column.kind.write_of is not None:
            known[f"write_{field}"], value = column.kind.write_of, f"write_{field}(record)"
        elif column.kind.write is not None:
            known[f"write_{field}"], value = column.kind.write, f"write_{field}({value})"
        lines.append(f"    {f'if record.{field}: ' if column.sparse else ''}row[{name!r}] = {value}")
    exec("\n".join((*lines, "    return row")), known)  # noqa: S102  # of the names of fields, nothing from outside
    return cast("Callable[[Any], dict[str, object]]", known["write"])


def one_of(words: type[Enum]) -> Kind:
    """A word of an enum's."""
    by_word = {e.value: e for e in words}

    def read(value: Any, name: str, row: Row) -> Enum:
        found = by_word.get(_text(value, name, row))
        if found is None:
            raise Unreadable(name, f"{value!r} is none of {', '.join(filter(None, by_word))}")
        return found

    return Kind(read, attrgetter("value"))


def object_of(columns: Columns[Any]) -> Kind:
    """An object with columns of its own."""
    return Kind(lambda value, name, _: _nested(columns, _object(value, name), name), columns.write)


def objects_of(columns: Columns[Any]) -> Kind:
    """A list of objects with columns of their own."""

    def read(value: Any, name: str, _: Row) -> tuple[Any, ...]:
        if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
            raise Unreadable(name, f"{value!r} is not a list of objects")
        return tuple(_nested(columns, x, name) for x in value)

    return Kind(read, lambda value: [columns.write(x) for x in value])


def _nested(columns: Columns[Any], value: Row, name: str) -> Any:
    try:
        return columns.read(value)
    except Unreadable as e:
        raise Unreadable(f"{name}.{e.args[0]}", e.args[1]) from e


def _object(value: Any, name: str) -> Row:
    if not isinstance(value, dict):
        raise Unreadable(name, f"{value!r} is not an object")
    return cast(Row, value)


def _text(value: Any, name: str, _: Row) -> str:
    if isinstance(value, str):
        return value
    raise Unreadable(name, "is missing" if value is None else f"{value!r} is not text")


def _word(value: Any, name: str, row: Row) -> str:
    return intern(value) if isinstance(value, str) else _text(value, name, row)


def _words(value: Any, name: str, _: Row) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise Unreadable(name, f"{value!r} is not a list of words")
    return tuple(map(intern, value))


def _named_texts(value: Any, name: str, _: Row) -> tuple[tuple[str, str], ...]:
    if not all(isinstance(v, str) for v in _object(value, name).values()):
        raise Unreadable(name, f"{value!r} is not an object of texts")
    return tuple((intern(n), intern(v)) for n, v in value.items())


def _time(value: Any, name: str, row: Row) -> int:
    try:
        at = datetime.fromisoformat(_text(value, name, row))
        return (at - _EPOCH) // _MS
    except (ValueError, TypeError) as e:
        raise Unreadable(name, f"{value!r} is not a UTC time like 2026-11-24T14:18:40.123Z") from e


def _write_time(at_ms: int) -> str:
    second, ms = divmod(at_ms, 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(64)
def _second(at: int) -> str:
    """The same for all exchanges of a second."""
    return datetime.fromtimestamp(at, UTC).isoformat()[:19]


def _usd(value: Any, name: str, row: Row) -> int:
    match = _USD.fullmatch(_text(value, name, row))
    if match is None:
        raise Unreadable(name, f'{value!r} is not an exact amount of USD like "0.001234567"')
    nano = int(match[1]) * NANO_PER_USD + (int(match[2].ljust(9, "0")) if match[2] else 0)
    if nano > LEDGER_MAX_NANOUSD:
        raise Unreadable(name, f"{value} USD are more than one exchange can cost")
    return nano


def _signed_usd(value: Any, name: str, row: Row) -> int:
    amount = _text(value, name, row)
    return -_usd(amount[1:], name, row) if amount.startswith("-") else _usd(amount, name, row)


def _count(value: Any, name: str, _: Row) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise Unreadable(name, "is missing" if value is None else f"{value!r} is not a count")
    return value


def _counts(value: Any, name: str, _: Row) -> Usage:
    if not isinstance(value, dict):
        raise Unreadable(name, "is missing" if value is None else f"{value!r} is not an object of counts")
    for kind, n in value.items():
        if type(n) is not int or not 0 <= n <= COUNT_MAX:
            raise Unreadable(name, f"{kind}: {n!r} is not a count")
    return cast(Usage, value)


TEXT = Kind(_text)
WORD = Kind(_word)
"""A text that many lines share: kept once in memory."""
WORDS = Kind(_words)
NAMED_TEXTS = Kind(_named_texts, dict)
"""(name, text) pairs; an object in the line."""
TIME = Kind(_time, _write_time)
"""Milliseconds since the epoch; UTC to the millisecond in the line."""
USD = Kind(_usd, nano_to_usd)
"""Nano-USD; an exact decimal text of USD in the line."""
SIGNED_USD = Kind(_signed_usd, USD.write)
COUNT = Kind(_count)
COUNTS = Kind(_counts)
