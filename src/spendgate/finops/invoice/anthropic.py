"""Anthropic: pages of the Admin API's cost and usage reports, and the Console's CSV of both. Pure.

The cost report's amounts are decimal texts in cents, the Console's are USD. Read after the published API reference and
files of the Console, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from spendgate.finops.invoice.line import FEE, UNKNOWN, USAGE, Line, Row
from spendgate.finops.invoice.names import charge_of, kind_of, model_of
from spendgate.finops.invoice.source import NoLine, Source

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
_WHEN = ("starting_at", "usage_date_utc", "date")
_TOKENS = ("", "token", "tokens", "message", "standard", "batch")


def flatten(row: Row, source: Source) -> Iterator[Row]:
    """Each result of a page with its bucket's time; a row of a CSV as it is."""
    if "data" not in row:
        yield row
        return
    if row.get("has_more"):
        raise source.bad("has_more", "is true: pages are missing", "fetch them and give all")
    for bucket in row["data"]:
        yield {"starting_at": bucket["starting_at"]}
        for result in bucket["results"]:
            yield {"starting_at": bucket["starting_at"], **result}


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills or counts. Raises BadInvoice, NoLine."""
    day = source.day(row, *_WHEN)
    if not any(v not in (None, "") for k, v in row.items() if k not in _WHEN):
        raise NoLine
    model = str(row.get("model") or row.get("model_version") or "")
    if "amount" in row or "cost_usd" in row:
        yield _billed(row, day, model, source)
        return
    flat = {**row, **{f"cache_creation.{k}": v for k, v in _object(row.get("cache_creation")).items()}}
    searches = _object(row.get("server_tool_use")).get("web_search_requests")
    flat["web_search_count"] = row.get("web_search_count") or searches
    if not model or not any(name in flat for name in _TOKEN_TYPES if name != "web_search_count"):
        raise source.bad("model", "has neither an amount nor usage of a model", "group by model")
    for name, kind in _TOKEN_TYPES.items():
        if n := source.count(flat.get(name), name):
            yield Line(day, model, kind, tokens=n, amounts=0)


def _billed(row: Row, day: str, model: str, source: Source) -> Line:
    if "amount" in row:
        cost = source.usd(row["amount"], row.get("currency"), "amount") / Decimal(100)
    else:
        cost = source.usd(row["cost_usd"], "USD", "cost_usd")
    said = str(row.get("description") or "")
    token_type = str(row.get("token_type") or "")
    cost_type = str(row.get("cost_type") or "").lower()
    kind = _TOKEN_TYPES.get(token_type) or kind_of(token_type or said or cost_type)
    if cost_type not in _TOKENS:
        charge = charge_of(cost_type) or charge_of(said) or (FEE if kind else UNKNOWN)
        if cost_type.replace("_", " ") in ("web search", "code execution", "session usage"):
            charge = FEE
        return Line(day, said or cost_type, kind_of(cost_type), cost, charge=charge)
    name = model or model_of(said)
    if not name:
        raise source.bad("model", "is missing", "ask for group_by[]=description")
    charge = USAGE if "claude" in name.lower() else charge_of(name) or UNKNOWN
    return Line(day, name, kind, cost, charge=charge)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
