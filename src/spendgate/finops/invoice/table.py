"""The rows of an export: CSV in any usual dress, JSON, JSON lines, Parquet; one after the other. I/O.

A CSV may have a preamble above its head and any of `, ; tab |` between its cells. Which they are is told by the first
rows. A JSON document is one row (or, where it is a list, each of its elements).
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any

from spendgate.finops.invoice import numbers
from spendgate.finops.invoice.line import BadInvoice, Row
from spendgate.finops.invoice.opened import PARQUET, encoding_of, text_of, unpacked

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_ROWS = 60
NUMBER_ROWS = 2000
_DOWNLOADED = "give the export as it was downloaded"
_TEXT = re.compile(r"[A-Za-z_]")
_WORDS = re.compile(r"[^\W\d_]{3,}\W+[^\W\d_]{2,}")
_DATED = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
csv.field_size_limit(1 << 27)


class Table:
    """One file. `rows` may be called again: each call reads the file anew. `decimal` is the sign of its numbers, ""
    where they do not tell; `remarks` how many rows were notes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        self._column: Callable[[str], str] = str
        self.decimal = numbers.POINT
        self.remarks = 0
        with unpacked(path) as file:
            start = file.read(4)
        self._is_parquet = start == PARQUET
        if self._is_parquet:
            return
        self._encoding = encoding_of(path)
        with text_of(path, self._encoding) as file:
            first = file.read(1 << 12).lstrip("\ufeff").lstrip()
        self._is_json = first[:1] in ("{", "[")
        if not self._is_json:
            self._delimiter, self._skip, self._head = self._look()
            self.decimal = self._decimal()

    def rename(self, column: Callable[[str], str]) -> None:
        """From now on columns have the names that this makes of them."""
        self._column = column

    def columns(self) -> list[str]:
        """The names of the columns, of the first row where each has its own."""
        if not self._is_parquet and not self._is_json:
            return self._head
        return [str(name) for _, row in islice(self.rows(), 1) for name in row]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """(number of the line, row) of each. Raises BadInvoice."""
        if self._is_parquet:
            yield from self._parquet()
        elif self._is_json:
            for number, row in self._json():
                if not isinstance(row, dict):
                    raise BadInvoice(self.where, number, "", "is not an object", _DOWNLOADED)
                yield number, {self._column(k): v for k, v in row.items()}
        else:
            head = [self._column(name) for name in self._head]
            self.remarks = 0
            for number, cells in self._cells():
                if self._is_remark(cells):
                    self.remarks += 1
                elif any(cells):
                    yield number, dict(zip(head, cells, strict=False))

    @staticmethod
    def _is_remark(cells: list[str]) -> bool:
        """Is a row one cell of words: a note below the table?"""
        if len(cells) > 1 and cells[0] and cells[1]:
            return False
        said = [c for c in cells if c.strip()]
        return len(said) == 1 and bool(_WORDS.search(said[0])) and not _DATED.search(said[0])

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        with text_of(self.path, self._encoding) as file:
            reader = csv.reader(file, delimiter=self._delimiter, skipinitialspace=True)
            try:
                for cells in islice(reader, self._skip, None):
                    yield reader.line_num, cells
            except csv.Error as e:
                raise BadInvoice(self.where, reader.line_num, "", f"is no CSV: {e}", _DOWNLOADED) from e

    def _look(self) -> tuple[str, int, list[str]]:
        """The delimiter, how many rows there are up to the head with it, and the head."""
        best: tuple[int, str, list[list[str]]] = (0, "", [])
        for delimiter in DELIMITERS:
            with text_of(self.path, self._encoding) as file:
                try:
                    found = list(
                        islice(csv.reader(file, delimiter=delimiter, skipinitialspace=True), SAMPLE_ROWS)
                    )
                except csv.Error:
                    continue
            widths = Counter(len(row) for row in found if len(row) > 1 and any(row))
            if widths:
                width, times = max(widths.items(), key=lambda x: (x[1], x[0]))
                if times * (width - 1) > best[0]:
                    best = (times * (width - 1), delimiter, found)
        _, delimiter, rows = best
        at = _head(rows)
        if at is None:
            raise BadInvoice(self.where, 1, "", "is neither JSON nor a CSV with a head", _DOWNLOADED)
        return delimiter, at + 1, [cell.strip().lstrip("\ufeff") for cell in rows[at]]

    def _decimal(self) -> str:
        """The sign by the file's first rows. Where they do not tell, no comma can be a decimal one in a file that
        has commas between its cells."""
        cells = (cell for _, row in islice(self._cells(), NUMBER_ROWS) for cell in row if cell)
        return numbers.decimal_sign(cells) or ("" if self._delimiter != "," else numbers.POINT)

    def _json(self) -> Iterator[tuple[int, Any]]:
        with text_of(self.path, self._encoding) as file:
            first = _line(file).lstrip("\ufeff")
            try:
                opening = json.loads(first, parse_float=Decimal)
            except json.JSONDecodeError:
                opening = None
            if opening is None or isinstance(opening, list):
                yield from self._document(first, file)
                return
            yield 1, opening
            for number, line in enumerate(file, 2):
                if line.strip():
                    yield number, self._one(line, number)

    def _one(self, line: str, number: int) -> Any:
        try:
            return json.loads(line, parse_float=Decimal)
        except json.JSONDecodeError as e:
            raise BadInvoice(self.where, number, "", f"not JSON: {e}", "mend or take the line out") from e

    def _document(self, first: str, file: IO[str]) -> Iterator[tuple[int, Any]]:
        """A document over several lines, or several one after the other."""
        text = first + file.read()
        decoder = json.JSONDecoder(parse_float=Decimal)
        at, end = 0, len(text.rstrip())
        while at < end:
            while text[at].isspace():
                at += 1
            try:
                found, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as e:
                raise BadInvoice(self.where, e.lineno, "", f"not JSON: {e}", _DOWNLOADED) from e
            for row in found if isinstance(found, list) else [found]:
                yield 0, row

    def _parquet(self) -> Iterator[tuple[int, Row]]:
        try:
            import pyarrow.parquet as pq
        except ImportError as e:
            raise BadInvoice(
                self.where, 0, "", "is Parquet, and pyarrow is not there", "pip install 'spendgate[parquet]'"
            ) from e
        try:
            with unpacked(self.path) as raw:
                number = 0
                for batch in pq.ParquetFile(raw).iter_batches(8192):
                    names = [self._column(name) for name in batch.schema.names]
                    columns = [batch.column(i).to_pylist() for i in range(len(names))]
                    for cells in zip(*columns, strict=True):
                        number += 1
                        yield number, {n: _plain(c) for n, c in zip(names, cells, strict=True)}
        except (ValueError, OSError) as e:
            raise BadInvoice(
                self.where, 0, "", f"is no Parquet that can be read: {e}", "download it again"
            ) from e


def _line(file: IO[str]) -> str:
    """The first line that is not blank."""
    for line in file:
        if line.strip("\ufeff \t\r\n"):
            return line
    return ""


def _head(rows: list[list[str]]) -> int | None:
    """The first row that names columns: as wide as the table, most of its cells words, none a number or a date."""
    widths = Counter(len(row) for row in rows if len(row) > 1 and any(row))
    if not widths:
        return None
    wide = max(widths.items(), key=lambda x: (x[1], x[0]))[0]
    for i, row in enumerate(rows):
        named = [cell for cell in row if cell.strip()]
        if len(row) >= wide and len(named) >= 2 and len(named) * 2 >= wide:
            if all(_TEXT.search(cell) and not _DATED.match(cell.strip()) for cell in named):
                return i
            return i if sum(1 for cell in named if _TEXT.search(cell)) * 10 >= len(named) * 9 else None
    return None


def _plain(cell: Any) -> Any:
    """A cell of Parquet as JSON would have it: maps as objects, times as text."""
    if isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, list) and cell and all(isinstance(x, tuple) and len(x) == 2 for x in cell):
        return dict(cell)
    return Decimal(repr(cell)) if isinstance(cell, float) and cell == cell else cell
