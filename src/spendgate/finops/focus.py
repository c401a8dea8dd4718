"""A month as a FOCUS 1.2 dataset (FinOps Open Cost and Usage Specification, focus.finops.org): CSV, Parquet. Pure.

One row a day, team, app, model and kind. The team is the sub account; app and model are tags, and the run
where the source knows it (usage logs do). `BilledCost` and
`EffectiveCost` are what the ledger settled (shared out by kind, see `chargeback.RULE`) and add up to it to the
nano-dollar; `ListCost` and `ContractedCost` are tokens x list price, as the specification demands of them, so
they differ from it by tiers, other prices at the time, and rounding. What was settled at its estimate is one
row for the day, in `Requests`. An amount below zero takes an earlier one back: `ChargeClass` is `Correction`.
Money adjusted by hand is a row of its own, `ChargeCategory` `Adjustment`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from spendgate.errors import ConfigurationError
from spendgate.finops.chargeback import ADJUSTMENT, UNEXPLAINED, KindShare, at_day, price_for, share_by_kind
from spendgate.ledger.port import DayCell
from spendgate.money import nano_to_usd
from spendgate.pricing.cost import cost_pico
from spendgate.pricing.table import Price, PriceTable
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription",
    "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountStatus",
    "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost",
    "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency",
    "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId",
    "SubAccountName", "SubAccountType", "Tags",
)  # fmt: skip
PROVIDERS = (
    ("claude", "Anthropic"), ("gemini", "Google"), ("command", "Cohere"), ("mistral", "Mistral AI"),
    ("deepseek", "DeepSeek"), ("llama", "Meta"), ("grok", "xAI"), ("gpt", "OpenAI"), ("chatgpt", "OpenAI"),
    ("text-embedding", "OpenAI"), ("o1", "OpenAI"), ("o3", "OpenAI"), ("o4", "OpenAI"),
)  # fmt: skip
UNKNOWN_PROVIDER = "Unknown"
_TOKENS = frozenset(INPUT_KINDS + OUTPUT_KINDS)


def provider_of(model: str) -> str:
    """Who makes a model, by its name (the ledger keeps no upstream)."""
    name = model.lower()
    return next((provider for part, provider in PROVIDERS if part in name), UNKNOWN_PROVIDER)


def focus_csv(month: str, cells: Iterable[DayCell], prices: PriceTable, account: str) -> str:
    """The dataset of a month (`YYYYMM`); `account` names the billing account."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(focus_rows(month, cells, prices, account))
    return out.getvalue()


def focus_parquet(month: str, cells: Iterable[DayCell], prices: PriceTable, account: str) -> bytes:
    """The dataset as Parquet: amounts are decimals, periods UTC timestamps, tags JSON. Raises
    ConfigurationError without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise ConfigurationError(
            "Parquet needs pyarrow; run: pip install 'spendgate[parquet]', or take -o focus (CSV)"
        ) from e

    def typed(name: str) -> Any:
        if name.endswith(("Cost", "Price", "Quantity")):
            return pa.decimal128(38, 15)  # quarters of a pico-USD, and whole units
        if name.endswith(("Start", "End")):
            return pa.timestamp("ms", tz="UTC")
        return pa.string()

    def value(name: str, text: str) -> Any:
        if not text:
            return None
        if name.endswith(("Cost", "Price", "Quantity")):
            return Decimal(text)
        return datetime.fromisoformat(text) if name.endswith(("Start", "End")) else text

    schema = pa.schema([(name, typed(name)) for name in COLUMNS])
    rows = list(focus_rows(month, cells, prices, account))
    table = pa.Table.from_arrays(
        [pa.array([value(c, row[c]) for row in rows], type=schema.field(c).type) for c in COLUMNS],
        schema=schema.with_metadata({"focus_version": "1.2"}),
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def focus_rows(
    month: str, cells: Iterable[DayCell], prices: PriceTable, account: str
) -> Iterator[dict[str, str]]:
    """One row a charge, null as an empty text."""
    start = datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)
    end = (start + timedelta(days=32)).replace(day=1)
    for cell in cells:
        day = datetime.strptime(cell.day, "%Y%m%d").replace(tzinfo=UTC)
        price = price_for(prices, cell.model, at_day(cell.day))
        maker = provider_of(cell.model)
        team = cell.team or "(unnamed)"
        shares = share_by_kind(cell.cost_nanousd - cell.adjusted_nanousd, cell.tokens, price)
        if cell.adjusted_nanousd:
            shares = (*shares, KindShare(ADJUSTMENT, 0, cell.adjusted_nanousd))
        for share in shares:
            yield {
                "BillingAccountId": account,
                "BillingAccountName": account,
                "BillingAccountType": "Organization",
                "BillingCurrency": "USD",
                "PricingCurrency": "USD",
                "BillingPeriodStart": _instant(start),
                "BillingPeriodEnd": _instant(end),
                "ChargePeriodStart": _instant(day),
                "ChargePeriodEnd": _instant(day + timedelta(days=1)),
                "ChargeCategory": "Usage",
                "ChargeFrequency": "Usage-Based",
                "ChargeDescription": f"{cell.model}: {_meter(share.kind)}",
                "InvoiceIssuerName": maker,
                "ProviderName": maker,
                "PublisherName": maker,
                "PricingCategory": "Standard",
                "ServiceCategory": "AI and Machine Learning",
                "ServiceSubcategory": "Generative AI",
                "ServiceName": "LLM API",
                "SubAccountId": team,
                "SubAccountName": team,
                "SubAccountType": "Team",
                "Tags": _tags(cell),
                **_amounts(cell.model, share, price),
            }


def _amounts(model: str, share: KindShare, price: Price) -> dict[str, str]:
    """Costs, quantities and SKU of one charge."""
    if share.kind == ADJUSTMENT:
        return _adjustment(share)
    billed = nano_to_usd(share.cost_nanousd)
    correction = share.cost_nanousd < 0 or share.tokens < 0
    if share.kind == UNEXPLAINED:
        quantity, unit, unit_price = 1, "Requests", Decimal(billed)
    else:
        quantity, unit = share.tokens, _unit(share.kind)
        unit_price = _list_price(price, share.kind)
    listed = billed if correction else _plain(unit_price * quantity)
    sku = f"{model}/{share.kind}"
    shown = "" if correction and unit_price < 0 else _plain(unit_price)
    return {
        "BilledCost": billed,
        "EffectiveCost": billed,
        "ListCost": listed,
        "ContractedCost": listed,
        "ChargeClass": "Correction" if correction else "",
        "ConsumedQuantity": f"{quantity}.0",  # a decimal, as the specification types it
        "ConsumedUnit": unit,
        "PricingQuantity": f"{quantity}.0",
        "PricingUnit": unit,
        "ListUnitPrice": shown,
        "ContractedUnitPrice": shown,
        "PricingCurrencyEffectiveCost": billed,
        "PricingCurrencyListUnitPrice": shown,
        "PricingCurrencyContractedUnitPrice": shown,
        "SkuId": sku,
        "SkuPriceId": sku,
        "SkuMeter": _meter(share.kind),
        "SkuPriceDetails": "",
        "InvoiceId": "",
        "CommitmentDiscountStatus": "",
    }


def _adjustment(share: KindShare) -> dict[str, str]:
    """Money without a quantity: what can be null is (FOCUS 1.2, ChargeCategory `Adjustment`)."""
    billed = nano_to_usd(share.cost_nanousd)
    costs = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "PricingCurrencyEffectiveCost")
    filled = {
        **dict.fromkeys(costs, billed),
        "ChargeCategory": "Adjustment",
        "ChargeClass": "Correction" if share.cost_nanousd < 0 else "",
        "ChargeFrequency": "One-Time",
        "ChargeDescription": "Adjustment of the ledger",
        "PricingCategory": "",
    }
    nulls = (
        "ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit", "ListUnitPrice",
        "ContractedUnitPrice", "PricingCurrencyListUnitPrice", "PricingCurrencyContractedUnitPrice", "SkuId",
        "SkuPriceId", "SkuMeter", "SkuPriceDetails", "InvoiceId", "CommitmentDiscountStatus",
    )  # fmt: skip
    return dict.fromkeys(nulls, "") | filled


def _list_price(price: Price, kind: str) -> Decimal:
    """USD for one unit at the base tier, exact: derived rates are quarters of a pico-USD."""
    return Decimal(cost_pico(price, {kind: 4})[0]) / 4 / 10**12


def _unit(kind: str) -> str:
    return "Tokens" if kind in _TOKENS else kind.capitalize()


def _meter(kind: str) -> str:
    """`cached_input` → `Cached Input Tokens`."""
    if kind == UNEXPLAINED:
        return "Requests Settled At Their Estimate"
    words = kind.replace("_", " ").title()
    return f"{words} Tokens" if kind in _TOKENS else words


def _tags(cell: DayCell) -> str:
    tags = {"app": cell.app, "model": cell.model} | ({"run": cell.run} if cell.run else {})
    return json.dumps(tags, ensure_ascii=False, sort_keys=True)


def _plain(amount: Decimal) -> str:
    """A decimal without an exponent, and without zeros that say nothing."""
    text = format(amount, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
