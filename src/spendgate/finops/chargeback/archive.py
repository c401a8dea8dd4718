"""A closed month's files in a folder or object store: written once, checked when they are read.

`month=YYYY-MM/` holds `books.json` (all of it), `lines.parquet` (the same lines as a table), FOCUS as it was at the
close, and the manifest with their checksums and the closings' digests.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from spendgate.errors import ConfigurationError
from spendgate.finops.chargeback.chargeback import ADJUSTMENT, UNEXPLAINED
from spendgate.finops.chargeback.closed_month import ClosedMonth, from_json, to_json
from spendgate.finops.chargeback.export import MANIFEST, ExportError, Put, Store, put_all
from spendgate.finops.chargeback.focus import Month, focus_rows
from spendgate.finops.chargeback.focus_columns import VERSIONS, Version
from spendgate.finops.chargeback.focus_files import arrow, csv_of, has_arrow
from spendgate.money import nano_to_usd
from spendgate.months import month_text
from spendgate.pricing.table import PriceTable
from spendgate.values import dataclass

BOOKS = "books.json"
LINES = "lines.parquet"


@dataclass(frozen=True, slots=True)
class Archive:
    """A month read back: its books, and the FOCUS datasets as they were written."""

    books: ClosedMonth
    focus: dict[Version, str]


def folder_of(month: str) -> str:
    """Where a month (`YYYYMM`) stands below the archive's URL."""
    return f"month={month_text(month)}"


def archive(of: ClosedMonth, prices: PriceTable, account: str, store: Store, scratch: Path) -> list[Put]:
    """Write a month's files, or leave them where the same closings stand there already. Raises ExportError where other
    ones do, or where what stands there is not what its manifest says."""
    folder, digests = folder_of(of.month), {c.team: c.digest for c in of.closings}
    there = _manifest(store, of.month)
    if there is not None:
        if there["closings"] != digests:
            raise ExportError(
                f"{folder}: holds other numbers than the ledger has; an archive is not written over: see what changed "
                "by `spendgate month show`, or give another --archive"
            )
        return [
            Put(f"{folder}/{f['name']}", f["bytes"], f["sha256"], changed=False)
            for f in there["files"]
            if _checked(store, folder, f)
        ]
    files = [(BOOKS, scratch / BOOKS)]
    files[0][1].write_text(to_json(of), encoding="utf-8")
    whole = Month(of.month, [*of.cells, *of.entries], prices, account, of.adjustments, groups=of.grouping)
    rows = list(focus_rows(whole))
    for version in VERSIONS:
        path = scratch / _focus_name(version)
        path.write_text(csv_of(rows, version), encoding="utf-8")
        files.append((path.name, path))
    if has_arrow():
        files.append((LINES, lines_parquet(of, scratch / LINES)))
    facts = {
        "dataset": "closed month",
        "month": month_text(of.month),
        "settled_usd": nano_to_usd(sum(c.settled_nanousd for c in of.closings)),
        "closings": digests,
    }
    return put_all(store, folder, files, facts, scratch)


def has_table(puts: list[Put]) -> bool:
    """Is the table of lines among the files? It needs pyarrow."""
    return any(p.name.endswith(f"/{LINES}") for p in puts)


def read(store: Store, month: str) -> Archive:
    """Read a month (`YYYYMM`) back, each file against its checksum. Raises ConfigurationError where there is none,
    ExportError where a file is not what was archived."""
    there = _manifest(store, month)
    folder = folder_of(month)
    if there is None:
        raise ConfigurationError(
            f"--archive: no closed month {month_text(month)} there ({folder}/{MANIFEST})"
        )
    texts = {f["name"]: _checked(store, folder, f) for f in there["files"]}
    return Archive(
        from_json(texts[BOOKS].decode(), f"{folder}/{BOOKS}"),
        {v: texts[_focus_name(v)].decode() for v in VERSIONS if _focus_name(v) in texts},
    )


def lines_parquet(of: ClosedMonth, path: Path) -> Path:
    """The lines as a Parquet table: a row a day, team, app, model and kind. Raises ConfigurationError without
    pyarrow."""
    pa, pq = arrow()
    schema = pa.schema(
        [
            ("month", pa.string()), ("day", pa.date32()), ("team", pa.string()), ("app", pa.string()),
            ("model", pa.string()), ("kind", pa.string()), ("tokens", pa.int64()), ("requests", pa.int64()),
            ("refused", pa.int64()), ("cost_usd", pa.decimal128(38, 9)), ("saved_usd", pa.decimal128(38, 9)),
        ]
    )  # fmt: skip
    table = pa.Table.from_pylist(list(_rows(of)), schema=schema)
    pq.write_table(table, path, compression="zstd")
    return path


def focus_rows_of(text: str) -> list[dict[str, str]]:
    """The rows of an archived FOCUS dataset."""
    return list(csv.DictReader(io.StringIO(text)))


def _rows(of: ClosedMonth) -> Iterator[dict[str, Any]]:
    for cell in [*of.cells, *of.entries]:
        base = {
            "month": month_text(of.month), "day": datetime.strptime(cell.day, "%Y%m%d").date(), "team": cell.team,
            "app": cell.app, "model": cell.model,
        }  # fmt: skip
        kinds = {k for k, n in cell.tokens.items() if n and k != UNEXPLAINED} | cell.kind_costs.keys()
        rows = [
            (k, cell.tokens.get(k, 0) if k != UNEXPLAINED else 0, cell.kind_costs.get(k, 0))
            for k in sorted(kinds)
        ]
        if cell.adjusted_nanousd:
            rows.append((ADJUSTMENT, 0, cell.adjusted_nanousd))
        for i, (kind, tokens, nano) in enumerate(rows or [(UNEXPLAINED, 0, 0)]):
            yield base | {
                "kind": kind, "tokens": tokens, "requests": cell.requests if i == 0 else 0,
                "refused": cell.refused if i == 0 else 0, "cost_usd": Decimal(nano_to_usd(nano)),
                "saved_usd": Decimal(nano_to_usd(cell.saved_nanousd if i == 0 else 0)),
            }  # fmt: skip


def _manifest(store: Store, month: str) -> dict[str, Any] | None:
    name = f"{folder_of(month)}/{MANIFEST}"
    raw = store.get(name)
    if raw is None:
        return None
    try:
        found: dict[str, Any] = json.loads(raw)
        found["closings"], found["files"]
    except (ValueError, KeyError, TypeError) as e:
        raise ExportError(f"{name}: is no manifest of a closed month: {type(e).__name__}: {e}") from e
    return found


def _checked(store: Store, folder: str, file: dict[str, Any]) -> bytes:
    name = f"{folder}/{file['name']}"
    data = store.get(name)
    if data is None or hashlib.sha256(data).hexdigest() != file["sha256"]:
        what = "is gone" if data is None else "is not what was archived: its checksum differs"
        raise ExportError(f"{name}: {what}; bring it back from a copy")
    return data


def _focus_name(version: Version) -> str:
    return f"focus-{version}.csv"
