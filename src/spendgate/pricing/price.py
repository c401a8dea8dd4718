"""A price, and the schedule of prices that one model has over time. Pure.

Rates are integer pico-USD a unit (1 USD per million tokens = 10^6 pico-USD a token). A second's rate is stored
for `UNIT_OF["seconds"]` of them, since vendors price an hour and an hour's 3,600th is no integer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any

from spendgate.usage import OTHER_KINDS
from spendgate.values import dataclass

NO_RATES: Mapping[str, int] = MappingProxyType({})

UNIT_OF: Mapping[str, int] = MappingProxyType({"seconds": 3600})
"""How many units of a kind its rate is for; 1 where it is not listed."""

FEES = frozenset(OTHER_KINDS)
"""Kinds that are no tokens, priced each."""

STANDARD = frozenset({
    "", "default", "auto", "standard", "standard_only", "on_demand", "base", "unspecified",
    "service_tier_unspecified",
})  # fmt: skip
"""Words of providers for processing at the standard price."""

AT_LEAST: Mapping[str, int] = MappingProxyType({"priority": 2, "fast": 2, "ultrafast": 6})
"""By what the dearer tiers multiply the standard price, where a price list does not say: the most that any list of the
catalogue has for the word (priority: OpenAI's 2, Google's 1.8, Bedrock's 1.75)."""

DAY_MS = 86_400_000
ALWAYS = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates that replace the lower ones for all tokens of an exchange with more input than this."""

    above_input_tokens: int
    rates: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs at one moment, on one tier: pico-USD a unit by usage kind, and what the catalogue
    knows of the model.

    `model` is the name of the table's entry; `tiers` ascend. `dialects`: the wire formats that serve it
    (`anthropic-*` stands for all that begin so), empty where unknown. `capabilities` (`tools`, `images`,
    `audio`, `json_schema`), `max_output_tokens` and `context_tokens`: None where unknown.
    """

    model: str
    rates: Mapping[str, int]
    tiers: tuple[Tier, ...] = ()
    family: str = ""
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    dialects: frozenset[str] = frozenset()
    capabilities: frozenset[str] | None = None
    provider: str = ""
    """Whose price list it is from; `` where the operator gave it for any provider."""
    multiplier: tuple[int, int] = (1, 1)
    """(numerator, denominator): a residency surcharge and negotiated discounts, on all of the cost."""
    before_discounts: tuple[int, int] | None = None
    """The multiplier of the list price, and"""
    before_markups: tuple[int, int] | None = None
    """that of what the provider bills, where discounts or markups make them others; else None."""
    tier: str = ""
    """The service tier of these rates; `` for the standard price."""
    tier_known: bool = True
    """False: a tier was asked for that the price list does not have, and the dearest of its tiers stands in."""
    minimum: Mapping[str, int] = field(default_factory=lambda: NO_RATES)
    """What is billed at least of a kind (Groq: ten seconds of sound)."""
    memo: dict[object, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What was worked out from these rates (`pricing.cost`), and is asked for by every exchange."""

    def serves(self, dialect: str) -> bool:
        """May this dialect's requests name the model? True where the catalogue does not know."""
        return not self.dialects or any(
            dialect == d or (d.endswith("*") and dialect.startswith(d[:-1])) for d in self.dialects
        )


@dataclass(frozen=True, slots=True)
class Period:
    """Rates and tiers from a moment on (UTC, in ms)."""

    since_ms: int
    rates: Mapping[str, int]
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Hours:
    """Rates between two minutes of every day (UTC), from the schedule's last period on."""

    begin_minute: int
    end_minute: int
    rates: Mapping[str, int]
    tiers: tuple[Tier, ...] = ()

    def holds(self, at_ms: int) -> bool:
        """Is this moment within the hours? They may pass midnight."""
        minute = at_ms % DAY_MS // 60_000
        if self.begin_minute <= self.end_minute:
            return self.begin_minute <= minute < self.end_minute
        return minute >= self.begin_minute or minute < self.end_minute


_PLAIN = (0, -1, "@-1", "")
"""Where an entry remembers its standard price of its first period."""


@dataclass(frozen=True)
class Entry:
    """One model's prices over time, by service tier and residency; immutable but for what it remembers.

    `facts` carries what does not change with time (its rates are never used). `periods` ascend, the first
    holds for all time before too. `service`: dated rates by tier, laid over the standard ones. `residency`:
    percent of the price by place.
    """

    facts: Price
    periods: tuple[Period, ...]
    hours: tuple[Hours, ...] = ()
    service: Mapping[str, tuple[Period, ...]] = field(default_factory=dict)
    residency: Mapping[str, int] = field(default_factory=dict)
    tier_names: Mapping[str, str] = field(default_factory=dict)
    """Other words for a tier; `base` is the standard price."""
    _made: dict[tuple[int, int, str, str], Price] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(price: Price) -> Entry:
        """An entry that always has this price."""
        return Entry(price, (Period(ALWAYS, price.rates, price.tiers),))

    def at(self, at_ms: int | None, tier: str = "", residency: str = "") -> Price:
        """The price at a moment (None: the last one known, at the dearest hour). What the tier does not price
        stays standard."""
        if not (tier or residency or self.hours) and len(self.periods) == 1:
            made = self._made.get(_PLAIN)  # most models, most of the time
            if made is not None:
                return made
        index = len(self.periods) - 1 if at_ms is None else max(0, _index(self.periods, at_ms))
        hour = -1
        if self.hours and at_ms is None:
            hour = max(
                range(-1, len(self.hours)),
                key=lambda i: _both((self.hours[i] if i >= 0 else self.periods[-1]).rates),
            )
        elif self.hours and at_ms is not None and index == len(self.periods) - 1:
            hour = next((i for i, h in enumerate(self.hours) if h.holds(at_ms)), -1)
        tier = tier.lower()
        tier = self.tier_names.get(tier, tier)
        if tier in STANDARD:
            tier = ""
        where = residency if residency in self.residency else ""
        started = self._started(tier, at_ms)
        if tier and started < 0:
            return self._dearest_tier(index, hour, where, at_ms, AT_LEAST.get(tier, 1))
        key = (index, hour, f"{tier}@{started}", where)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(index, hour, tier, started, where)
        return made

    def _started(self, tier: str, at_ms: int | None) -> int:
        """The period of a tier that holds at a moment; -1 where there is none."""
        periods = self.service.get(tier, ())
        return len(periods) - 1 if at_ms is None else _index(periods, at_ms)

    def _make(self, index: int, hour: int, tier: str, started: int, where: str) -> Price:
        base: Period | Hours = self.periods[index] if hour < 0 else self.hours[hour]
        rates, tiers = base.rates, base.tiers
        if tier:
            over = self.service[tier][started]
            rates = {**rates, **over.rates}
            tiers = laid_over(tiers, over)
        return replace(
            self.facts,
            rates=rates,
            tiers=tiers,
            tier=tier,
            multiplier=(self.residency[where], 100) if where else (1, 1),
        )

    def _dearest_tier(self, index: int, hour: int, where: str, at_ms: int | None, times: int) -> Price:
        """The stand-in for a tier that nobody stated a price for: the dearest of the model's, and at least so many
        times its standard price. A cheaper tier is never assumed."""
        standard = self._make(index, hour, "", -1, where)
        made = [standard]
        if times > 1:
            made.append(_multiplied(standard, times))
        for tier in self.service:
            started = self._started(tier, at_ms)
            if started >= 0:
                made.append(self._make(index, hour, tier, started, where))
        return replace(max(made, key=rank_picousd), tier="", tier_known=False)

    @property
    def weight(self) -> int:
        """The dearest input and output token of the last period: which of two models is dearer."""
        last = self.periods[-1]
        return max(
            _both(last.rates),
            *(_both(t.rates) for t in last.tiers),
            *(_both(h.rates) for h in self.hours),
        ) if last.tiers or self.hours else _both(last.rates)  # fmt: skip


def _multiplied(price: Price, times: int) -> Price:
    """The price with all rates of tokens so many times as high; fees stay."""

    def raised(rates: Mapping[str, int]) -> dict[str, int]:
        return {kind: rate if kind in FEES else rate * times for kind, rate in rates.items()}

    tiers = tuple(Tier(t.above_input_tokens, raised(t.rates)) for t in price.tiers)
    return replace(price, rates=raised(price.rates), tiers=tiers)


def laid_over(tiers: tuple[Tier, ...], over: Period) -> tuple[Tier, ...]:
    """Context tiers of a service tier: its own, and the standard ones of the kinds that it does not price."""
    merged = {t.above_input_tokens: {k: r for k, r in t.rates.items() if k not in over.rates} for t in tiers}
    for tier in over.tiers:
        merged.setdefault(tier.above_input_tokens, {}).update(tier.rates)
    return tuple(Tier(above, rates) for above, rates in sorted(merged.items()) if rates)


def rank_picousd(price: Price) -> int:
    """One token in and one out, in pico-USD at the base rates: which of two models is dearer."""
    numerator, denominator = price.multiplier
    return _both(price.rates) * numerator // denominator


def _both(rates: Mapping[str, int]) -> int:
    return rates.get("input", 0) + rates.get("output", 0)


def _index(periods: tuple[Period, ...], at_ms: int) -> int:
    return bisect_right(periods, at_ms, key=lambda p: p.since_ms) - 1
