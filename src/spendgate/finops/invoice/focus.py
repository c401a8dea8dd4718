"""FOCUS, versions 1.0 to 1.4: any cloud's export in the common form. Pure.

`BilledCost` is compared (what the invoice says), at `ChargePeriodStart`. The meter is `SkuMeter`, the vendor's own
column for it, or the charge's description. 1.4 has `ServiceProviderName` and `HostProviderName` where 1.0 to 1.2 have
`ProviderName` and `PublisherName`. Read after the published specification, November 2026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from spendgate.finops.invoice.line import COMMITMENT, CREDIT, REFUND, TAX, UNKNOWN, USAGE, Line, Row
from spendgate.finops.invoice.names import Meter, read_meter
from spendgate.finops.invoice.source import Source
from spendgate.finops.invoice.units import tokens

NEEDED = frozenset(("billedcost", "chargeperiodstart", "chargecategory"))
_CHARGES = {"purchase": COMMITMENT, "tax": TAX, "credit": CREDIT, "adjustment": REFUND}
_METERS = (
    "skumeter", "x_skumetername", "x_usagetype", "x_skudescription", "chargedescription", "skuid", "resourcename",
)  # fmt: skip
_OURS = re.compile(
    r"openai|foundry|cognitive|bedrock|vertex|gemini|generative|anthropic|claude|model serving|mistral|cohere"
    r"|openrouter|databricks|\bllm\b|inference",
    re.IGNORECASE,
)
_EDITION = re.compile(r"(.+?)\s*\(Amazon Bedrock Edition\)", re.IGNORECASE)
VENDORS = (
    (r"microsoft|azure", "azure"), (r"amazon|aws", "bedrock"), (r"google|gcp", "google"), (r"openai", "openai"),
    (r"anthropic", "anthropic"), (r"openrouter", "openrouter"),
)  # fmt: skip


def column(name: str) -> str:
    """`BilledCost` → `billedcost`, `billed_cost` too."""
    plain = name.strip().lower()
    return plain if plain.startswith("x_") else plain.replace("_", "").replace(" ", "")


def vendor_of(row: Row) -> str:
    """Whose bill the row is on; "" for none that is known."""
    names = ("invoiceissuername", "invoiceissuer", "serviceprovidername", "providername", "hostprovidername")
    for name in names:
        said = str(row.get(name) or "")
        for pattern, vendor in VENDORS:
            if said and re.search(pattern, said, re.IGNORECASE):
                return vendor
    return ""


def lines(row: Row, source: Source) -> Iterator[Line]:
    """What a row bills. Raises BadInvoice, NoLine."""
    day = source.day(row, "chargeperiodstart")
    names = (
        "servicename",
        "servicesubcategory",
        "x_skumetercategory",
        "x_skumetersubcategory",
        "x_servicecode",
    )
    about = " ".join(
        str(row.get(n) or "") for n in (*names, "serviceprovidername", "providername", "publishername")
    )
    services = " ".join(str(row.get(n) or "") for n in names)
    category = str(row.get("servicecategory") or "")
    if not category.startswith("AI") and not _OURS.search(f"{services} {row.get('skumeter') or ''}"):
        return
    meter, said = _meter(row, about)
    sold = _EDITION.search(str(row.get("servicename") or ""))
    if sold:
        said = Meter(said.charge, read_meter(sold[1]).model, said.kind)
    charge = _CHARGES.get(str(row.get("chargecategory") or "").lower(), said.charge)
    if charge == REFUND and str(row.get("chargeclass") or "").lower() != "correction" and said.charge:
        charge = said.charge
    if charge == USAGE and not (said.model and said.kind):
        charge = UNKNOWN
    quantity, unit = row.get("consumedquantity"), str(row.get("consumedunit") or "")
    if quantity in (None, "") or not re.search(r"token|count", unit, re.IGNORECASE):
        quantity, unit = row.get("pricingquantity"), str(row.get("pricingunit") or unit)
    used = source.amount(quantity, "ConsumedQuantity")
    counted = tokens(used, unit, said.kind) if charge == USAGE else 0
    name = said.model if charge == USAGE else meter
    yield Line(day, name, said.kind, _usd(row, source), counted, charge=charge, exact=False)


def _meter(row: Row, about: str) -> tuple[str, Meter]:
    """The text that names the meter: the first that says a model and a kind, else the first there is."""
    details = _object(row.get("skupricedetails"))
    model = str(details.get("ModelId") or details.get("x_ModelId") or details.get("x_model") or "")
    first: tuple[str, Meter] | None = None
    for name in _METERS:
        text = str(row.get(name) or "")
        if not text:
            continue
        said = read_meter(text.split(" - ", 1)[0] if " - Predictions" in text else text, about)
        if model:
            said = Meter(said.charge, model, said.kind)
        if said.charge or (said.model and said.kind):
            return text, said
        first = first or (text, said)
    return first or ("", Meter(USAGE, model, ""))


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _usd(row: Row, source: Source) -> Decimal:
    currency = str(row.get("billingcurrency") or "USD").upper()
    if currency != "USD" and currency not in source.rates:
        for name in ("x_billedcostinusd", "x_costinusd"):
            if row.get(name) not in (None, ""):
                return source.usd(row[name], "USD", name)

    def per_usd() -> Decimal | None:
        rate = row.get("x_billingexchangerate") or row.get("x_currencyconversionrate")
        return source.amount(rate, "x_BillingExchangeRate") or None

    return source.usd(row.get("billedcost"), currency, "BillingCurrency", per_usd)
