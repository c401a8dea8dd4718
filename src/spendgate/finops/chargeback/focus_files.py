"""A FOCUS dataset as a file: CSV, Parquet. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from itertools import islice
from typing import Any

from spendgate.errors import ConfigurationError
from spendgate.finops.chargeback.focus import Month, focus_rows
from spendgate.finops.chargeback.focus_columns import NEWEST, Column, Version, columns

ROWS_PER_GROUP = 50_000
"""Rows of a dataset that are held at once."""


def focus_csv(of: Month, version: Version = NEWEST) -> str:
    """The dataset of a month as CSV, null as an empty field."""
    return csv_of(focus_rows(of), version)


def focus_csv_pieces(parts: Iterable[Month], version: Version = NEWEST) -> Iterator[str]:
    """The dataset of several months, or of a month in parts (whole teams), piece by piece."""
    yield csv_of((), version)
    for of in parts:
        yield csv_of(focus_rows(of), version).partition("\n")[2]


def csv_of(rows: Iterable[Mapping[str, str]], version: Version = NEWEST) -> str:
    """Rows of a dataset as CSV."""
    out = io.StringIO()
    names = [c.name for c in columns(version)]
    writer = csv.DictWriter(out, names, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def focus_parquet(of: Month, version: Version = NEWEST) -> bytes:
    """The dataset as Parquet: amounts are decimals, periods UTC timestamps, tags JSON. Raises
    ConfigurationError without pyarrow."""
    return parquet_of(focus_rows(of), version)


def parquet_of(dataset: Iterable[Mapping[str, str]], version: Version = NEWEST) -> bytes:
    """Rows of a dataset as Parquet. Raises ConfigurationError without pyarrow."""
    pa, pq = arrow()
    kept = columns(version)
    schema = pa.schema([(c.name, _type(pa, c)) for c in kept]).with_metadata({"focus_version": version})
    sink, left = pa.BufferOutputStream(), iter(dataset)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while rows := list(islice(left, ROWS_PER_GROUP)):
            arrays = [
                pa.array([_value(c, row.get(c.name, "")) for row in rows], type=schema.field(c.name).type)
                for c in kept
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(sink.getvalue().to_pybytes())


def has_arrow() -> bool:
    """Is pyarrow installed?"""
    return find_spec("pyarrow") is not None


def arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet. Raises ConfigurationError where they are not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise ConfigurationError(
            "Parquet needs pyarrow; run: pip install 'spendgate[parquet]', or take CSV"
        ) from e
    return pa, pq


def _type(pa: Any, column: Column) -> Any:
    if column.type == "decimal":
        return pa.decimal128(38, 15)  # quarters of a pico-USD, and whole units
    return pa.timestamp("ms", tz="UTC") if column.type == "time" else pa.string()


def _value(column: Column, text: str) -> Any:
    if not text:
        return None
    if column.type == "decimal":
        return Decimal(text)
    return datetime.fromisoformat(text) if column.type == "time" else text
