"""A month as a FOCUS dataset (FinOps Open Cost and Usage Specification, focus.finops.org), versions 1.2 and 1.4: its
rows. Pure; `focus_files` writes them.

One row a day, team, app, model and kind; from usage logs also by run, user, service tier, provider and model asked
for. The team is the sub account; app, model, run, tags and the team's groups are tags. `BilledCost` is what the ledger
settled (shared out by kind, see `chargeback.RULE`) and adds up to it to the nano-dollar; `EffectiveCost` is the part of
it that the provider bills: without a markup. `ListCost` and `ContractedCost` are tokens x the price before and after
negotiated discounts, as the specification demands of them, so they differ from it by context tiers, other prices at the
time, and rounding. Fees by the request, and what was settled at its estimate, are one row for the day, in `Requests`.

Money adjusted by hand is a row an adjustment, `ChargeCategory` `Adjustment`, with its reason and id. `ChargeClass` is
`Correction` where a row corrects a month that was closed, or over, before: an adjustment of a day in an earlier month,
and the usage taken back when a hold that expired there came to its end.

Shared cost follows the specification's split cost allocation: each row of a shared team stands once for each team
that shares it, with its part; the receiving team is the allocated resource, all else is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from spendgate.finops.chargeback.allocation import Allocation
from spendgate.finops.chargeback.chargeback import UNEXPLAINED, KindShare, price_for, share_by_kind
from spendgate.finops.chargeback.chargeback import share as share_out
from spendgate.finops.chargeback.focus_columns import AI
from spendgate.finops.chargeback.groups import Groups
from spendgate.finops.chargeback.parties import UNKNOWN, parties, seller
from spendgate.ledger.accounts import Adjusted, DayCell
from spendgate.money import nano_to_usd
from spendgate.pricing.cost import cost_pico
from spendgate.pricing.table import Price, PriceTable
from spendgate.pricing.terms import Terms
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS
from spendgate.values import dataclass

NOT_APPLICABLE = "Not Applicable"
"""The specification's word for the host of a charge that runs nowhere."""
_TOKENS = frozenset(INPUT_KINDS + OUTPUT_KINDS)
_NO_MODEL = frozenset(("", "(none)", "(all)"))
_NOON_S = 43_200
_UNITS = {"spend": "USD", "evenly": "Teams", "weights": "Weight"}
RATIO_WHOLE = 10**12


@dataclass(frozen=True, slots=True)
class Month:
    """What a dataset is made of. `month` is `YYYYMM`, `account` names the billing account; `adjustments` are the
    audit of the teams (whatever month they were booked in), `allocations` say who shares whose cost, `groups` which
    teams are in which group."""

    month: str
    cells: Sequence[DayCell]
    prices: PriceTable
    account: str
    adjustments: Sequence[Adjusted] = ()
    allocations: Sequence[Allocation] = ()
    groups: Groups = field(default_factory=Groups)


@dataclass(frozen=True, slots=True)
class _Charge:
    """One charge before it is written: its cell, kind and amounts."""

    cell: DayCell
    share: KindShare
    first: bool = False
    """Does it stand for its cell's requests and savings?"""
    made: Adjusted | None = None
    """The adjustment that it is; with `is_adjustment` and None: money of the cell whose audit is gone."""
    is_adjustment: bool = False
    whole: KindShare | None = None
    """Of a part: the charge that was split, and `millionths` of it."""
    millionths: int = 1_000_000
    markup_nanousd: int = 0
    """The part of it that the provider does not bill."""


def focus_rows(of: Month) -> Iterator[dict[str, str]]:
    """One row a charge with the columns of all versions, null as an empty text."""
    shared = {a.team: a for a in of.allocations if a.weights}
    for charge in _charges(of):
        allocation = shared.get(charge.cell.team)
        if allocation is None:
            yield _row(of, charge)
        else:
            yield from _allocated(of, charge, allocation)


def _charges(of: Month) -> Iterator[_Charge]:
    known = _listed(of)
    for cell in of.cells:
        shares = _shares(cell, of.prices)
        if not shares and cell.requests:
            shares = (KindShare(UNEXPLAINED, 0, 0),)  # it cost nothing, and was there
        markups = _markups(cell, shares)
        for i, share in enumerate(shares):
            yield _Charge(cell, share, first=i == 0, markup_nanousd=markups[i])
        if cell.adjusted_nanousd and (cell.team, cell.day) not in known:
            yield _Charge(cell, KindShare("", 0, cell.adjusted_nanousd), is_adjustment=True)
    for made in known.values():
        for one in made:
            a = one.adjustment
            cell = DayCell(a.team, one.booked_day, a.app, a.model, 0, a.cost_nanousd, {})
            yield _Charge(cell, KindShare("", 0, a.cost_nanousd), made=one, is_adjustment=True)


def _markups(cell: DayCell, shares: Sequence[KindShare]) -> list[int]:
    """A cell's markup by kind, in proportion to what each cost."""
    costs = [abs(s.cost_nanousd) for s in shares]
    return share_out(cell.markup_nanousd, costs) if cell.markup_nanousd and any(costs) else [0] * len(costs)


def _shares(cell: DayCell, prices: PriceTable) -> tuple[KindShare, ...]:
    """What each kind cost: as the source knows it of each exchange, else by the rule of the chargeback."""
    cost = cell.cost_nanousd - cell.adjusted_nanousd
    if cell.kind_costs and sum(cell.kind_costs.values()) == cost:
        kinds = dict.fromkeys(
            (*(k for k, n in cell.tokens.items() if n and k != UNEXPLAINED), *cell.kind_costs)
        )
        return tuple(KindShare(k, cell.tokens.get(k, 0), cell.kind_costs.get(k, 0)) for k in kinds)
    terms = Terms(provider=cell.provider, tier=cell.tier, at_ms=_noon_ms(cell.day))
    return share_by_kind(cost, cell.tokens, price_for(prices, cell.model, terms), cell.requests)


def _listed(of: Month) -> dict[tuple[str, str], list[Adjusted]]:
    """The month's adjustments by team and day, where they are all of what the cells have adjusted there. (An
    adjustment with usage counts as usage, unless it stands beside the counters. The audit forgets after 400 days.)"""
    sums: dict[tuple[str, str], int] = {}
    for cell in of.cells:
        key = cell.team, cell.day
        sums[key] = sums.get(key, 0) + cell.adjusted_nanousd
    made: dict[tuple[str, str], list[Adjusted]] = {}
    for one in of.adjustments:
        a = one.adjustment
        alone = a.is_beside or not any(a.usage.values())
        if one.booked_day.startswith(of.month) and a.cost_nanousd and alone:
            made.setdefault((a.team, one.booked_day), []).append(one)
    return {
        key: some
        for key, some in made.items()
        if sum(x.adjustment.cost_nanousd for x in some) == sums.get(key, 0)
    }


def _row(of: Month, charge: _Charge) -> dict[str, str]:
    cell = charge.cell
    start = datetime(int(of.month[:4]), int(of.month[4:]), 1, tzinfo=UTC)
    day = datetime.strptime(cell.day, "%Y%m%d").replace(tzinfo=UTC)
    team = cell.team or "(unnamed)"
    row = {
        "BillingAccountId": of.account,
        "BillingAccountName": of.account,
        "BillingAccountType": "Organization",
        "BillingCurrency": "USD",
        "PricingCurrency": "USD",
        "BillingPeriodStart": _instant(start),
        "BillingPeriodEnd": _instant((start + timedelta(days=32)).replace(day=1)),
        "ChargePeriodStart": _instant(day),
        "ChargePeriodEnd": _instant(day + timedelta(days=1)),
        "ServiceCategory": AI,
        "ServiceSubcategory": "Generative AI",
        "SubAccountId": team,
        "SubAccountName": team,
        "SubAccountType": "Team",
        "Tags": _tags(cell, of.groups),
        **_parties(of, charge),
        "x_Requests": str(cell.requests) if charge.first else "",
        "x_SavedCost": nano_to_usd(cell.saved_nanousd) if charge.first else "",
        "x_RequestedModel": cell.asked,
        "x_ServiceTier": cell.tier,
        "x_UserId": cell.user,
    }
    return row | (_adjustment(charge) if charge.is_adjustment else _usage(of, charge))


def _parties(of: Month, charge: _Charge) -> dict[str, str]:
    cell = charge.cell
    if cell.model in _NO_MODEL:
        names, host = (UNKNOWN, "LLM API", UNKNOWN, UNKNOWN), NOT_APPLICABLE
    else:
        p = parties(cell.model, of.prices, cell.provider)
        names, host = (p.service, p.service_name, p.issuer, p.maker), p.host
    return {
        "ServiceProviderName": names[0],
        "ProviderName": names[0],
        "ServiceName": names[1],
        "InvoiceIssuerName": names[2],
        "PublisherName": names[3],
        "HostProviderName": host,
    }


def _usage(of: Month, charge: _Charge) -> dict[str, str]:
    """Costs, quantities and SKU of what was used."""
    cell, share = charge.cell, charge.share
    billed = nano_to_usd(share.cost_nanousd)
    correction = share.cost_nanousd < 0 or share.tokens < 0
    provider = seller(cell.model, of.prices, cell.provider)
    effective = nano_to_usd(share.cost_nanousd - charge.markup_nanousd)
    if share.kind == UNEXPLAINED:
        quantity, unit = Decimal(charge.millionths) / 10**6, "Requests"
        unit_price = contracted_price = Decimal(nano_to_usd((charge.whole or share).cost_nanousd))
    else:
        quantity, unit = Decimal(share.tokens), _unit(share.kind)
        terms = Terms(provider=cell.provider, tier=cell.tier, at_ms=_noon_ms(cell.day))
        price = price_for(of.prices, cell.model, terms)
        unit_price = _list_price(price, price.before_discounts, share.kind)
        contracted_price = _list_price(price, price.before_markups, share.kind)
    listed = billed if correction else _plain(unit_price * quantity)
    contracted = billed if correction else _plain(contracted_price * quantity)
    shown, agreed = ("" if correction and p < 0 else _plain(p) for p in (unit_price, contracted_price))
    sku = f"{cell.model}/{share.kind}"
    maker = parties(cell.model, of.prices, cell.provider).maker
    details = {
        "x_ModelDeveloper": maker, "x_ModelId": cell.model, "x_ServiceTier": cell.tier or "standard",
        "x_UsageKind": share.kind,
    }  # fmt: skip
    return {
        **_costs(billed, effective, listed, contracted),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"{cell.model}: {_meter(share.kind)}",
        "ChargeClass": "Correction" if correction else "",
        "PricingCategory": "Standard",
        "ConsumedQuantity": _quantity(quantity),
        "ConsumedUnit": unit,
        "PricingQuantity": _quantity(quantity),
        "PricingUnit": unit,
        "ListUnitPrice": shown,
        "ContractedUnitPrice": agreed,
        "PricingCurrencyListUnitPrice": shown,
        "PricingCurrencyContractedUnitPrice": agreed,
        "SkuId": sku,
        "SkuPriceId": "/".join(filter(None, (provider, sku, cell.tier))),
        "SkuMeter": _meter(share.kind),
        "SkuPriceDetails": json.dumps(details, ensure_ascii=False),
    }


def _adjustment(charge: _Charge) -> dict[str, str]:
    """Money without a quantity: what can be null is (ChargeCategory `Adjustment`)."""
    billed = nano_to_usd(charge.share.cost_nanousd)
    row = {
        **_costs(billed, billed, billed, billed),
        "ChargeCategory": "Adjustment",
        "ChargeFrequency": "One-Time",
        "ChargeDescription": "Adjustment of the ledger",
    }
    if charge.made is None:
        return row
    a = charge.made.adjustment
    corrects = bool(a.day) and a.day[:6] < charge.made.booked_day[:6]
    row |= {
        "ChargeDescription": f"{a.reason} ({a.adjustment_id})",
        "ChargeClass": "Correction" if corrects else "",
        "x_AdjustmentId": a.adjustment_id,
        "x_AdjustmentReason": a.reason,
        "x_AdjustedBy": a.by,
    }
    if corrects:
        row["x_CorrectedPeriodStart"] = _instant(datetime.strptime(a.day, "%Y%m%d").replace(tzinfo=UTC))
    return row


def _costs(billed: str, effective: str, listed: str, contracted: str) -> dict[str, str]:
    return {
        "BilledCost": billed,
        "EffectiveCost": effective,
        "ListCost": listed,
        "ContractedCost": contracted,
        "PricingCurrencyEffectiveCost": effective,
    }


def _allocated(of: Month, charge: _Charge, allocation: Allocation) -> Iterator[dict[str, str]]:
    """A charge of a shared team, once for each team that shares it: amounts and counts in whole units by the largest
    remainder, so that they add up to the charge."""
    cell, kind = charge.cell, charge.share
    parts = zip(
        allocation.teams, allocation.parts(kind.cost_nanousd), allocation.parts(kind.tokens),
        allocation.parts(cell.requests), allocation.parts(cell.saved_nanousd), allocation.parts(RATIO_WHOLE),
        allocation.parts(10**6), allocation.parts(charge.markup_nanousd), strict=True,
    )  # fmt: skip
    for team, cost, tokens, requests, saved, ratio, millionths, markup in parts:
        if not ratio:
            continue
        part = replace(
            charge,
            cell=replace(cell, requests=requests, saved_nanousd=saved),
            share=replace(kind, cost_nanousd=cost, tokens=tokens),
            whole=kind,
            millionths=millionths,
            markup_nanousd=markup,
        )
        weight = allocation.weights[team]
        measure: dict[str, Any] = {
            "AllocatedRatio": ratio / RATIO_WHOLE,
            "UsageUnit": _UNITS[allocation.split],
            "UsageQuantity": float(nano_to_usd(weight)) if allocation.split == "spend" else weight,
        }
        yield _row(of, part) | {
            "AllocatedMethodId": f"spendgate-shared-{allocation.split}",
            "AllocatedMethodDetails": json.dumps({"Elements": [measure]}),
            "AllocatedResourceId": team,
            "AllocatedResourceName": team,
        }


def _list_price(price: Price, multiplier: tuple[int, int] | None, kind: str) -> Decimal:
    """USD for one unit at the base tier, exact: derived rates are quarters of a pico-USD. `multiplier`: the list's, or
    that of what was agreed, where discounts or markups make the price's own another."""
    price = price if multiplier is None else replace(price, multiplier=multiplier)
    return Decimal(cost_pico(price, {kind: 4})[0]) / 4 / 10**12


def _unit(kind: str) -> str:
    return "Tokens" if kind in _TOKENS else kind.capitalize()


def _meter(kind: str) -> str:
    """`cached_input` → `Cached Input Tokens`."""
    if kind == UNEXPLAINED:
        return "Requests"
    words = kind.replace("_", " ").title()
    return f"{words} Tokens" if kind in _TOKENS else words


def _tags(cell: DayCell, groups: Groups) -> str:
    """A group is a key of its own, since a team may be in several; `true` is the specification's value of a tag that
    has none."""
    own = {"app": cell.app, "model": cell.model} | ({"run": cell.run} if cell.run else {})
    among = {f"group:{name}": True for name in groups.of(cell.team)}
    tags: Mapping[str, str | bool] = {**dict(cell.tags), **own, **among}
    return json.dumps(tags, ensure_ascii=False, sort_keys=True)


def _plain(amount: Decimal) -> str:
    """A decimal without an exponent, and without zeros that say nothing."""
    text = format(amount, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _quantity(n: Decimal) -> str:
    """A decimal with a point, as the specification types it."""
    text = _plain(n)
    return text if "." in text else f"{text}.0"


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _noon_ms(day: str) -> int:
    """The ledger keeps no hours: the prices of a day are those of its noon (UTC)."""
    return int(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp() + _NOON_S) * 1000
