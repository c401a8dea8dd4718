"""The FOCUS export keeps the rules of FOCUS 1.2 and 1.4 (focus.finops.org): its columns by the table in
`focus_columns`, and what holds between them. (1.2 goes before the published validator in the integration tests.)"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from support.focus import CLOUDS, SHARED, charges, month

from spendgate.finops.chargeback.allocation import Allocation
from spendgate.finops.chargeback.focus import Month
from spendgate.finops.chargeback.focus_columns import COLUMNS, VERSIONS, Version, columns
from spendgate.finops.chargeback.focus_files import focus_csv
from spendgate.ledger.accounts import Adjusted, Adjustment, DayCell
from spendgate.ledger.redis.codec import clean
from spendgate.money import nano_to_usd
from spendgate.pricing.load import table
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS

PRICES = table()
names = st.text(max_size=8).map(clean)
cells = st.lists(
    st.builds(
        DayCell,
        team=names,
        day=st.integers(1, 30).map(lambda d: f"202611{d:02d}"),
        app=names,
        model=st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "made-up"]),
        requests=st.integers(1, 10**6),
        cost_nanousd=st.integers(-(10**6), 10**12),
        adjusted_nanousd=st.just(0),
        tokens=st.dictionaries(
            st.sampled_from((*INPUT_KINDS, *OUTPUT_KINDS, "searches")), st.integers(1, 10**9)
        ),
    ),
    max_size=12,
)
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBER = re.compile(r"-?\d+(\.\d+)?")  # NumericFormat: no thousands separator, no symbol


def export(
    given_cells: list[DayCell],
    version: Version = "1.4",
    adjustments: tuple[Adjusted, ...] = (),
    allocations: tuple[Allocation, ...] = (),
) -> list[dict[str, str]]:
    text = focus_csv(Month("202611", given_cells, PRICES, "acme", adjustments, allocations), version)
    assert text.splitlines()[0].split(",") == [c.name for c in columns(version)]
    return list(csv.DictReader(io.StringIO(text)))


def keeps_the_table(row: dict[str, str], version: Version) -> None:
    """Types, nulls and values of every column."""
    for column in columns(version):
        value = row[column.name]
        if not value:
            assert column.nulls, column.name
            continue
        if column.type == "decimal":
            assert NUMBER.fullmatch(value), column.name
        elif column.type == "time":
            assert INSTANT.fullmatch(value), column.name
        elif column.type == "json":
            assert isinstance(json.loads(value), dict), column.name
        assert not column.allowed or value in column.allowed, column.name


def made(usd: str, day: str, booked: str, team: str = "red", name: str = "a1") -> Adjusted:
    nano = int(Decimal(usd) * 10**9)
    adjustment = Adjustment(name, team, nano, "a reason", "kim", "chat", "gpt-4o", day)
    return Adjusted(adjustment, booked, 1, nano)


@settings(deadline=None)
@given(cells)
def test_billed_and_effective_cost_add_up_to_the_ledger(given_cells: list[DayCell]) -> None:
    rows = export(given_cells)
    exact = Decimal(nano_to_usd(sum(c.cost_nanousd for c in given_cells)))
    for column in ("BilledCost", "EffectiveCost"):
        assert sum(Decimal(r[column]) for r in rows) == exact
    tokens = sum(Decimal(r["ConsumedQuantity"]) for r in rows if r["ConsumedUnit"] == "Tokens")
    assert tokens == sum(n for c in given_cells for k, n in c.tokens.items() if k != "searches")


@settings(deadline=None)
@given(cells, st.sampled_from(VERSIONS))
def test_every_row_keeps_the_specifications_rules(given_cells: list[DayCell], version: Version) -> None:
    parents: dict[str, str] = {}
    for row in export(given_cells, version):
        keeps_the_table(row, version)
        assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
            "2026-11-01T00:00:00Z",
            "2026-12-01T00:00:00Z",
        )
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        assert (row["ChargeCategory"], row["ChargeFrequency"]) == ("Usage", "Usage-Based")
        assert parents.setdefault(row["SkuPriceId"], row["SkuId"]) == row["SkuId"]
        assert set(json.loads(row["Tags"])) == {"app", "model"}
        assert all(k.startswith("x_") for k in json.loads(row["SkuPriceDetails"]))
        if row["ChargeClass"] == "Correction":
            assert Decimal(row["BilledCost"]) < 0
            continue
        assert row["ChargeClass"] == ""
        for side in ("List", "Contracted"):
            price, cost = Decimal(row[f"{side}UnitPrice"]), Decimal(row[f"{side}Cost"])
            assert price >= 0
            assert price * Decimal(row["PricingQuantity"]) == cost


def test_both_versions_have_their_mandatory_columns_and_no_removed_ones() -> None:
    new, old = ({c.name for c in columns(v)} for v in ("1.4", "1.2"))
    assert {c.name for c in COLUMNS if c.mandatory} <= new
    assert new - old == {
        "AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName",
        "AllocatedTags", "HostProviderName", "InvoiceDetailId", "ServiceProviderName",
    }  # fmt: skip
    assert old - new == {"ProviderName", "PublisherName", "CommitmentDiscountStatus"}
    names = [c.name for c in columns("1.4")]
    assert [n.startswith("x_") for n in names] == sorted(n.startswith("x_") for n in names)


def test_a_kind_is_a_sku_with_its_list_price() -> None:
    cell = DayCell("red", "20261130", "chat", "gpt-4o", 1, 2_625_000, {"input": 1000, "cached_input": 100})
    plain, cached = export([cell])
    assert (plain["SkuId"], plain["SkuMeter"], plain["ListUnitPrice"]) == (
        "gpt-4o/input",
        "Input Tokens",
        "0.0000025",
    )
    assert (plain["BilledCost"], plain["ListCost"], plain["ConsumedQuantity"]) == (
        "0.0025",
        "0.0025",
        "1000.0",
    )
    assert (cached["BilledCost"], cached["SkuMeter"]) == ("0.000125", "Cached Input Tokens")
    assert (plain["SubAccountId"], json.loads(plain["Tags"])["app"]) == ("red", "chat")
    assert (plain["ChargePeriodEnd"], plain["ServiceProviderName"]) == ("2026-12-01T00:00:00Z", "OpenAI")
    assert json.loads(cached["SkuPriceDetails"]) == {
        "x_ModelDeveloper": "OpenAI", "x_ModelId": "gpt-4o", "x_ServiceTier": "standard", "x_UsageKind": "cached_input",
    }  # fmt: skip
    assert (plain["x_Requests"], cached["x_Requests"]) == ("1", "")


def test_what_was_settled_at_its_estimate_is_one_charge_of_requests() -> None:
    (row,) = export([DayCell("red", "20261103", "chat", "o3", 3, 70, {})])
    assert (row["BilledCost"], row["ListCost"], row["ConsumedUnit"]) == (
        "0.00000007",
        "0.00000007",
        "Requests",
    )


def test_parties_are_the_seller_the_maker_and_who_bills() -> None:
    def parties_of(model: str, provider: str = "", version: Version = "1.4") -> dict[str, str]:
        (row,) = export(
            [DayCell("red", "20261103", "a", model, 1, 5, {"input": 9}, provider=provider)], version
        )
        return row

    claude = parties_of("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert claude["ServiceProviderName"] == claude["InvoiceIssuerName"] == "Amazon Web Services"
    assert (claude["HostProviderName"], claude["ServiceName"]) == ("Amazon Web Services", "Amazon Bedrock")
    old = parties_of("azure/gpt-5.6-sol", version="1.2")
    assert (old["ProviderName"], old["PublisherName"], old["InvoiceIssuerName"]) == (
        "Microsoft", "OpenAI", "Microsoft",
    )  # fmt: skip
    assert parties_of("gpt-4o", "azure")["InvoiceIssuerName"] == "Microsoft"  # what the log says goes first
    assert parties_of("amazon.nova-pro-v1:0", version="1.2")["PublisherName"] == "Amazon"
    assert parties_of("house-model")["ServiceProviderName"] == "Unknown"


def test_an_adjustment_in_its_own_month_is_no_correction_and_one_of_an_earlier_month_is() -> None:
    cells = [
        DayCell(
            "red", "20261103", "chat", "gpt-4o", 1, 7_500_000_000, {"input": 1000}, adjusted_nanousd=5 * 10**9
        )
    ]
    refund, late = made("-0.5", "", "20261103", name="r"), made("5.5", "20261017", "20261103", name="oct")
    usage, one, two = export(cells, adjustments=(refund, late, made("9", "", "20261201", name="next")))
    assert (usage["ChargeCategory"], usage["BilledCost"]) == ("Usage", "2.50")
    assert (one["ChargeCategory"], one["BilledCost"], one["ChargeClass"]) == ("Adjustment", "-0.50", "")
    assert (two["BilledCost"], two["ChargeClass"], two["ChargeFrequency"]) == (
        "5.50",
        "Correction",
        "One-Time",
    )
    assert (two["x_AdjustmentId"], two["x_AdjustmentReason"], two["x_AdjustedBy"]) == (
        "oct",
        "a reason",
        "kim",
    )
    assert two["ChargeDescription"] == "a reason (oct)"
    assert two["x_CorrectedPeriodStart"] == "2026-10-17T00:00:00Z"
    assert {two[c] for c in ("ConsumedQuantity", "PricingQuantity", "SkuId", "ListUnitPrice")} == {""}
    for row in (one, two):
        keeps_the_table(row, "1.4")


def test_adjustments_that_cancel_out_are_both_there() -> None:
    both = (made("2", "", "20261103", name="on"), made("-2", "", "20261103", name="off"))
    assert [r["BilledCost"] for r in export([], adjustments=both)] == ["2.00", "-2.00"]


def test_adjusted_money_whose_audit_is_gone_is_still_a_charge() -> None:
    (row,) = export(
        [DayCell("red", "20261103", "chat", "gpt-4o", 0, 5, {}, adjusted_nanousd=5)],
        adjustments=(made("1", "", "20261103"),),
    )
    assert (row["BilledCost"], row["ChargeDescription"]) == ("0.000000005", "Adjustment of the ledger")


@settings(deadline=None)
@given(cells, st.dictionaries(st.sampled_from(["blue", "green", "grey"]), st.integers(1, 10**12), min_size=1))
def test_allocated_charges_add_up_to_their_origin_and_ratios_to_one(
    given_cells: list[DayCell], weights: dict[str, int]
) -> None:
    given_cells = [replace(c, team="platform") for c in given_cells]
    rows = export(given_cells, allocations=(Allocation("platform", "weights", weights),))
    whole = export(given_cells)
    for column in ("BilledCost", "EffectiveCost", "ConsumedQuantity", "PricingQuantity", "x_Requests"):
        assert sum(Decimal(r[column] or 0) for r in rows) == sum(Decimal(r[column] or 0) for r in whole), (
            column
        )
    assert {r["SubAccountId"] for r in rows} <= {"platform"}
    by_origin: dict[tuple[str, ...], Decimal] = {}
    for row in rows:
        keeps_the_table(row, "1.4")
        assert (
            row["AllocatedResourceId"] in weights and row["AllocatedMethodId"] == "spendgate-shared-weights"
        )
        (element,) = json.loads(row["AllocatedMethodDetails"], parse_float=Decimal)["Elements"]
        key = row["ChargePeriodStart"], row["Tags"], row["SkuPriceId"]
        by_origin[key] = by_origin.get(key, Decimal(0)) + Decimal(element["AllocatedRatio"])
    assert all(total == int(total) for total in by_origin.values())


def test_a_month_of_three_clouds_with_corrections_refunds_and_shared_cost_keeps_the_rules_of_1_4() -> None:
    weights = {"payments": 2, "search": 1}
    of = month((Allocation(SHARED, "weights", weights),))
    rows = list(csv.DictReader(io.StringIO(focus_csv(of, "1.4"))))
    ids = set()
    for row in rows:
        keeps_the_table(row, "1.4")
        assert (
            row["BillingPeriodStart"]
            <= row["ChargePeriodStart"]
            < row["ChargePeriodEnd"]
            <= row["BillingPeriodEnd"]
        )
        is_correction = row["ChargeClass"] == "Correction"
        assert (row["ChargeCategory"] == "Usage") == bool(row["SkuId"])
        if row["ChargeCategory"] == "Usage" and not is_correction:
            quantity = Decimal(row["PricingQuantity"])
            assert Decimal(row["ListUnitPrice"]) * quantity == Decimal(row["ListCost"])
        if row["AllocatedResourceId"]:
            assert row["SubAccountId"] == SHARED and row["AllocatedMethodId"] == "spendgate-shared-weights"
            assert set(json.loads(row["AllocatedMethodDetails"])["Elements"][0]) == {
                "AllocatedRatio", "UsageQuantity", "UsageUnit",
            }  # fmt: skip
        assert (row["SubAccountId"] == SHARED) == bool(row["AllocatedResourceId"])
        ids.add((row["x_AdjustmentId"], row["ChargeClass"], row["x_CorrectedPeriodStart"]))
    assert {("refund", "", ""), ("october", "Correction", "2026-10-17T00:00:00Z")} <= ids
    for column in ("BilledCost", "EffectiveCost"):
        assert sum(Decimal(r[column]) for r in rows) == Decimal(
            nano_to_usd(sum(c.cost_nanousd for c in charges()))
        )
    issuers = {m: {r["InvoiceIssuerName"] for r in rows if r["SkuId"].startswith(m + "/")} for m in CLOUDS}
    assert issuers == {model: {issuer} for model, issuer in CLOUDS.items()}
    assert all(r["ServiceProviderName"] and r["HostProviderName"] for r in rows)


def test_what_a_usage_log_knows_more_stands_in_columns_of_ours() -> None:
    cell = DayCell(
        "red", "20261103", "a", "gpt-4o-mini", 3, 5, {"input": 9}, saved_nanousd=7, provider="azure", asked="gpt-4o",
        tier="priority", user="kim",
    )  # fmt: skip
    (row,) = export([cell])
    assert (row["x_Requests"], row["x_SavedCost"], row["x_RequestedModel"]) == ("3", "0.000000007", "gpt-4o")
    assert (row["x_ServiceTier"], row["x_UserId"]) == ("priority", "kim")
    assert row["SkuPriceId"] == "azure/gpt-4o-mini/input/priority"


def test_requests_that_cost_nothing_are_not_lost() -> None:
    (row,) = export([DayCell("red", "20261103", "a", "gpt-4o", 4, 0, {})])
    assert (row["BilledCost"], row["x_Requests"], row["ConsumedUnit"]) == ("0.00", "4", "Requests")
