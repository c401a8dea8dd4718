"""OpenRouter: the activity page's CSV and the activity API's answer. Pure.

Costs are USD; what was called by keys of one's own (BYOK) is billed by the vendor, and its fee stands in the usage.
Read after the published API reference, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.finops.invoice.line import Line, Row
from spendgate.finops.invoice.source import Source

_TOKENS = (("prompt_tokens", "input"), ("completion_tokens", "output"))


def column(name: str) -> str:
    """`Prompt Tokens` → `prompt_tokens`."""
    return name.strip().lower().replace(" ", "_")


def flatten(row: Row, source: Source) -> Iterator[Row]:
    """Each entry of the API's answer; a row of the CSV as it is."""
    if isinstance(row.get("data"), list):
        yield from row["data"]
    else:
        yield row


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills. Raises BadInvoice, NoLine."""
    day = source.day(row, "date")
    model = str(row.get("slug") or row.get("model") or row.get("model_permaslug") or "")
    if not model or "usage" not in row:
        raise source.bad("Slug", "is missing", "give the activity export by day and model")
    requests = source.count(row.get("requests"), "requests")
    yield Line(day, model, "", source.usd(row["usage"], "USD", "usage"), requests=requests)
    for name, kind in _TOKENS:
        if n := source.count(row.get(name), name):
            yield Line(day, model, kind, tokens=n, amounts=0)
