"""Google: the billing export to BigQuery, saved as JSON lines or CSV, for Vertex AI and the Gemini API. Pure.

SKUs are called `Gemini 2.0 Flash Text Input - Predictions`. Credits lower the line they stand on. Read after the
published schema, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from spendgate.finops.invoice.line import BadInvoice, Line, Row, amount, day_of, kind_of, model_of

_SERVICES = ("vertex ai", "gemini api", "generative language")


def read(rows: list[tuple[int, Row]], where: str) -> list[Line]:
    """The lines of one file. Raises BadInvoice."""
    out: list[Line] = []
    for number, row in rows:
        out += _lines(row, where, number)
    return out


def _lines(row: Row, where: str, number: int) -> Iterator[Line]:
    service, sku = str(_at(row, "service", "description") or ""), str(_at(row, "sku", "description") or "")
    if not sku:
        raise BadInvoice(where, number, "sku.description", "is missing", "give the detailed or standard export")
    if not any(name in service.lower() for name in _SERVICES):
        return
    if str(row.get("currency") or "USD") != "USD":
        raise BadInvoice(where, number, "currency", f"is {row['currency']}", "only USD can be compared")
    cost = amount(row.get("cost"), where, number, "cost")
    lowered = row.get("credits")
    if isinstance(lowered, list):
        cost += sum((amount(c.get("amount"), where, number, "credits.amount") for c in lowered), Decimal(0))
    kind = kind_of(sku)
    used = amount(_at(row, "usage", "amount") or 0, where, number, "usage.amount")
    day = day_of(row.get("usage_start_time"), where, number, "usage_start_time")
    yield Line(day, model_of(sku.split(" - ", 1)[0]), kind, cost, int(used) if kind else 0)


def _at(row: Row, outer: str, inner: str) -> Any:
    """A field of an object, or its column in a flat file."""
    nested = row.get(outer)
    if isinstance(nested, dict):
        return nested.get(inner)
    return row.get(f"{outer}.{inner}", row.get(f"{outer}_{inner}"))
