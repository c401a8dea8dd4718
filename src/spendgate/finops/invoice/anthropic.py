"""Anthropic: pages of the Admin API's cost and usage reports, and the Console's CSV of both. Pure.

The cost report's amounts are decimal texts in cents. Read after the published API reference, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from spendgate.finops.invoice.line import BadInvoice, Line, Row, amount, count, day_of, kind_of, model_of

_TOKEN_TYPES = {
    "uncached_input_tokens": "input",
    "cache_read_input_tokens": "cached_input",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
    "usage_input_tokens_no_cache": "input",
    "usage_input_tokens_cache_read": "cached_input",
    "usage_input_tokens_cache_write_5m": "cache_write_5m",
    "usage_input_tokens_cache_write_1h": "cache_write_1h",
    "usage_output_tokens": "output",
    "web_search_count": "searches",
}


def read(rows: list[tuple[int, Row]], where: str) -> list[Line]:
    """The lines of one file. Raises BadInvoice."""
    out: list[Line] = []
    for number, row in rows:
        if "data" in row:
            if row.get("has_more"):
                raise BadInvoice(where, number, "has_more", "is true: pages are missing", "fetch them and give all")
            for bucket in row["data"]:
                for result in bucket["results"]:
                    out += _lines({"starting_at": bucket["starting_at"], **result}, where, number)
        else:
            out += _lines(row, where, number)
    return out


def _lines(row: Row, where: str, number: int) -> Iterator[Line]:
    day = day_of(row.get("starting_at") or row.get("usage_date_utc"), where, number, "starting_at")
    model = str(row.get("model") or row.get("model_version") or "")
    if "amount" in row or "cost_usd" in row:
        if str(row.get("currency") or "USD").upper() != "USD":
            raise BadInvoice(where, number, "currency", f"is {row['currency']}", "only USD can be compared")
        cents = "amount" in row
        cost = amount(row["amount"] if cents else row["cost_usd"], where, number, "amount")
        said = str(row.get("description") or row.get("usage_type") or "")
        token_type = str(row.get("token_type") or "")
        kind = _TOKEN_TYPES.get(token_type) or kind_of(token_type or said)
        name = model or (model_of(said) if said else str(row.get("cost_type") or ""))
        if not name:
            raise BadInvoice(where, number, "model", "is missing", "ask for group_by[]=description")
        yield Line(day, name, kind, cost / Decimal(100) if cents else cost)
        return
    flat = {**row, **{f"cache_creation.{k}": v for k, v in _object(row.get("cache_creation")).items()}}
    flat["web_search_count"] = row.get("web_search_count") or _object(row.get("server_tool_use")).get(
        "web_search_requests"
    )
    if not model or not any(name in flat for name in _TOKEN_TYPES if name != "web_search_count"):
        raise BadInvoice(where, number, "model", "has neither an amount nor usage of a model", "group by model")
    for name, kind in _TOKEN_TYPES.items():
        if n := count(flat.get(name), where, number, name):
            yield Line(day, model, kind, tokens=n)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
