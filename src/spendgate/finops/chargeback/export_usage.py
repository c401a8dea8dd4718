"""A month of usage logs as tables, one a day (CSV or Parquet), or as protobuf messages. Lines are streamed; no month is
held in memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from spendgate.finops.chargeback.focus_files import arrow
from spendgate.months import month_key, utc
from spendgate.records.protobuf import SUFFIX, framed
from spendgate.records.record import UsageRecord

TEXTS = (
    "exchange_id", "request_id", "team", "app", "user", "run", "dialect", "model_requested", "model",
    "model_answered", "upstream", "tokens", "parts", "priced_by", "price_version", "decision", "reason", "outcome",
    "unmetered", "charged_by", "flags", "end_user", "tags",
)  # fmt: skip
_AMOUNTS = ("cost_usd", "estimate_usd", "saved_usd", "list_cost_usd", "effective_cost_usd")
FIELDS = ("time", *TEXTS, "attempts", *_AMOUNTS)


def write_days(
    records: Iterable[UsageRecord], month: str, folder: Path, messages: bool = False
) -> dict[str, tuple[Path, int]]:
    """Write the records of a month (`YYYYMM`, by their reservation) as a file a day into `folder`: day (`YYYY-MM-DD`) →
    file and lines. A CSV, in which what is nested (tokens, parts, flags, tags) is JSON; or `messages`."""
    made: dict[str, tuple[Path, Callable[[UsageRecord], object]]] = {}
    counts: dict[str, int] = {}
    with ExitStack() as open_files:
        for record in records:
            if month_key(record.at_ms) != month:
                continue
            day = utc(record.at_ms).strftime("%Y-%m-%d")
            if day not in made:
                path = folder / f"usage-{day}{SUFFIX if messages else '.csv'}"
                made[day] = path, (_messages if messages else _table)(path, open_files)
            made[day][1](record)
            counts[day] = counts.get(day, 0) + 1
    return {day: (path, counts[day]) for day, (path, _) in sorted(made.items())}


def _table(path: Path, open_files: ExitStack) -> Callable[[UsageRecord], object]:
    file = open_files.enter_context(path.open("w", newline=""))
    writer = csv.DictWriter(file, FIELDS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return lambda record: writer.writerow(_row(record))


def _messages(path: Path, open_files: ExitStack) -> Callable[[UsageRecord], object]:
    file = open_files.enter_context(path.open("wb"))
    return lambda record: file.write(framed(record))


def to_parquet(path: Path) -> Path:
    """The same table as Parquet beside it: amounts are decimals, times UTC timestamps. Raises ConfigurationError
    without pyarrow."""
    pa, pq = arrow()
    from pyarrow import csv as pa_csv

    types = {name: pa.string() for name in TEXTS}
    types |= {name: pa.decimal128(38, 9) for name in _AMOUNTS}
    types |= {"time": pa.timestamp("ms", tz="UTC"), "attempts": pa.int64()}
    convert = pa_csv.ConvertOptions(column_types=types, include_columns=list(FIELDS))
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    target = path.with_suffix(".parquet")
    with (
        pa_csv.open_csv(path, parse_options=parse, convert_options=convert) as rows,
        pq.ParquetWriter(target, rows.schema, compression="zstd") as writer,
    ):
        for batch in rows:
            writer.write_batch(batch)
    return target


def _row(record: UsageRecord) -> dict[str, Any]:
    """The usage log's own fields; lists and objects as JSON, in the order of their names."""
    row: dict[str, Any] = orjson.loads(record.line())
    row["time"] = datetime.fromisoformat(row["time"]).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    row.setdefault("saved_usd", "0.00")
    for name in ("list_cost_usd", "effective_cost_usd"):
        row.setdefault(name, row["cost_usd"])
    row.setdefault("attempts", 0)
    for name in ("tokens", "parts", "priced_by", "flags", "tags"):
        if row.get(name):
            row[name] = orjson.dumps(row[name], option=orjson.OPT_SORT_KEYS).decode()
        else:
            row[name] = ""
    return row
