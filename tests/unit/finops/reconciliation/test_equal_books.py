"""A bill equal to the books has no drift, whichever vendor wrote it and in whichever of its forms."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.billing import PRICES

from spendgate.finops.backfill import from_usage
from spendgate.finops.chargeback.chargeback import at_day, price_for
from spendgate.finops.invoice.mapped import ColumnMap
from spendgate.finops.invoice.registry import read_files
from spendgate.finops.reconciliation.reconcile import reconcile
from spendgate.ledger.accounts import DayCell
from spendgate.money import nano_to_usd
from spendgate.pricing.cost import cost_nanousd

Charge = tuple[str, str, str, str, int]
"""Day (`YYYY-MM-DD`), meter, kind, USD, tokens."""


def uses(*models: str) -> list[DayCell]:
    """Six days of each model, priced by our own table."""
    out = []
    for n, model in enumerate(models, 1):
        for day in range(3, 9):
            tokens = {
                "input": 41_000 * n + 700 * day,
                "cached_input": 9_000 + 130 * day,
                "output": 3_100 + 17 * day,
            }
            cost = cost_nanousd(
                price_for(PRICES, model, at_day(f"202610{day:02d}")), tokens, PRICES.stand_ins
            )
            out.append(DayCell("red", f"202610{day:02d}", "chat", model, 4, cost, tokens))
    return out


def charges(cells: list[DayCell], meters: dict[str, dict[str, str]]) -> list[Charge]:
    """Each kind of each cell as a line by the vendor's meter; the last kind of a cell takes what rounding left."""
    out: list[Charge] = []
    for cell in cells:
        price = price_for(PRICES, cell.model, at_day(cell.day))
        left = cell.cost_nanousd
        for i, (kind, n) in enumerate(cell.tokens.items()):
            nano = left if i == len(cell.tokens) - 1 else cost_nanousd(price, {kind: n}, PRICES.stand_ins)
            left -= nano
            day = f"{cell.day[:4]}-{cell.day[4:6]}-{cell.day[6:]}"
            out.append((day, meters[cell.model][kind], kind, nano_to_usd(nano), n))
    return out


def named(pattern: str, **words: str) -> dict[str, str]:
    return {kind: pattern.format(word) for kind, word in words.items()}


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def openai(path: Path, of: list[Charge]) -> Path:
    results = [
        {"start_time": f"{day}T00:00:00Z", "amount": {"value": usd, "currency": "usd"}, "line_item": meter,
         "quantity": n}
        for day, meter, _, usd, n in of
    ]  # fmt: skip
    path.write_text("".join(json.dumps(r) + "\n" for r in results))
    return path


def anthropic(path: Path, of: list[Charge]) -> Path:
    return table(
        path,
        [
            {"usage_date_utc": day, "model": meter.split("|")[0], "token_type": meter.split("|")[1], "cost_usd": usd,
             "cost_type": "token"}
            for day, meter, _, usd, _ in of
        ],
    )  # fmt: skip


def azure(path: Path, of: list[Charge]) -> Path:
    return table(
        path,
        [
            {"date": f"{day[5:7]}/{day[8:]}/{day[:4]}", "meterName": meter, "meterCategory": "Foundry Models",
             "meterSubCategory": "Azure OpenAI GPT5", "consumedService": "Microsoft.CognitiveServices",
             "quantity": Decimal(n) / 1_000_000, "unitOfMeasure": "1M", "chargeType": "Usage", "billingCurrency": "EUR",
             "costInBillingCurrency": "9", "costInUsd": usd}
            for day, meter, _, usd, n in of
        ],
    )  # fmt: skip


def bedrock(path: Path, of: list[Charge]) -> Path:
    return table(
        path,
        [
            {"identity/LineItemId": f"i{i}", "lineItem/LineItemType": "Usage",
             "lineItem/UsageStartDate": f"{day}T00:00:00Z", "lineItem/ProductCode": "AmazonBedrock",
             "lineItem/UsageType": meter, "lineItem/UsageAmount": Decimal(n) / 1000,
             "lineItem/CurrencyCode": "USD", "lineItem/UnblendedCost": usd, "product/ProductName": "Amazon Bedrock",
             "pricing/unit": "1K tokens"}
            for i, (day, meter, _, usd, n) in enumerate(of)
        ],
    )  # fmt: skip


def google(path: Path, of: list[Charge]) -> Path:
    rows = [
        {"service": {"description": "Vertex AI"}, "sku": {"description": meter},
         "usage_start_time": f"{day} 07:00:00 UTC",
         "cost": str(Decimal(usd) * 4 / 5), "currency": "EUR", "currency_conversion_rate": "0.8",
         "usage": {"amount": str(n), "unit": "count"}, "credits": [], "cost_type": "regular"}
        for day, meter, _, usd, n in of
    ]  # fmt: skip
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def focus(path: Path, of: list[Charge]) -> Path:
    return table(
        path,
        [
            {"BilledCost": usd, "BillingCurrency": "USD", "ChargeCategory": "Usage",
             "ChargePeriodStart": f"{day}T00:00:00Z", "ChargeDescription": meter, "ConsumedQuantity": n,
             "ConsumedUnit": "Tokens", "InvoiceIssuerName": "Microsoft",
             "ServiceProviderName": "Microsoft", "HostProviderName": "Microsoft", "ServiceName": "Azure OpenAI",
             "ServiceCategory": "AI and Machine Learning", "SkuMeter": meter}
            for day, meter, _, usd, n in of
        ],
    )  # fmt: skip


AZURE = {
    "gpt-5.4-mini": named("5.4 mini {} DZ 1M Tokens", input="Inp", cached_input="cd inp", output="opt"),
    "gpt-4.1": named("gpt 4.1 {} glbl Tokens", input="Inp", cached_input="cached Inp", output="Outp"),
}


@pytest.mark.parametrize(
    ("provider", "write", "meters"),
    [
        ("openai", openai, {
            "gpt-5.4": named("gpt-5.4-2026-03-05, {}", input="input", cached_input="cached input", output="output"),
            "o3": named("o3-2025-04-16, {}", input="input", cached_input="cached input", output="output"),
        }),
        ("anthropic", anthropic, {
            "claude-opus-4-5": named("Claude Opus 4.5|{}", input="input_no_cache", cached_input="input_cache_read",
                                     output="output"),
            "claude-haiku-4-5": named("Claude Haiku 4.5|{}", input="input_no_cache", cached_input="input_cache_read",
                                      output="output"),
        }),
        ("azure", azure, AZURE),
        ("azure", focus, AZURE),
        ("bedrock", bedrock, {
            "amazon.nova-pro-v1:0": named("USW2-NovaPro-{}", input="input-tokens", output="output-tokens",
                                          cached_input="cache-read-input-token-count"),
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0": named(
                "USE1-Claude4.5Sonnet-{}-cross-region-global", input="input-tokens", output="output-tokens",
                cached_input="cache-read-input-token-count"),
        }),
        ("google", google, {
            "gemini-2.5-pro": named("Gemini 2.5 Pro {} - Predictions", input="Text Input", output="Text Output",
                                    cached_input="Text Input Caching"),
            "gemini-2.5-flash": named("Generate content {} gemini 2.5 flash text", input="input token count",
                                      output="output token count", cached_input="cached input token count"),
        }),
    ],
    ids=["openai", "anthropic", "azure", "focus", "bedrock", "google"],
)  # fmt: skip
def test_a_bill_equal_to_the_books_has_no_drift_and_no_cause(
    provider: str,
    write: Callable[[Path, list[Charge]], Path],
    meters: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    cells = uses(*meters)
    read = read_files(provider, [write(tmp_path / "bill", charges(cells, meters))], ColumnMap())
    found = reconcile(provider, "202610", cells, read.lines, PRICES, quantum=read.quantum)
    assert {m.model for m in found.models} == set(meters)
    assert [(m.drift_nanousd, m.causes, m.notes) for m in found.models] == [(0, {}, ())] * len(meters)
    assert found.metered_nanousd == sum(c.cost_nanousd for c in cells) > 0
    if provider != "anthropic":  # its cost report has no tokens
        assert from_usage(read.lines, cells, PRICES, ("20261001", "20261031"), "nobody").targets() == {}
