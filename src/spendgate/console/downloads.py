"""What a page shows as a file: tables and cells as CSV, Parquet, and FOCUS. Exact to the nano-dollar.

Written team by team from the cube, so that a large house's month is never held at once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from spendgate.console.cube import Cube, Where, sums_of
from spendgate.console.figures import Row, Table, View
from spendgate.finops.chargeback.focus import Month
from spendgate.finops.chargeback.focus_files import arrow
from spendgate.finops.chargeback.groups import Groups
from spendgate.finops.chargeback.parties import SELLERS
from spendgate.finops.chargeback.render import inert
from spendgate.ledger.accounts import Adjusted, DayCell
from spendgate.money import nano_to_usd
from spendgate.months import day_text
from spendgate.pricing.table import PriceTable

NAMES = ("day", "team", "app", "user", "model", "provider")
COUNTS = ("requests", "refused", "tokens_input", "tokens_cached", "tokens_output")
AMOUNTS = ("spent_usd", "adjusted_usd", "saved_by_routing_usd")
SELLER_OF = {name: provider for provider, (name, _) in SELLERS.items()}
ACCOUNT = "spendgate"


def cells_csv(cube: Cube, where: Where) -> Iterator[str]:
    """A row a day, team, app, user, model and provider, piece by piece."""
    yield _csv([(*NAMES, *COUNTS, *AMOUNTS)])
    for cells in cube.cells(where):
        yield _csv([(*map(inert, _names(c)), *_counts(c), *map(nano_to_usd, _amounts(c))) for c in cells])


def cells_parquet(cube: Cube, where: Where) -> bytes:
    """The same as Parquet: amounts are decimals, days dates. Raises ConfigurationError without pyarrow."""
    pa, pq = arrow()
    types: dict[str, Any] = dict.fromkeys(NAMES, pa.string())
    types |= dict.fromkeys(COUNTS, pa.int64()) | dict.fromkeys(AMOUNTS, pa.decimal128(38, 9))
    schema = pa.schema(list(types.items()))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for cells in cube.cells(where):
            rows = [(*_names(c), *_counts(c), *(Decimal(nano_to_usd(n)) for n in _amounts(c))) for c in cells]
            arrays = [
                pa.array(column, type=field.type)
                for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(sink.getvalue().to_pybytes())


def focus_parts(
    cube: Cube,
    where: Where,
    months: Sequence[str],
    prices: PriceTable,
    audit: Mapping[str, Sequence[Adjusted]],
    groups: Mapping[str, Groups],
) -> Iterator[Month]:
    """The cells as FOCUS datasets, one a month and team; `groups` are those of each month."""
    for month in months:
        within = where.within(max(where.first, f"{month}01"), min(where.last, f"{month}31"))
        for cells in cube.cells(within):
            told = [
                replace(c, provider=SELLER_OF.get(c.provider, "") if where.user is not None else "")
                for c in cells
            ]
            made = (
                []
                if where.user is not None
                else [a for a in audit.get(cells[0].team, ()) if _is_in(a, within)]
            )
            yield Month(month, told, prices, ACCOUNT, made, groups=groups[month])


def _is_in(made: Adjusted, where: Where) -> bool:
    a = made.adjustment
    return (
        where.first <= made.booked_day <= where.last
        and where.app in (None, a.app)
        and where.model in (None, a.model)
        and where.provider is None
    )


def table_csv(view: View, of: Table) -> str:
    """A table as the page has it."""
    if of.dimension == "day":
        return days_csv(view)
    head = (
        of.dimension, "spent_usd", "before_usd", "change_usd", "requests", "refused", "tokens_input", "tokens_output",
        "saved_by_routing_usd", "saved_by_caching_usd",
    )  # fmt: skip

    def before(r: Row) -> tuple[str, str]:
        return (nano_to_usd(r.before_nanousd), nano_to_usd(r.change_nanousd)) if of.has_before else ("", "")

    rows = [
        (
            inert(r.name), nano_to_usd(r.now.cost_nanousd), *before(r),
            r.now.requests, r.now.refused, r.now.tokens_in, r.now.tokens_out, nano_to_usd(r.now.saved_nanousd),
            nano_to_usd(r.now.cached_nanousd),
        )
        for r in of.rows
    ]  # fmt: skip
    return _csv([head, *rows])


def days_csv(view: View) -> str:
    """The days, also those on which nothing was spent."""
    rows = [
        (
            day_text(d.day),
            nano_to_usd(d.spent_nanousd),
            "" if d.before_nanousd is None else nano_to_usd(d.before_nanousd),
        )
        for d in view.days
    ]
    return _csv([("day", "spent_usd", "before_usd"), *rows])


def adjustments_csv(made: Sequence[Adjusted]) -> str:
    """The audit as a table."""
    head = (
        "booked_on", "for_day", "made_at_ms", "team", "app", "model", "amount_usd", "counts_in_budget", "reason", "by",
        "id",
    )  # fmt: skip
    rows = []
    for one in made:
        a = one.adjustment
        texts = [inert(x) for x in (a.team, a.app, a.model)]
        after = [inert(x) for x in (a.reason, a.by, a.adjustment_id)]
        days = (day_text(one.booked_day), day_text(a.day) if a.day else "", one.at_ms)
        rows.append((*days, *texts, nano_to_usd(a.cost_nanousd), "no" if a.is_beside else "yes", *after))
    return _csv([head, *rows])


def _names(c: DayCell) -> tuple[str, ...]:
    return day_text(c.day), c.team, c.app, c.user, c.model, c.provider


def _counts(c: DayCell) -> tuple[int, ...]:
    tokens_in, tokens_cached, tokens_out = sums_of(c, 0)[-3:]
    return c.requests, c.refused, tokens_in, tokens_cached, tokens_out


def _amounts(c: DayCell) -> tuple[int, ...]:
    return c.cost_nanousd, c.adjusted_nanousd, c.saved_nanousd


def _csv(rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
