"""The built-in price catalogue: one generated file, read once a process, its entries made when asked for.

`catalogue.json` is written by scripts/build_prices.py (sources and rules there). Prices stand by provider,
since the same model costs differently with those who host it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import UTC, date, datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import orjson

from spendgate.pricing import names
from spendgate.pricing.price import ALWAYS, Entry, Hours, Period, Price, Tier
from spendgate.values import dataclass

FAMILIES = ""
"""The provider id of names that budgets are written with, though no provider sells under them."""

HOSTS = frozenset({
    "azure", "aws", "groq", "together", "fireworks", "cerebras", "openrouter", "databricks", "cloudflare",
    "baseten", "novita", "ovhcloud", "deepinfra", "alibaba",
})  # fmt: skip
"""Providers that serve others' models. By a name alone, the vendor's own price counts; where only hosts have
the name, the dearest of them."""


_GOOGLES = re.compile(
    r"gemini|gemma|claude|text-|textembedding|multimodalembedding|learnlm|imagen|semantic-ranker"
)
"""What Google sells of its own, and Claude, whose vendor's price is found first; others are hosted on Vertex AI."""


@dataclass(frozen=True)
class Catalogue:
    """All providers' prices. `version` is the sha256 of the file."""

    version: str
    checked: date
    """The day on which the sources were last looked at."""
    sources: tuple[str, ...]
    tokenizers: Mapping[str, Mapping[str, int]]
    """What bounds the tokens of each family of models (see `spendgate.tokens.bound`)."""
    _providers: dict[str, Any]
    _made: dict[tuple[str, str], Entry] = field(default_factory=dict, compare=False, repr=False)

    @property
    def checked_ms(self) -> int:
        """The day's begin, in ms."""
        return day_ms(self.checked.isoformat())

    @property
    def providers(self) -> tuple[str, ...]:
        """Their ids, in the order of lookups; without the families."""
        return tuple(p for p in self._providers if p != FAMILIES)

    def source_of(self, provider: str) -> str:
        """Where a provider publishes its prices."""
        return str(self._providers[provider]["url"]) if provider in self._providers else ""

    def models(self, provider: str) -> Iterator[str]:
        """The names of a provider's entries, other names left out."""
        return iter(self._providers[provider]["models"])

    def also(self, provider: str, name: str) -> tuple[str, ...]:
        """Other names of an entry."""
        return tuple(self._providers[provider]["models"][name].get("also", ()))

    def provisional(self, provider: str, name: str) -> str:
        """The day until which an entry's price was announced to hold at least (`2026-11-30`), `` where it is open."""
        return str(self._providers[provider]["models"][name].get("provisional", ""))

    def has_routers(self, provider: str) -> bool:
        """Does a provider sell routers at a fee of their own?"""
        return "routers" in self._providers.get(provider, {})

    def router_fee(self, model: str, provider: str) -> int:
        """What a provider's router takes for each token of input, in pico-USD; 0 for a name that is none of its."""
        listed: dict[str, int] = self._providers.get(provider, {}).get("routers", {})
        if not listed:
            return 0
        return next((listed[form] for form in names.forms(model.lower()) if form in listed), 0)

    def entry(self, provider: str, name: str) -> Entry:
        """The entry of this very name. Raises KeyError."""
        made = self._made.get((provider, name))
        if made is None:
            listed = self._providers[provider]
            made = _entry(provider, name, listed["models"][name], listed.get("tiers", {}))
            self._made[provider, name] = made
        return made

    def find(self, model: str, provider: str = "") -> Entry | None:
        """The entry of a model with a provider, or by the name alone (`provider` `` or unknown to us)."""
        if provider in self._providers and provider != FAMILIES:
            found = self._with(provider, model)
            if found is not None:
                return found
        vendor = names.vendor_of(model)
        if vendor and (found := self._with(vendor, model)) is not None:
            return found
        if provider in ("aws", ""):
            vendor, own = names.bedrock_vendor(model)
            if vendor:
                return self._with("aws", model) or self._with(vendor, own)
        return self._anywhere(model)

    def _with(self, provider: str, model: str) -> Entry | None:
        index = self._index[provider]
        fold = provider in HOSTS
        for form in names.bedrock_forms(model) if provider == "aws" else names.forms(model):
            name = index.get(form) or (index.get(form.lower()) if fold else None)
            if name is not None:
                return self.entry(provider, name)
        return None

    def _anywhere(self, model: str) -> Entry | None:
        hosted: list[Entry] = []
        for provider in self._providers:
            if provider == "aws" and not names.is_bedrock(model):
                continue
            found = self._with(provider, model)
            if found is None:
                continue
            if provider not in HOSTS and not (provider == "google" and not _GOOGLES.match(found.facts.model)):
                return found
            hosted.append(found)
        return max(hosted, key=lambda e: (e.weight, e.facts.provider), default=None)

    @cached_property
    def _index(self) -> dict[str, dict[str, str]]:
        index: dict[str, dict[str, str]] = {}
        for provider, listed in self._providers.items():
            of = index[provider] = {}
            for name, entry in listed["models"].items():
                for other in entry.get("also", ()):
                    of.setdefault(other, name)
            of.update((n, n) for n in listed["models"])
            if provider in HOSTS:
                for name, entry_name in list(of.items()):
                    of.setdefault(name.lower(), entry_name)
        return index

    def known_elsewhere(self, model: str, fact: str) -> int | None:
        """What any provider's entry of this model says of it (`context` or `output`): the largest, None where none
        does."""
        known = (self._facts.get((_last(form), fact)) for form in names.forms(model))
        return next((value for value in known if value), None)

    def everywhere(self, model: str) -> list[Entry]:
        """The entries of a model with everybody who sells it, under the last part of its name."""
        for form in names.forms(model.partition(":")[0]):
            if sold := self._sold.get(_last(form)):
                return [self.entry(provider, name) for provider, name in sold]
        return []

    @cached_property
    def _sold(self) -> dict[str, list[tuple[str, str]]]:
        sold: dict[str, list[tuple[str, str]]] = {}
        for provider, listed in self._providers.items():
            for name in listed["models"]:
                sold.setdefault(_last(name), []).append((provider, name))
        return sold

    def largest_of_family(self, model: str, fact: str) -> int:
        """The largest of the models that share the first word of the name; 0 where none says."""
        return self._largest.get((names.family_of(model), fact), 0)

    @cached_property
    def _facts(self) -> dict[tuple[str, str], int]:
        """The largest context and answer by the last part of a name, whoever sells it."""
        facts: dict[tuple[str, str], int] = {}
        for listed in self._providers.values():
            for name, entry in listed["models"].items():
                for fact in ("context", "output"):
                    for other in (name, *entry.get("also", ())):
                        key = (_last(other), fact)
                        facts[key] = max(facts.get(key, 0), entry.get(fact) or 0)
        return facts

    @cached_property
    def _largest(self) -> dict[tuple[str, str], int]:
        largest: dict[tuple[str, str], int] = {}
        for listed in self._providers.values():
            for name, entry in listed["models"].items():
                for fact in ("context", "output"):
                    key = (names.family_of(name), fact)
                    largest[key] = max(largest.get(key, 0), entry.get(fact) or 0)
        return largest

    @cached_property
    def dearest(self) -> dict[tuple[str, ...], tuple[int, str, str]]:
        """The dearest model by the first words of names: (weight, provider, name). One that is free is no stand-in."""
        dearest: dict[tuple[str, ...], tuple[int, str, str]] = {}
        for provider, listed in self._providers.items():
            for name, entry in listed["models"].items():
                if not any(rate for r in _last_rates(entry) for rate in r.values()):
                    continue
                mine = (_weight(entry), provider, name)
                words = names.words_of(name)
                for length in range(len(words) + 1):
                    if mine > dearest.get(words[:length], (-1, "", "")):
                        dearest[words[:length]] = mine
        return dearest

    @cached_property
    def dearest_of(self) -> dict[str, tuple[int, str]]:
        """The dearest model of each provider: (weight, name)."""
        found: dict[str, tuple[int, str]] = {}
        for provider, listed in self._providers.items():
            if provider == FAMILIES:
                continue
            for name, entry in listed["models"].items():
                mine = (_weight(entry), name)
                if mine[0] and mine > found.get(provider, (0, "")):
                    found[provider] = mine
        return found

    def largest_of_vendor(self, provider: str, fact: str) -> int:
        """The largest of a vendor's models; 0 where none says."""
        models = self._providers.get(provider, {}).get("models", {}).values()
        return max((entry.get(fact) or 0 for entry in models), default=0)

    @cached_property
    def dearest_rates(self) -> dict[str, int]:
        """The dearest rate of each kind that any model has: what a kind without a price of its own costs."""
        top: dict[str, int] = {}
        for listed in self._providers.values():
            for entry in listed["models"].values():
                for rates in _last_rates(entry):
                    for kind, rate in rates.items():
                        if rate > top.get(kind, 0):
                            top[kind] = rate
        return top


@cache
def builtin() -> Catalogue:
    """Read the catalogue: a few milliseconds, once a process."""
    return read(files("spendgate.pricing").joinpath("catalogue.json").read_bytes())


def read(data: bytes) -> Catalogue:
    """Read a catalogue's bytes."""
    document = orjson.loads(data)
    return Catalogue(
        hashlib.sha256(data).hexdigest(),
        date.fromisoformat(document["checked"]),
        tuple(document["sources"]),
        document["tokenizers"],
        document["providers"],
    )


def day_ms(day: str) -> int:
    """The begin of a day (`2026-11-24`), UTC, in ms; `` is before all time."""
    if not day:
        return ALWAYS
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def _last_rates(entry: dict[str, Any]) -> tuple[dict[str, int], ...]:
    """The last rates of an entry, those of its context tiers too."""
    last = entry["prices"][-1]
    return (last[1], *(r for _, r in (last[2] if len(last) > 2 else ())))


def _weight(entry: dict[str, Any]) -> int:
    return max(r.get("input", 0) + r.get("output", 0) for r in _last_rates(entry))


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _entry(provider: str, name: str, of: dict[str, Any], tier_names: dict[str, str]) -> Entry:
    can = of.get("can")
    periods = tuple(_period(p) for p in of["prices"])
    facts = Price(
        model=name,
        rates=periods[-1].rates,
        tiers=periods[-1].tiers,
        family=names.family_of(name),
        max_output_tokens=of.get("output"),
        context_tokens=of.get("context"),
        dialects=frozenset(of.get("dialects", ())),
        capabilities=None if can is None else frozenset(can),
        provider=provider,
        minimum=of.get("minimum", {}),
    )
    hours = tuple(Hours(h[0], h[1], h[2], _tiers(h, 3)) for h in of.get("hours", ()))
    service = {t: tuple(_period(p) for p in periods) for t, periods in of.get("service", {}).items()}
    return Entry(facts, periods, hours, service, of.get("residency", {}), tier_names)


def _period(of: list[Any]) -> Period:
    return Period(day_ms(of[0]), of[1], _tiers(of, 2))


def _tiers(of: list[Any], at: int) -> tuple[Tier, ...]:
    return tuple(Tier(above, rates) for above, rates in of[at]) if len(of) > at else ()
