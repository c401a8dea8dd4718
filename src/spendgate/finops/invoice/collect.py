"""The lines of a month's files added up as they come, each row once. Pure.

A row that stands in two files, or twice in one, is counted once and said. Twice in one file it is the same row where it
has an id of its own or a number that no two charges share by chance. Else it may be two charges alike, and counts; but
not in a file most of whose repeated rows are proven ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from decimal import Decimal
from typing import Any

from spendgate.finops.invoice.line import USAGE, Line, Row
from spendgate.values import dataclass

_ID_COLUMNS = ("identity_line_item_id", "lineitemid", "line_item_id", "id", "x_lineitemid", "chargeid")
_DIGITS = 5
"""So many digits of a number in two rows are no chance."""
_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Invoice:
    """What files bill. `lines` are added up by day, model, kind and charge; `quantum` is the unit of the last digit
    that is printed; `first` and `last` are the days that the files with money have rows for; `notes` what was done on
    the way; `vendors` whose bills they are, where they say it."""

    lines: tuple[Line, ...] = ()
    quantum: Decimal = Decimal(1)
    first: str = ""
    last: str = ""
    notes: tuple[str, ...] = ()
    vendors: frozenset[str] = frozenset()


@dataclass(slots=True)
class Collector:
    """Adds lines up. `keep_repeats`: rows alike in one file are charges of their own (a file of single exchanges)."""

    keep_repeats: bool = False
    repeated: dict[str, int] = field(default_factory=dict)
    overlapping: dict[str, int] = field(default_factory=dict)
    _sums: dict[_Key, list[Any]] = field(default_factory=dict)
    _before: dict[int, int] = field(default_factory=dict)
    _here: dict[int, int] = field(default_factory=dict)
    _finest: int = 0
    _alike: list[list[Line]] = field(default_factory=list)
    _where: str = ""

    def row(self, row: Row, lines: Iterable[Line], where: str) -> bool:
        """Take a row's lines, unless it was there before."""
        found = [x for x in lines if x.cost_usd or x.tokens or x.requests or x.amounts]
        if any(x.cost_usd or x.tokens or x.requests for x in found) and self._is_known(row, where, found):
            return False
        for line in found:
            self._add(line)
        return bool(found)

    def file_ends(self) -> None:
        """What comes next is another file."""
        if len(self._alike) <= self.repeated.get(self._where, 0):
            if self._alike:
                self.repeated[self._where] += len(self._alike)
        else:
            for some in self._alike:
                for line in some:
                    self._add(line)
        self._alike = []
        if not self._before:
            self._before = self._here
        else:
            for key, n in self._here.items():
                self._before[key] = max(n, self._before.get(key, 0))
        self._here = {}

    def _is_known(self, row: Row, where: str, lines: list[Line]) -> bool:
        self._where = where
        key = hash(tuple(_cell(v) for v in row.values()))
        here = self._here.get(key, 0)
        if here < self._before.get(key, 0):
            self._here[key] = here + 1
            self.overlapping[where] = self.overlapping.get(where, 0) + 1
            return True
        if here and not self.keep_repeats:
            if _is_one(row):
                self.repeated[where] = self.repeated.get(where, 0) + 1
            else:
                self._alike.append(lines)  # decided when the file ends
            return True
        self._here[key] = here + 1
        return False

    def _add(self, line: Line) -> None:
        key = (line.day, line.model, line.kind, line.charge)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [Decimal(0), 0, 0, 0, line.exact, 0]
        if line.cost_usd:
            exponent = line.cost_usd.normalize().as_tuple().exponent
            if isinstance(exponent, int) and exponent < self._finest:
                self._finest = exponent
            sums[0] += line.cost_usd
        sums[5 if line.amounts == 0 else 1] += line.tokens
        sums[2] += line.requests
        sums[3] += line.amounts
        sums[4] = sums[4] or line.exact

    def lines(self) -> tuple[tuple[Line, ...], Decimal]:
        """All lines, and the unit of the last printed digit. Tokens that a file of usage counts stand for those that
        the lines of money have beside."""
        counted = any(sums[5] for sums in self._sums.values())
        out = []
        for (day, model, kind, charge), (cost, priced, requests, amounts, exact, usage) in sorted(
            self._sums.items()
        ):
            tokens = usage if counted and charge == USAGE else priced
            out.append(Line(day, model, kind, cost, tokens, requests, charge, amounts, exact))
        return tuple(out), Decimal(1).scaleb(self._finest)

    def notes(self) -> list[str]:
        """What was left out."""
        out = []
        for where, n in self.overlapping.items():
            out.append(
                f"{where}: {n} rows are the same as in a file before it; these duplicates are left out"
            )
        for where, n in self.repeated.items():
            out.append(f"{where}: {n} rows stand in it twice; these duplicates are left out")
        return out


def _cell(value: Any) -> Any:
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, (dict, list)) else value


def _is_one(row: Mapping[str, Any]) -> bool:
    """Are two rows like this the same row?"""
    if any(row.get(name) for name in _ID_COLUMNS) or "line_item" in row or "num_model_requests" in row:
        return True
    return any(_is_telling(v) for v in row.values())


def _is_telling(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_telling(v) for v in value.values())
    text = str(value)
    if not re.fullmatch(r"-?[\d.,E+-]+", text) or text.count("-") > 1:
        return False
    return len(re.sub(r"\D|E.*", "", text).strip("0")) >= _DIGITS
