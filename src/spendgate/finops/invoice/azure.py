"""Azure OpenAI: a cost export of Cost Management (CSV, the names of 2019 to now). Pure.

Meters are called `gpt 4o 0806 Inp glbl Tokens`; quantities come in the meter's unit (1K, 1M). Amounts must be USD.
Read after the published column reference, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.finops.invoice.bedrock import tokens_per_unit
from spendgate.finops.invoice.line import BadInvoice, Line, Row, amount, day_of, kind_of, model_of

_OURS = ("openai", "cognitive services", "foundry", "azure ai")


def read(rows: list[tuple[int, Row]], where: str) -> list[Line]:
    """The lines of one file. Raises BadInvoice."""
    out: list[Line] = []
    for number, row in rows:
        out += _lines({k.lower().replace(" ", ""): v for k, v in row.items()}, where, number)
    return out


def _lines(row: Row, where: str, number: int) -> Iterator[Line]:
    meter = str(row.get("metername") or row.get("meter") or "")
    if not meter:
        raise BadInvoice(where, number, "meterName", "is missing", "give a cost export with all its columns")
    about = f"{row.get('metercategory', '')} {row.get('metersubcategory', '')} {row.get('consumedservice', '')}"
    if not any(word in about.lower() for word in _OURS):
        return
    cost = row.get("costinusd")
    if cost in (None, ""):
        currency = row.get("billingcurrency") or row.get("billingcurrencycode") or row.get("currency") or "USD"
        if currency != "USD":
            raise BadInvoice(where, number, "billingCurrency", f"is {currency}", "export costInUsd as well")
        cost = next((row[n] for n in ("costinbillingcurrency", "pretaxcost", "cost") if row.get(n)), None)
    if cost in (None, ""):
        raise BadInvoice(where, number, "costInBillingCurrency", "is missing", "give an export of actual cost")
    kind = kind_of(meter)
    used = amount(row.get("quantity") or row.get("usagequantity") or 0, where, number, "quantity")
    tokens = int(used * tokens_per_unit(str(row.get("unitofmeasure") or ""))) if kind else 0
    day = day_of(row.get("date") or row.get("usagedate"), where, number, "date")
    yield Line(day, model_of(meter), kind, amount(cost, where, number, "cost"), tokens)
