"""What a reader reads from: one file's rows, and how it writes numbers, days and money."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from decimal import Decimal, InvalidOperation
from typing import Any

from spendgate.finops.invoice import days, numbers
from spendgate.finops.invoice.line import BadInvoice, Row
from spendgate.finops.invoice.table import Table
from spendgate.money import LEDGER_MAX_NANOUSD, NANO_PER_USD
from spendgate.values import dataclass

USD_MAX = LEDGER_MAX_NANOUSD // NANO_PER_USD

_TOTAL = re.compile(
    r"(?:(?:grand|filtered|sub|overall|invoice)[ -]?)?totals?(?:\s.*)?|sum|summe|gesamt(?:summe|betrag)?|zwischensumme"
    r"|somme|suma|totale?|rounding error",
    re.IGNORECASE,
)


class NoLine(Exception):
    """A row that is no charge: a total, a blank one, a remark."""


@dataclass(slots=True)
class Source:
    """A file at one of its rows. `order` is that of `03/10/2026` where it is known, `fallback` the one that holds where
    no date of the file proves another; `rates` USD for one unit of a currency. `first` and `last` are the days that
    the file has rows for, with or without money."""

    table: Table
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    order: str = ""
    fallback: str = ""
    number: int = 0
    first: str = ""
    last: str = ""
    totals: int = 0
    converted: dict[str, str] = field(default_factory=dict)
    _asked: bool = False

    def rows(self) -> Iterator[Row]:
        """Each row; `number` is its place."""
        for number, row in self.table.rows():
            self.number = number
            yield row

    def bad(self, column: str, problem: str, remedy: str) -> BadInvoice:
        """A fault of the row at hand."""
        return BadInvoice(self.table.where, self.number, column, problem, remedy)

    def amount(self, value: Any, column: str) -> Decimal:
        """An exact number; none is 0. Raises BadInvoice."""
        if value is None or value == "":
            return Decimal(0)
        sign = self.table.decimal
        if not sign:
            text = str(value)
            if numbers.COMMA in text or numbers.POINT in text:
                raise self.bad(
                    column,
                    f"{value!r} could be two numbers: no number of the file tells whether comma or point is the "
                    "decimal sign", "write the numbers with a decimal point, without groups of thousands"
                )  # fmt: skip
            sign = numbers.POINT
        try:
            return numbers.parse(value, sign)
        except (ValueError, InvalidOperation) as e:
            raise self.bad(column, f"{value!r} is not a number", "mend it") from e

    def count(self, value: Any, column: str) -> int:
        """A whole count; none is 0. Raises BadInvoice."""
        return int(self.amount(value, column).to_integral_value())

    def day(self, row: Row, *columns: str) -> str:
        """The day of the first of these columns that has one. Raises NoLine for a total or a row without, BadInvoice
        for what is no date or could be two."""
        column = next((c for c in columns if row.get(c) not in (None, "")), "")
        if not column:
            if any(str(v).strip() for v in row.values() if v is not None):
                if not any(c in row for c in columns):
                    raise self.bad(
                        columns[0], "is missing", "give an export with a date in each line, by day"
                    )
                self.totals += 1
            raise NoLine
        text = str(row[column])
        try:
            found = days.parse(text, self.order)
        except days.TwoDates:
            self._learn(column, text)
            found = days.parse(text, self.order)
        except (ValueError, OverflowError) as e:
            if self._is_total(row):
                self.totals += 1
                raise NoLine from e
            raise self.bad(column, f"{text!r} is not a date", "write it as YYYY-MM-DD") from e
        self.covers(found)
        return found

    def covers(self, day: str) -> None:
        """The file has rows of this day."""
        if not self.first or day < self.first:
            self.first = day
        if day > self.last:
            self.last = day

    def _learn(self, column: str, text: str) -> None:
        """Find the order in the file's other dates. Raises BadInvoice where none tells."""
        if not self._asked:
            self._asked = True
            proven = {days.order_of(str(row.get(column) or "")) for _, row in self.table.rows()} - {""}
            if len(proven) == 1:
                (self.order,) = proven
            else:
                self.order = self.fallback
        if self.order:
            return
        raise self.bad(
            column, f"{text!r} could be two days: whether day or month comes first, no date of the file tells",
            f"say which with --dates {days.DAY_FIRST} or --dates {days.MONTH_FIRST}",
        )  # fmt: skip

    def _is_total(self, row: Row) -> bool:
        named = [str(v).strip() for v in row.values() if isinstance(v, str) and v.strip()]
        return any(_TOTAL.fullmatch(cell.strip(":")) for cell in named)

    def usd(
        self, value: Any, currency: Any, column: str, per_usd: Callable[[], Decimal | None] = lambda: None
    ) -> Decimal:
        """An amount in USD. `per_usd` is the row's own rate: units of the currency for one USD. Raises BadInvoice
        for a currency without a rate."""
        found = self.amount(value, column)
        if abs(found) > USD_MAX:
            raise self.bad(
                column, f"{value} is more than a ledger's month can hold ({USD_MAX:,} USD)",
                "see whether this is the column of the cost, and in which unit it is",
            )  # fmt: skip
        code = str(currency or "USD").strip().upper()
        if code in ("USD", "$", "US$"):
            return found
        if (rate := self.rates.get(code)) is not None:
            self.converted[code] = f"{rate} USD for one {code}, as given"
            return found * rate
        if not found:
            return found
        own = per_usd()
        if own:
            self.converted[code] = "at the rate of each line of the file"
            return found / own
        raise self.bad(
            column, f"is in {code}, and the file has no rate to USD", f"give --rate {code}=RATE, USD for one {code}"
        )  # fmt: skip
