"""Amazon Bedrock: Cost and Usage Reports (legacy and 2.0, CSV or Parquet) and Cost Explorer's JSON. Pure.

Bedrock bills a model's tokens by usage types like `USE1-Claude3.5Sonnet-input-tokens` and
`USE1-openai.gpt-oss-120b-mantle-input-tokens-standard`; models sold through the marketplace have a product name instead
(`Claude Sonnet 4 (Amazon Bedrock Edition)`), in CUR 2.0 within the map `product`. Read after the published data
dictionaries, November 2026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from spendgate.finops.invoice.line import COMMITMENT, CREDIT, REFUND, TAX, UNKNOWN, USAGE, Line, Row
from spendgate.finops.invoice.names import charge_of, kind_of, model_of
from spendgate.finops.invoice.source import Source
from spendgate.finops.invoice.units import tokens

_EDITION = re.compile(r"\s*\((?:Amazon )?Bedrock(?: Edition)?\)", re.IGNORECASE)
_CHARGES = (
    (r"Usage$", USAGE), (r"^Tax", TAX), (r"Credit|Discount|Negation", CREDIT), (r"Refund", REFUND),
    (r"Fee|Recurring|Upfront|Reservation", COMMITMENT),
)  # fmt: skip
_MARKETPLACE_UNIT = "1M tokens"
"""What a marketplace's `Units` of tokens are."""


def column(name: str) -> str:
    """`lineItem/UsageType` → `line_item_usage_type`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip().replace("/", "_")).lower().replace("__", "_")


def flatten(row: Row, source: Source) -> Iterator[Row]:
    """Each group of Cost Explorer's answer as a row; a report's row as it is."""
    periods = row.get("results_by_time")
    if periods is None:
        yield row
        return
    if row.get("next_page_token"):
        raise source.bad("NextPageToken", "is set: pages are missing", "fetch them and give all")
    for period in periods:
        day = period["TimePeriod"]["Start"]
        if not period.get("Groups") and period.get("Total"):
            raise source.bad("Groups", "is empty", "group by USAGE_TYPE and filter by Bedrock")
        for group in period.get("Groups", ()):
            keys = [str(k) for k in group["Keys"]]
            money = group["Metrics"]["UnblendedCost"]
            yield {
                "line_item_usage_start_date": day,
                "line_item_usage_type": keys[-1],
                "line_item_product_code": "AmazonBedrock",
                "line_item_unblended_cost": money["Amount"],
                "line_item_currency_code": money.get("Unit"),
                "product_product_name": next((k for k in keys if _EDITION.search(k)), ""),
            }


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills. Raises BadInvoice, NoLine."""
    if "line_item_usage_type" not in row:
        raise source.bad("line_item_usage_type", "is missing", "give a Cost and Usage Report's CSV")
    product = _product(row)
    code = str(row.get("line_item_product_code") or "")
    if "bedrock" not in f"{product} {code} {row.get('product_servicecode', '')}".lower():
        return
    day = source.day(row, "line_item_usage_start_date")
    meter = str(row["line_item_usage_type"] or row.get("line_item_line_item_description") or "")
    cost = source.usd(
        row.get("line_item_unblended_cost"), row.get("line_item_currency_code"), "line_item_unblended_cost"
    )
    used = source.amount(row.get("line_item_usage_amount"), "line_item_usage_amount")
    sold = bool(_EDITION.search(product))
    kind = kind_of(meter)
    name = model_of(_EDITION.sub("", product)) if sold else model_of(meter)
    item = str(row.get("line_item_line_item_type") or "Usage")
    charge = next((c for pattern, c in _CHARGES if re.search(pattern, item)), UNKNOWN)
    if charge == USAGE:
        charge = charge_of(meter)
        if charge == USAGE and not (name and kind):
            charge = UNKNOWN
    unit = str(row.get("pricing_unit") or "")
    if sold and unit.lower() in ("", "units", "unit"):
        unit = _MARKETPLACE_UNIT
    counted = tokens(used, unit, kind) if charge == USAGE else 0
    label = name if charge == USAGE else _label(row, meter, item)
    yield Line(day, label, kind, cost, counted, charge=charge, exact=False)


def _label(row: Row, meter: str, item: str) -> str:
    return str(row.get("line_item_line_item_description") or meter or item)


def _product(row: Row) -> str:
    """The product's name, a column of its own or within the map `product`."""
    found = row.get("product_product_name") or row.get("product_servicename")
    if found:
        return str(found)
    mapped: Any = row.get("product")
    if isinstance(mapped, str) and mapped.startswith("{"):
        try:
            mapped = json.loads(mapped)
        except json.JSONDecodeError:
            mapped = None
    return (
        str(mapped.get("product_name") or mapped.get("ProductName") or "") if isinstance(mapped, dict) else ""
    )
