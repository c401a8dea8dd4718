"""OpenAI: pages of the organization costs and usage APIs, and the dashboard's CSV of both. Pure.

Costs (`/v1/organization/costs`, grouped by line_item) have the money, usage (`/v1/organization/usage/completions`,
grouped by model) the tokens and requests: give both. Read after the published API reference, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.finops.invoice.line import BadInvoice, Line, Row, amount, count, day_of, kind_of

_USAGE = (
    ("input_cached_tokens", "cached_input"),
    ("output_tokens", "output"),
    ("input_audio_tokens", "input_audio"),
    ("output_audio_tokens", "output_audio"),
)


def read(rows: list[tuple[int, Row]], where: str) -> list[Line]:
    """The lines of one file. Raises BadInvoice."""
    out: list[Line] = []
    for number, row in rows:
        if "data" in row:
            if row.get("has_more"):
                raise BadInvoice(where, number, "has_more", "is true: pages are missing", "fetch them and give all")
            for bucket in row["data"]:
                for result in bucket.get("results", bucket.get("result", ())):
                    out += _lines({"start_time": bucket["start_time"], **result}, where, number)
        else:
            out += _lines(row, where, number)
    return out


def _lines(row: Row, where: str, number: int) -> Iterator[Line]:
    day = day_of(row.get("start_time") or row.get("start_time_iso"), where, number, "start_time")
    money = row.get("amount")
    if isinstance(money, dict) or "amount_value" in row:
        value, currency = (
            (money.get("value"), money.get("currency"))
            if isinstance(money, dict)
            else (row["amount_value"], row.get("amount_currency"))
        )
        if str(currency or "usd").lower() != "usd":
            raise BadInvoice(where, number, "currency", f"is {currency}", "only USD can be compared")
        item = row.get("line_item")
        if not item:
            raise BadInvoice(where, number, "line_item", "is missing", "ask for group_by=line_item")
        model, _, kind = str(item).partition(", ")
        yield Line(day, model, kind_of(kind), amount(value, where, number, "amount"))
        return
    if "num_model_requests" not in row and "input_tokens" not in row:
        raise BadInvoice(where, number, "", "has neither an amount nor usage", "give the costs or usage API's answer")
    model = str(row.get("model") or "")
    if not model:
        raise BadInvoice(where, number, "model", "is missing", "ask for group_by=model")
    given = count(row.get("input_tokens"), where, number, "input_tokens")
    cached = count(row.get("input_cached_tokens"), where, number, "input_cached_tokens")
    requests = count(row.get("num_model_requests"), where, number, "num_model_requests")
    yield Line(day, model, "input", tokens=given - cached, requests=requests)
    for field, kind in _USAGE:
        if n := count(row.get(field), where, number, field):
            yield Line(day, model, kind, tokens=n)
