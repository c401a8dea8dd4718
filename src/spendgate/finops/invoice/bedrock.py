"""Amazon Bedrock: Cost and Usage Reports (CSV, the old and the 2.0 names) and Cost Explorer's JSON. Pure.

Bedrock bills a model's tokens by usage types like `USE1-Claude3.5Sonnet-input-tokens`; models sold through the
marketplace have a product name instead (`Claude Sonnet 4 (Amazon Bedrock Edition)`). Tax is left out; credits,
refunds and discounts count where they stand. Read after the published data dictionaries, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from spendgate.finops.invoice.line import BadInvoice, Line, Row, amount, day_of, kind_of, model_of

_UNIT = re.compile(r"\b(\d*)\s*([km])\b|thousand|million", re.IGNORECASE)
_EDITION = re.compile(r"\s*\(Amazon Bedrock Edition\)", re.IGNORECASE)


def read(rows: list[tuple[int, Row]], where: str) -> list[Line]:
    """The lines of one file. Raises BadInvoice."""
    out: list[Line] = []
    for number, row in rows:
        if "ResultsByTime" in row:
            out += _explorer(row, where, number)
        else:
            out += _report({_plain(k): v for k, v in row.items()}, where, number)
    return out


def _plain(name: str) -> str:
    """`lineItem/UsageType` → `line_item_usage_type`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.replace("/", "_")).lower().replace("__", "_")


def _report(row: Row, where: str, number: int) -> Iterator[Line]:
    if "line_item_usage_type" not in row:
        raise BadInvoice(where, number, "line_item_usage_type", "is missing", "give a Cost and Usage Report's CSV")
    product = str(row.get("product_product_name") or "")
    code = str(row.get("line_item_product_code") or "")
    if "bedrock" not in f"{product} {code}".lower() or row.get("line_item_line_item_type") == "Tax":
        return
    if str(row.get("line_item_currency_code") or "USD") != "USD":
        raise BadInvoice(where, number, "line_item_currency_code", "is not USD", "only USD can be compared")
    meter = str(row["line_item_usage_type"])
    cost = amount(row.get("line_item_unblended_cost"), where, number, "line_item_unblended_cost")
    used = amount(row.get("line_item_usage_amount"), where, number, "line_item_usage_amount")
    kind = kind_of(meter)
    per = tokens_per_unit(str(row.get("pricing_unit") or ""))
    tokens = int(used * per) if kind and row.get("line_item_line_item_type", "Usage").endswith("Usage") else 0
    name = model_of(_EDITION.sub("", product)) if _EDITION.search(product) else model_of(meter)
    day = day_of(row.get("line_item_usage_start_date"), where, number, "line_item_usage_start_date")
    yield Line(day, name, kind, cost, tokens)


def _explorer(document: Row, where: str, number: int) -> Iterator[Line]:
    if document.get("NextPageToken"):
        raise BadInvoice(where, number, "NextPageToken", "is set: pages are missing", "fetch them and give all")
    for period in document["ResultsByTime"]:
        day = day_of(period["TimePeriod"]["Start"], where, number, "TimePeriod.Start")
        if not period.get("Groups") and period.get("Total"):
            raise BadInvoice(where, number, "Groups", "is empty", "group by USAGE_TYPE and filter by Bedrock")
        for group in period.get("Groups", ()):
            meter = str(group["Keys"][-1])
            money = group["Metrics"]["UnblendedCost"]
            if money.get("Unit", "USD") != "USD":
                raise BadInvoice(where, number, "UnblendedCost.Unit", "is not USD", "only USD can be compared")
            yield Line(
                day, model_of(meter), kind_of(meter), amount(money["Amount"], where, number, "UnblendedCost")
            )


def tokens_per_unit(unit: str) -> int:
    """How many tokens a unit of a meter has: `1K tokens` → 1,000."""
    found = _UNIT.search(unit)
    if found is None:
        return 1
    scale = (found[2] or found[0][0]).lower()
    many = int(found[1]) if found[1] else 1
    return many * (1_000 if scale in ("k", "t") else 1_000_000)
