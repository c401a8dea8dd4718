"""Google: the billing export to BigQuery (JSON lines or CSV) and the console's Reports CSV, for Vertex AI and the
Gemini API. Pure.

SKUs are called `Gemini 2.5 Flash GA Text Input - Predictions` or `Generate content input token count gemini 2.5 flash
short input text`. A row of the export carries its own rate of conversion; credits stand on the line that they lower,
and are charges of their own here. Read after the published schema and SKU groups, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from spendgate.finops.invoice.line import CREDIT, REFUND, TAX, UNKNOWN, USAGE, Line, Row
from spendgate.finops.invoice.names import read_meter
from spendgate.finops.invoice.source import Source
from spendgate.finops.invoice.units import tokens

_SERVICES = re.compile(
    r"vertex ai|gemini|generative language|agent platform|\bclaude\b|model garden", re.IGNORECASE
)
_COST_TYPES = {"tax": TAX, "adjustment": REFUND, "rounding_error": REFUND, "rounding error": REFUND}
_SIGNS = {"$": "USD", "us$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "chf": "CHF"}
_CONSOLE = ("unrounded_subtotal", "subtotal", "unrounded_cost", "cost")


def column(name: str) -> str:
    """`Unrounded subtotal ($)` → `unrounded_subtotal@USD`, `SKU description` → `sku_description`."""
    found = re.fullmatch(r"(.+?)\s*\(([^)]+)\)", name.strip())
    sign = (found[2].strip().lower() if found else "") or ""
    currency = _SIGNS.get(sign, sign.upper() if re.fullmatch(r"[a-z]{3}", sign) else "")
    plain = re.sub(r"[^a-z0-9]+", "_", (found[1] if found else name).strip().lower()).strip("_")
    return f"{plain}@{currency}" if currency else plain


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills. Raises BadInvoice, NoLine."""
    service, sku = str(_at(row, "service", "description") or ""), str(_at(row, "sku", "description") or "")
    cost_type = str(row.get("cost_type") or "").lower()
    if not sku and "sku" not in row and not any(k.startswith("sku") for k in row):
        raise source.bad("sku.description", "is missing", "give the detailed or standard export")
    day = source.day(row, "usage_start_time", "date", "usage_start_date", "usage_date")
    if service and not _SERVICES.search(service) and not _SERVICES.search(sku):
        return
    used = source.amount(_at(row, "usage", "amount"), "usage.amount")
    unit = str(_at(row, "usage", "unit") or "")
    said = read_meter(sku.split(" - ", 1)[0], "")
    charge = _COST_TYPES.get(cost_type, said.charge)
    if charge == USAGE and not (said.model and said.kind):
        charge = UNKNOWN
    cost = _usd(row, row.get("cost"), source) if "cost" in row else _of_console(row, source)
    counted = tokens(used, "" if unit == "count" else unit, said.kind) if charge == USAGE else 0
    name = said.model if charge == USAGE else sku
    yield Line(day, name, said.kind, cost, counted, charge=charge, exact=False)
    for credit in row["credits"] if isinstance(row.get("credits"), list) else ():
        lowered = _usd(row, credit.get("amount"), source)
        if lowered:
            label = str(credit.get("full_name") or credit.get("name") or credit.get("type") or "credit")
            yield Line(day, label, "", lowered, charge=CREDIT, exact=False)


def _usd(row: Row, value: Any, source: Source) -> Decimal:
    def per_usd() -> Decimal | None:
        return source.amount(row.get("currency_conversion_rate"), "currency_conversion_rate") or None

    return source.usd(value, row.get("currency"), "currency", per_usd)


def _of_console(row: Row, source: Source) -> Decimal:
    for wanted in _CONSOLE:
        for name, value in row.items():
            plain, _, currency = name.partition("@")
            if plain == wanted and value not in (None, ""):
                return source.usd(value, currency or row.get("currency"), name.replace("@", " "))
    raise source.bad("cost", "is missing", "give a report with its costs")


def _at(row: Row, outer: str, inner: str) -> Any:
    """A field of an object, or its column in a flat file."""
    nested = row.get(outer)
    if isinstance(nested, dict):
        return nested.get(inner)
    return row.get(f"{outer}.{inner}", row.get(f"{outer}_{inner}"))
