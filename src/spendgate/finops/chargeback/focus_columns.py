"""The columns of FOCUS's dataset Cost and Usage (focus.finops.org), versions 1.2 and 1.4, as data. Pure.

Names, types, levels and nulls after the published specification, read in November 2026. A column of ours begins with
`x_`, as the specification asks for, and stands behind its own.
"""

from __future__ import annotations

from typing import Literal

from spendgate.values import dataclass

Version = Literal["1.2", "1.4"]
VERSIONS: tuple[Version, ...] = ("1.2", "1.4")
NEWEST: Version = "1.4"
Type = Literal["text", "decimal", "time", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `mandatory`: it must stand in every dataset of 1.4. `nulls`: a charge may have none. `allowed`: its
    only values. `since`, `until`: the first and the last of our two versions that have it. `ours`: do we fill it? One
    that is not depends on what a seller of tokens does not have (commitments, capacity, regions, zones)."""

    name: str
    type: Type = "text"
    mandatory: bool = False
    nulls: bool = True
    allowed: tuple[str, ...] = ()
    since: Version = "1.2"
    until: Version = "1.4"
    ours: bool = True

    def is_in(self, version: Version) -> bool:
        """Does the version have it?"""
        return self.since <= version <= self.until


def _must(name: str, type_: Type = "text", nulls: bool = False, allowed: tuple[str, ...] = ()) -> Column:
    return Column(name, type_, mandatory=True, nulls=nulls, allowed=allowed)


def _not_ours(*names: str, since: Version = "1.2") -> tuple[Column, ...]:
    return tuple(Column(n, since=since, ours=False) for n in names)


CATEGORIES = ("Adjustment", "Credit", "Purchase", "Tax", "Usage")
FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")
PRICING = ("Committed", "Dynamic", "Other", "Standard")
AI = "AI and Machine Learning"

COLUMNS: tuple[Column, ...] = (
    Column("AllocatedMethodDetails", "json", since="1.4"),
    Column("AllocatedMethodId", since="1.4"),
    Column("AllocatedResourceId", since="1.4"),
    Column("AllocatedResourceName", since="1.4"),
    Column("AllocatedTags", "json", since="1.4"),
    *_not_ours("AvailabilityZone"),
    _must("BilledCost", "decimal"),
    _must("BillingAccountId"),
    _must("BillingAccountName", nulls=True),
    Column("BillingAccountType", nulls=False),
    _must("BillingCurrency", allowed=("USD",)),
    _must("BillingPeriodEnd", "time"),
    _must("BillingPeriodStart", "time"),
    *_not_ours("CapacityReservationId", "CapacityReservationStatus"),
    _must("ChargeCategory", allowed=CATEGORIES),
    _must("ChargeClass", nulls=True, allowed=("Correction",)),
    _must("ChargeDescription", nulls=True),
    Column("ChargeFrequency", nulls=False, allowed=FREQUENCIES),
    _must("ChargePeriodEnd", "time"),
    _must("ChargePeriodStart", "time"),
    Column("CommitmentDiscountStatus", until="1.2"),  # its rules refer to it even where there are no commitments
    *_not_ours(
        "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity",
        "CommitmentDiscountType", "CommitmentDiscountUnit",
    ),
    *_not_ours("CommitmentProgramEligibilityDetails", since="1.4"),
    Column("ConsumedQuantity", "decimal"),
    Column("ConsumedUnit"),
    *_not_ours("ContractApplied", since="1.4"),
    _must("ContractedCost", "decimal"),
    Column("ContractedUnitPrice", "decimal"),
    _must("EffectiveCost", "decimal"),
    Column("HostProviderName", mandatory=True, nulls=False, since="1.4"),
    Column("InvoiceDetailId", since="1.4"),
    Column("InvoiceId"),
    _must("InvoiceIssuerName"),
    _must("ListCost", "decimal"),
    Column("ListUnitPrice", "decimal"),
    Column("PricingCategory", allowed=PRICING),
    Column("PricingCurrency", nulls=False, allowed=("USD",)),
    Column("PricingCurrencyContractedUnitPrice", "decimal"),
    Column("PricingCurrencyEffectiveCost", "decimal", nulls=False),
    Column("PricingCurrencyListUnitPrice", "decimal"),
    _must("PricingQuantity", "decimal", nulls=True),
    _must("PricingUnit", nulls=True),
    Column("ProviderName", nulls=False, until="1.2"),
    Column("PublisherName", nulls=False, until="1.2"),
    *_not_ours("RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType"),
    _must("ServiceCategory", allowed=(AI,)),
    _must("ServiceName"),
    Column("ServiceProviderName", mandatory=True, nulls=False, since="1.4"),
    Column("ServiceSubcategory", nulls=False, allowed=("Generative AI",)),
    Column("SkuId"),
    Column("SkuMeter"),
    Column("SkuPriceDetails", "json"),
    Column("SkuPriceId"),
    Column("SubAccountId"),
    Column("SubAccountName"),
    Column("SubAccountType"),
    Column("Tags", "json"),
)  # fmt: skip
OURS: tuple[Column, ...] = (
    Column("x_Requests", "decimal"),
    Column("x_RequestedModel"),
    Column("x_SavedCost", "decimal"),
    Column("x_ServiceTier"),
    Column("x_UserId"),
    Column("x_AdjustmentId"),
    Column("x_AdjustmentReason"),
    Column("x_AdjustedBy"),
    Column("x_CorrectedPeriodStart", "time"),
)
"""Requests and saved money stand once, at the first row of their day, team, app and model."""


def columns(version: Version) -> tuple[Column, ...]:
    """What an export of a version has, in its order."""
    return tuple(c for c in COLUMNS if c.ours and c.is_in(version)) + OURS
