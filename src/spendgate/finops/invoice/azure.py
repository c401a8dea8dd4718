"""Azure OpenAI and Foundry: a cost export of Cost Management (EA and MCA, the names of 2019 to now). Pure.

Quantities come in the meter's unit (1K, 1M). An MCA export has the cost in USD beside the billing currency; an EA
export has not. Dates are month first (`10/03/2026`) unless others of the file prove another order. Read after the
published column reference and vendors' price lists, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from spendgate.finops.invoice.line import COMMITMENT, REFUND, TAX, UNKNOWN, USAGE, Line, Row
from spendgate.finops.invoice.names import read_meter
from spendgate.finops.invoice.source import Source
from spendgate.finops.invoice.units import tokens

_OURS = re.compile(r"openai|cognitive ?services|foundry|azure ai\b|machinelearningservices", re.IGNORECASE)
_SOLD = re.compile(r"\b(?:claude|gpt|grok|llama|mistral|cohere|deepseek|kimi|phi)\b", re.IGNORECASE)
_CHARGES = {
    "purchase": COMMITMENT, "unusedreservation": COMMITMENT, "unusedsavingsplan": COMMITMENT, "refund": REFUND,
    "tax": TAX, "roundingadjustment": REFUND,
}  # fmt: skip


def column(name: str) -> str:
    """`Meter Name`, `MeterName`, `meterName` → `metername`."""
    return name.strip().lower().replace(" ", "").replace("_", "")


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills. Raises BadInvoice, NoLine."""
    if "metername" not in row and "meter" not in row:
        raise source.bad("meterName", "is missing", "give a cost export with all its columns")
    day = source.day(row, "date", "usagedate", "usagedatetime")
    meter = str(row.get("metername") or row.get("meter") or row.get("productname") or "")
    about = (
        f"{row.get('metercategory', '')} {row.get('metersubcategory', '')} {row.get('consumedservice', '')}"
    )
    sold = f"{row.get('publishername', '')} {row.get('productname', '')} {meter}"
    marketplace = str(row.get("publishertype") or "").lower() == "marketplace"
    if not _OURS.search(about) and not (marketplace and _SOLD.search(sold)):
        return
    cost = _usd(row, source)
    said = read_meter(meter, f"{about} {sold}")
    charge = _CHARGES.get(str(row.get("chargetype") or "").lower(), said.charge)
    used = source.amount(row.get("quantity") or row.get("usagequantity"), "quantity")
    unit = str(row.get("unitofmeasure") or "")
    if charge == USAGE and not (said.model and said.kind):
        charge = UNKNOWN
    name = said.model if charge == USAGE else meter
    yield Line(day, name, said.kind, cost, tokens(used, unit, said.kind), charge=charge, exact=False)


def _usd(row: Row, source: Source) -> Decimal:
    if row.get("costinusd") not in (None, ""):
        return source.usd(row["costinusd"], "USD", "costInUsd")
    if row.get("pricingcurrency") == "USD" and row.get("costinpricingcurrency") not in (None, ""):
        return source.usd(row["costinpricingcurrency"], "USD", "costInPricingCurrency")
    names = ("costinbillingcurrency", "pretaxcost", "cost", "extendedcost")
    name = next((n for n in names if row.get(n) not in (None, "")), "")
    if not name:
        raise source.bad("costInBillingCurrency", "is missing", "give an export of actual cost")
    currency = row.get("billingcurrency") or row.get("billingcurrencycode") or row.get("currency")

    def per_usd() -> Decimal | None:
        if str(row.get("pricingcurrency") or "").upper() != "USD":
            return None
        return source.amount(row.get("exchangeratepricingtobilling"), "exchangeRatePricingToBilling") or None

    return source.usd(row[name], currency, "billingCurrency", per_usd)
