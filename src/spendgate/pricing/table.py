"""The price table: which price a model has. Pure.

A model is found, in this order:

1. in the operator's files: `provider/name` where the provider is known, then the name itself, then the forms
   of the name (a date, `-latest`, a vendor's prefix, a path), each also by its other names and deployments;
2. in the catalogue: with the provider, then with the vendor that the name says, then by the name alone (the
   vendor's own price before those of hosts; of several hosts the dearest);
3. by the operator's globs, the most specific first.

Never by resemblance: a name that merely looks alike may cost ten times as much.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import field, replace
from fnmatch import translate
from functools import cached_property

from spendgate.pricing import aliases, names
from spendgate.pricing.catalogue import HOSTS, Catalogue
from spendgate.pricing.names import family_of, is_glob, literal_prefix
from spendgate.pricing.price import NO_RATES, Entry, Period, Price, Tier, rank_picousd
from spendgate.pricing.terms import ANY, TOOLS, WHOLE, Discount, Terms, discount_at
from spendgate.usage import Usage, input_total
from spendgate.values import dataclass

__all__ = [
    "NO_RATES", "Entry", "Price", "PriceTable", "Terms", "Tier", "family_of", "is_glob", "literal_prefix",
    "rank_picousd",
]  # fmt: skip

CONTEXT_TOKENS = 1_048_576
"""The context window of a model of which nothing is known: the largest that the large vendors sell."""
OUTPUT_TOKENS = 131_072
"""The longest answer of such a model."""
ROUTED = "router_input"
"""The kind that a router's fee is charged for: all tokens of input once more."""
REMEMBERED_MAX = 4096
"""Names that clients chose and the table remembers the way to."""


@dataclass(frozen=True, slots=True)
class PriceMatch:
    """A model's entry, and the discounts that cover it."""

    entry: Entry
    discounts: tuple[Discount, ...] = ()
    where: str = ""
    """`operator`, `catalogue` or `glob`."""


@dataclass(frozen=True)
class PriceTable:
    """Prices by model name and by glob, immutable; a reload makes a new one.

    `prices` and `globs` are the operator's, `aliases` other names (and Azure deployments) of models, in
    `prices` or in the catalogue.
    """

    prices: Mapping[str, Price | Entry]
    globs: Mapping[str, Price | Entry] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    catalogue: Catalogue | None = None
    discounts: tuple[Discount, ...] = ()
    tools: Mapping[str, Entry] = field(default_factory=dict)
    """The operator's prices of MCP tools, by `SERVER/TOOL` or glob."""
    _remembered: dict[tuple[str, str], PriceMatch | None] = field(
        default_factory=dict, compare=False, repr=False
    )
    _names: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)
    _discounted: dict[tuple[int, int, int], tuple[Price, Price]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def version(self) -> str:
        """The sha256 of the content: the same prices have the same version, wherever they came from. Without
        prices of the operator's own it is that of the catalogue's file."""
        if self.catalogue is not None and not (
            self.prices or self.globs or self.aliases or self.discounts or self.tools
        ):
            return self.catalogue.version
        content: dict[str, object] = {
            "catalogue": self.catalogue.version if self.catalogue is not None else "",
            "models": {name: _plain(entry) for name, entry in self._entries.items()},
            "globs": {name: _plain(entry) for name, entry in self._glob_entries.items()},
            "aliases": dict(self.aliases),
            "discounts": [
                [d.basis_points, d.provider, d.model, d.since_ms, d.until_ms] for d in self.discounts
            ],
        }
        if self.tools:
            content["tools"] = {name: _plain(entry) for name, entry in self.tools.items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def without_markups(self) -> PriceTable:
        """The same prices as providers bill them."""
        discounts = tuple(d for d in self.discounts if d.basis_points > 0)
        return PriceTable(self.prices, self.globs, self.aliases, self.catalogue, discounts, self.tools)

    def find(self, model: str, terms: Terms = ANY) -> Price | None:
        """The price of `model` under `terms`, None where it has none."""
        found = self.locate(model, terms.provider)
        return None if found is None else self._priced(found, terms)

    def dearest_of_family(self, model: str, terms: Terms = ANY) -> Price:
        """The dearest price among the models that share the longest beginning of `model`'s name, cut where
        its words and numbers end (`claude-opus-9` → the `claude-opus` models, then all `claude`), else of
        the provider that is asked (an agent's id, a profile's), else of the whole table. Raises LookupError on an empty
        table."""
        words = names.words_of(model)
        for length in range(len(words), -1, -1):
            if not length and (sold := self._dearest_of_provider(terms)) is not None:
                return sold
            own = self._dearest.get(words[:length])
            listed = self.catalogue.dearest.get(words[:length]) if self.catalogue is not None else None
            if own is None and listed is None:
                continue
            if listed is not None and (own is None or listed[0] > own.weight):
                assert self.catalogue is not None
                own = self.catalogue.entry(listed[1], listed[2])
            assert own is not None
            return own.at(terms.at_ms, terms.tier, terms.residency)
        raise LookupError("the price table is empty")

    def _dearest_of_provider(self, terms: Terms) -> Price | None:
        """The dearest that the provider who is asked sells; None where that is unknown, or the operator prices it."""
        known = self.catalogue.dearest_of.get(terms.provider) if self.catalogue is not None else None
        own = any(name.startswith(f"{terms.provider}/") for name in (*self.prices, *self.globs))
        if known is None or self.catalogue is None or own:
            return None
        return self.catalogue.entry(terms.provider, known[1]).at(terms.at_ms, terms.tier, terms.residency)

    def everywhere(self, model: str, terms: Terms) -> list[Price]:
        """What a model costs with each provider that the catalogue knows to sell it, at the standard price."""
        sold = self.catalogue.everywhere(model) if self.catalogue is not None else []
        return [entry.at(terms.at_ms, "", terms.residency) for entry in sold]

    def context_tokens(self, model: str, price: Price | None, provider: str = "") -> int:
        """The most input that the model reads at once. Where its price does not say: what another entry of the same
        model says, else the largest of its family, and at least `CONTEXT_TOKENS`. `price`: its own, None where a
        stand-in prices it."""
        known = price.context_tokens if price is not None else None
        if known is not None and price is not None:
            if any(tier.above_input_tokens >= known for tier in price.tiers):
                return max(
                    known, CONTEXT_TOKENS
                )  # it is sold with more (Claude's windows of a million tokens)
            return known
        longest = price.max_output_tokens if price is not None else None
        return max(self._largest(model, "context", CONTEXT_TOKENS, provider), longest or 0)

    def output_tokens(self, model: str, known: int | None) -> int:
        """The most output that the model makes; found likewise where `known` is None."""
        return known if known is not None else self._largest(model, "output", OUTPUT_TOKENS)

    def _largest(self, model: str, fact: str, least: int, provider: str = "") -> int:
        if self.catalogue is None:
            return least
        if same := self.catalogue.known_elsewhere(model, fact):
            return same
        family = self.catalogue.largest_of_family(model, fact)
        if not family and provider not in HOSTS and self.find(model, Terms(provider)) is None:
            return self.catalogue.largest_of_vendor(provider, fact) or least
        return max(least, family)

    @cached_property
    def stand_ins(self) -> Mapping[str, int]:
        """Rates for kinds that a price does not have: the dearest that any model has, since nothing is
        silently free."""
        top = dict(self.catalogue.dearest_rates) if self.catalogue is not None else {}
        for of in (self._entries, self._glob_entries):
            for entry in of.values():
                last = entry.periods[-1]
                for rates in (last.rates, *(t.rates for t in last.tiers)):
                    for kind, rate in rates.items():
                        top[kind] = max(rate, top.get(kind, 0))
        return top

    def is_own(self, model: str, provider: str = "") -> bool:
        """Is the model's price one that the operator gave for its name, or for what a deployment of it serves; not by
        a glob?"""
        if self.aliases and any(form in self.aliases for form in names.forms(model)):
            return True
        found = self.locate(model, provider)
        return found is not None and found.where == "operator"

    def with_router(self, price: Price, usage: Usage, asked: str, provider: str) -> tuple[Price, Usage]:
        """A price and what is charged by it, with the fee of the router that was asked (Azure's model router: for each
        token of input, beside the price of the model that answers). Both as they are where none was, or the operator
        priced it."""
        fee = self.router_fee(asked, provider)
        if not fee:
            return price, usage
        rates = {**price.rates, ROUTED: fee}
        return replace(price, rates=rates), {**usage, ROUTED: input_total(usage)}

    def router_fee(self, asked: str, provider: str) -> int:
        """What a router takes for each token of input, in pico-USD; 0 where the name is that of none."""
        if self.catalogue is None or not self.catalogue.has_routers(provider):
            return 0
        if self.is_own(asked, provider) and not self._deployed(asked):
            return 0
        return self.catalogue.router_fee(self._deployed(asked) or asked, provider)

    def _deployed(self, model: str) -> str:
        """What a deployment's name stands for, where that is a model that the operator did not price."""
        name = next((self.aliases[f] for f in names.forms(model) if f in self.aliases), "")
        return "" if name in self.prices else name

    def varies(self, model: str, provider: str = "") -> bool:
        """Does the model's price depend on when it is asked for, or on more than its name?"""
        found = self.locate(model, provider)
        if found is None:
            return False
        entry = found.entry
        return len(entry.periods) > 1 or bool(entry.hours) or bool(found.discounts)

    def names(self) -> list[str]:
        """The operator's names, then those of the vendors' own models in the catalogue; each once."""
        listed = dict.fromkeys(self.prices)
        if self.catalogue is not None:
            for provider in ("", "openai", "anthropic"):
                listed.update(dict.fromkeys(self.catalogue.models(provider)))
        return list(listed)

    def locate(self, model: str, provider: str = "") -> PriceMatch | None:
        """The entry of a model, and where it was found."""
        key = (model, provider)
        try:
            return self._remembered[key]
        except KeyError:
            pass
        found = self._search(model, provider)
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key] = found
        return found

    def known_as(self, model: str) -> tuple[str, ...]:
        """All names of the model that a rule may be written with: by its name alone, and what this table's own names
        (deployments) make of it."""
        made = self._names.get(model)
        if made is None:
            found = dict.fromkeys(aliases.known_as(model))
            for name in list(found):
                if (stands_for := self.aliases.get(name)) is not None:
                    found.update(dict.fromkeys(aliases.known_as(stands_for)))
            made = tuple(found)
            if len(self._names) >= REMEMBERED_MAX:
                self._names.clear()
            self._names[model] = made
        return made

    def warm(self) -> PriceTable:
        """Work out now what a first unusual request would else wait for."""
        _ = self.version, self._dearest, self._patterns, self.stand_ins
        if self.catalogue is not None:
            _ = self.catalogue.dearest
            self.catalogue.find("gpt-4o")
            self.catalogue.known_elsewhere("gpt-4o", "context")
            self.catalogue.largest_of_family("gpt-4o", "context")
            self.catalogue.everywhere("gpt-4o")
        return self

    def _search(self, model: str, provider: str) -> PriceMatch | None:
        if not model:
            return None
        if provider == TOOLS:
            entry = self.tools.get(model) or next((e for p, e in self._tool_patterns if p.match(model)), None)
            return None if entry is None else self._covered(entry, model, provider, "operator")
        own = self._own(model, provider)
        if own is not None:
            return self._covered(own, model, provider, "operator")
        if self.catalogue is not None:
            name = next((self.aliases[f] for f in names.forms(model) if f in self.aliases), model)
            listed = self.catalogue.find(name, provider)
            if listed is not None:
                return self._covered(listed, model, provider, "catalogue")
        for pattern, entry in self._patterns:
            if pattern.match(model):
                return self._covered(entry, model, provider, "glob")
        return None

    def _own(self, model: str, provider: str) -> Entry | None:
        """The operator's own entry. Of a name's forms the more literal counts, be it the catalogue's: a price
        for `gpt-4o` is none for a `gpt-4o-2024-05-13` that the catalogue prices by itself."""
        if not self._entries:
            return None
        listed = self.catalogue.find(model, provider) if self.catalogue is not None else None
        literal: tuple[str, ...] = ()
        if listed is not None and self.catalogue is not None:
            facts = listed.facts
            literal = (facts.model, *self.catalogue.also(facts.provider, facts.model))
        for form in names.forms(model):
            for name in (f"{provider}/{form}", form) if provider else (form,):
                found = self._entries.get(name) or self._entries.get(self.aliases.get(name, ""))
                if found is not None:
                    return found
            if form in literal:
                break
        if listed is None:
            return None
        facts = listed.facts
        return self._entries.get(f"{facts.provider}/{facts.model}") or self._entries.get(facts.model)

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return {name: as_entry(price) for name, price in self.prices.items()}

    @cached_property
    def _glob_entries(self) -> dict[str, Entry]:
        return {name: as_entry(price) for name, price in self.globs.items()}

    def _covered(self, entry: Entry, model: str, provider: str, where: str) -> PriceMatch:
        vendor = provider or entry.facts.provider
        covering = tuple(d for d in self.discounts if d.covers(vendor, model, entry.facts.model))
        return PriceMatch(entry, covering, where)

    def _priced(self, found: PriceMatch, terms: Terms) -> Price:
        price = found.entry.at(terms.at_ms, terms.tier, terms.residency)
        if not found.discounts:
            return price
        points = discount_at(found.discounts, terms.at_ms)
        if points == (0, 0):
            return price
        key = (id(price), *points)
        before, made = self._discounted.get(key, (None, price))
        if before is not price:
            numerator, denominator = price.multiplier
            off, on = points
            billed = numerator * (WHOLE - off), denominator * WHOLE
            made = replace(
                price,
                multiplier=(billed[0] * (WHOLE + on), billed[1] * WHOLE),
                before_discounts=price.multiplier,
                before_markups=billed,
            )
            if len(self._discounted) < REMEMBERED_MAX:
                self._discounted[key] = (price, made)  # holding on to it keeps its id its own
        return made

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Entry]]:
        return _ordered(self._glob_entries)

    @cached_property
    def _tool_patterns(self) -> list[tuple[re.Pattern[str], Entry]]:
        return _ordered({name: entry for name, entry in self.tools.items() if is_glob(name)})

    @cached_property
    def _dearest(self) -> dict[tuple[str, ...], Entry]:
        dearest: dict[tuple[str, ...], Entry] = {}
        for of in (self._entries, self._glob_entries):
            for name, entry in of.items():
                words = names.words_of(literal_prefix(name))
                for length in range(len(words) + 1):
                    best = dearest.get(words[:length])
                    if best is None or (entry.weight, name) > (best.weight, best.facts.model):
                        dearest[words[:length]] = entry
        return dearest


def _ordered(globs: Mapping[str, Entry]) -> list[tuple[re.Pattern[str], Entry]]:
    """The most specific first."""
    ordered = sorted(globs, key=lambda g: (-len(literal_prefix(g)), -len(g), g))
    return [(re.compile(translate(g)), globs[g]) for g in ordered]


def as_entry(price: Price | Entry) -> Entry:
    """An entry as it is, a single price as an entry that always has it."""
    return price if isinstance(price, Entry) else Entry.of(price)


def _plain(entry: Entry) -> dict[str, object]:
    facts = entry.facts
    return {
        "model": facts.model,
        "periods": [_period(p) for p in entry.periods],
        "hours": [[h.begin_minute, h.end_minute, dict(h.rates)] for h in entry.hours],
        "service": {t: [_period(p) for p in periods] for t, periods in entry.service.items()},
        "residency": dict(entry.residency),
        "max_output_tokens": facts.max_output_tokens,
        "context_tokens": facts.context_tokens,
        "dialects": sorted(facts.dialects),
        "capabilities": None if facts.capabilities is None else sorted(facts.capabilities),
    }


def _period(period: Period) -> list[object]:
    return [
        period.since_ms,
        dict(period.rates),
        [[t.above_input_tokens, dict(t.rates)] for t in period.tiers],
    ]
