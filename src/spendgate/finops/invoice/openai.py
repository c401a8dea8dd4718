"""OpenAI: pages of the organization costs and usage APIs, and the dashboard's CSV of both. Pure.

Costs (`/v1/organization/costs`, grouped by line_item) have the money, usage (`/v1/organization/usage/completions`,
grouped by model) the tokens and requests: give both. A line item is `model, kind`; what has no model is a fee. Days
without use stand as empty rows in the dashboard's files. Read after the published API reference, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from spendgate.finops.invoice.line import FEE, UNKNOWN, USAGE, Line, Row
from spendgate.finops.invoice.names import charge_of, kind_of
from spendgate.finops.invoice.source import NoLine, Source

_USAGE = (
    ("input_cached_tokens", "cached_input"),
    ("output_tokens", "output"),
    ("input_audio_tokens", "input_audio"),
    ("output_audio_tokens", "output_audio"),
)
_ID = re.compile(r"(?=.*[\d-])[a-z0-9][\w.:/-]*")
"""A model's id: a word with a number or a hyphen (`moderation` is none)."""


def flatten(row: Row, source: Source) -> Iterator[Row]:
    """Each result of a page with its bucket's time; a row of a CSV as it is."""
    if "data" not in row:
        yield row
        return
    if row.get("has_more"):
        raise source.bad("has_more", "is true: pages are missing", "fetch them and give all")
    for bucket in row["data"]:
        results = bucket.get("results", bucket.get("result", ()))
        when = {k: bucket[k] for k in ("start_time", "end_time") if k in bucket}
        yield when
        for result in results:
            yield {**when, **result}


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills or counts. Raises BadInvoice, NoLine."""
    day = source.day(row, "start_time", "start_time_iso", "date")
    if not any(v not in (None, "") for k, v in row.items() if k not in _WHEN):
        raise NoLine  # a day without use
    money = row.get("amount")
    if isinstance(money, dict) or "amount_value" in row:
        value, currency = (
            (money.get("value"), money.get("currency"))
            if isinstance(money, dict)
            else (row["amount_value"], row.get("amount_currency"))
        )
        if value in (None, "") and not row.get("line_item"):
            raise NoLine
        cost = source.usd(value, currency, "amount")
        item = str(row.get("line_item") or "")
        if not item:
            if not cost:
                raise NoLine
            raise source.bad("line_item", "is missing", "ask for group_by=line_item")
        yield _billed(day, item, cost, source.count(row.get("quantity"), "quantity"))
        return
    if "num_model_requests" not in row and "input_tokens" not in row:
        raise source.bad("", "has neither an amount nor usage", "give the costs or usage API's answer")
    given = source.count(row.get("input_tokens"), "input_tokens")
    requests = source.count(row.get("num_model_requests"), "num_model_requests")
    model = str(row.get("model") or "")
    if not model:
        if not (given or requests or source.count(row.get("output_tokens"), "output_tokens")):
            raise NoLine
        raise source.bad("model", "is missing", "ask for group_by=model")
    cached = source.count(row.get("input_cached_tokens"), "input_cached_tokens")
    yield Line(day, model, "input", tokens=given - cached, requests=requests, amounts=0)
    for field, kind in _USAGE:
        if n := source.count(row.get(field), field):
            yield Line(day, model, kind, tokens=n, amounts=0)


_WHEN = frozenset(("start_time", "end_time", "start_time_iso", "end_time_iso"))


def _billed(day: str, item: str, cost: Decimal, quantity: int) -> Line:
    name, _, said = item.partition(", ")
    charge = charge_of(item) if not _ID.fullmatch(name) else charge_of(said)
    kind = kind_of(said or ("" if _ID.fullmatch(name) else name))
    if charge == USAGE and not _ID.fullmatch(name):
        charge = (
            FEE if kind in ("searches", "preview_searches", "file_searches", "maps", "code_runs") else UNKNOWN
        )
    if charge != USAGE:
        return Line(day, item, kind, cost, quantity, charge=charge)
    return Line(day, name, kind, cost, quantity if kind else 0)
