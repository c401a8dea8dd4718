"""A price table as rows to show and to compare. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from spendgate.pricing.price import ALWAYS, FEES, UNIT_OF, Entry, Price, Tier
from spendgate.pricing.table import PriceTable, as_entry
from spendgate.pricing.terms import Terms
from spendgate.usage import KINDS
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One model of one provider, or of the operator's files (`where` `operator` or `glob`)."""

    provider: str
    model: str
    where: str
    entry: Entry


def rows(table: PriceTable, provider: str = "", pattern: str = "") -> Iterator[Row]:
    """The table's models: the operator's first, then the catalogue's by provider."""
    own = [("operator", table.prices), ("glob", table.globs)]
    listed = [(where, name, as_entry(p)) for where, of in own for name, p in of.items()]
    for where, name, entry in listed:
        if (not provider or entry.facts.provider == provider) and _matches(name, pattern):
            yield Row(entry.facts.provider, name, where, entry)
    if table.catalogue is None:
        return
    for id_ in ("", *table.catalogue.providers):
        if provider and provider != id_:
            continue
        for name in table.catalogue.models(id_):
            if _matches(name, pattern):
                yield Row(id_, name, "catalogue", table.catalogue.entry(id_, name))


def _matches(name: str, pattern: str) -> bool:
    return not pattern or fnmatchcase(name, pattern)


def usd(kind: str, rate: int) -> str:
    """A rate as price files write it: USD per million tokens, or each (of fees), exact."""
    unit = 10**12 * UNIT_OF.get(kind, 1) if kind in FEES else 10**6
    text = f"{Decimal(rate) / unit:f}"
    if "." not in text:
        return text
    whole, _, part = text.rstrip("0").partition(".")
    return f"{whole}.{part.ljust(2, '0')}" if part else whole


def usd_rates(rates: Mapping[str, int]) -> dict[str, str]:
    """Rates by kind as texts, in the order of the vocabulary."""
    places = {kind: i for i, kind in enumerate(KINDS)}
    ordered = sorted(rates, key=lambda k: (places.get(k, len(places)), k))
    return {kind: usd(kind, rates[kind]) for kind in ordered}


def shown(table: PriceTable, model: str, terms: Terms) -> dict[str, Any] | None:
    """All that is known of a model's price under `terms`; None where it has none."""
    found = table.locate(model, terms.provider)
    price = table.find(model, terms)
    if found is None or price is None:
        return None
    facts, catalogue = found.entry.facts, table.catalogue
    listed = catalogue is not None and found.where == "catalogue"
    numerator, denominator = price.multiplier
    out: dict[str, Any] = {
        "asked": model,
        "model": facts.model,
        "where": found.where,
        "provider": facts.provider,
        "tier": price.tier or "standard",
        "tier_known": price.tier_known,
        "usd": usd_rates(price.rates),
        "context_tiers": _tiers(price.tiers),
        "percent_of_list": _percent(numerator, denominator),
        "since": [_day(p.since_ms) for p in found.entry.periods],
        "hours": [
            {"from": _minute(h.begin_minute), "until": _minute(h.end_minute), "usd": usd_rates(h.rates)}
            for h in found.entry.hours
        ],
        "service_tiers": {
            tier: usd_rates(found.entry.at(terms.at_ms, tier).rates) for tier in found.entry.service
        },
        "residency_percent": dict(found.entry.residency),
        "max_output_tokens": facts.max_output_tokens,
        "context_tokens": facts.context_tokens,
        "dialects": sorted(facts.dialects),
        "capabilities": None if facts.capabilities is None else sorted(facts.capabilities),
    }
    if listed and catalogue is not None:
        out["also"] = list(catalogue.also(facts.provider, facts.model))
        if until := catalogue.provisional(facts.provider, facts.model):
            out["announced_until"] = until
        out["source"] = catalogue.source_of(facts.provider)
        out["checked"] = catalogue.checked.isoformat()
    return out


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of two tables; `before` or `after` is `` where the table has no such price."""

    provider: str
    model: str
    kind: str
    before: str
    after: str


def diff(before: PriceTable, after: PriceTable, at_ms: int) -> list[Change]:
    """What costs otherwise in `after`, at a moment: by provider, model and kind; tiers as `kind@tier`."""
    sides: list[dict[tuple[str, str], dict[str, str]]] = []
    for table in (before, after):
        side: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows(table):  # the operator's come first, and count
            if (row.provider, row.model) not in side:
                side[row.provider, row.model] = _all_rates(table, row, at_ms)
        sides.append(side)
    out = []
    for key in sorted({*sides[0], *sides[1]}):
        a, b = (side.get(key, {}) for side in sides)
        for kind in sorted({*a, *b}):
            if a.get(kind) != b.get(kind):
                out.append(Change(*key, kind, a.get(kind, ""), b.get(kind, "")))
    return out


def _all_rates(table: PriceTable, row: Row, at_ms: int) -> dict[str, str]:
    """Every rate of a model by `kind`, `kind>tokens` and `kind@tier`; discounts as `percent_of_list`."""
    entry = row.entry
    out: dict[str, str] = {}
    found = table.find(row.model, Terms(row.provider, at_ms=at_ms))
    if found is not None and found.multiplier != (1, 1):
        out["percent_of_list"] = _percent(*found.multiplier)
    for tier in ("", *entry.service):
        price = entry.at(at_ms, tier)
        if tier and not price.tier_known:
            continue
        suffix = f"@{tier}" if tier else ""
        out |= {f"{kind}{suffix}": usd(kind, rate) for kind, rate in price.rates.items()}
        for context in price.tiers:
            above = f">{context.above_input_tokens}"
            out |= {f"{kind}{above}{suffix}": usd(kind, r) for kind, r in context.rates.items()}
    return out


def stand_in(table: PriceTable, model: str, terms: Terms) -> Price:
    """What a model without a price is charged as (rule 11)."""
    return table.dearest_of_family(model, terms)


def _percent(numerator: int, denominator: int) -> str:
    text = f"{Decimal(100 * numerator) / denominator:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _tiers(tiers: tuple[Tier, ...]) -> list[dict[str, Any]]:
    return [{"above_input_tokens": t.above_input_tokens, "usd": usd_rates(t.rates)} for t in tiers]


def _day(ms: int) -> str:
    if ms == ALWAYS:
        return "always"
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.strftime("%Y-%m-%d") if ms % 86_400_000 == 0 else at.strftime("%Y-%m-%dT%H:%MZ")


def _minute(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
