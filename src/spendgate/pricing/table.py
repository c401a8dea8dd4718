"""The price table: which price a model has. Pure.

A price is integer pico-USD a unit (1 USD per million tokens = 10^6 pico-USD a token). A model is found by its
exact name, then by a known form of the same name (a date, `-latest`, a provider prefix), then by an
operator's glob; never by resemblance, since a name that merely looks alike may cost ten times as much.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from types import MappingProxyType

NO_RATES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates that replace the lower ones for all tokens of an exchange with more input than this."""

    above_input_tokens: int
    rates: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs: pico-USD a unit by usage kind, and what the catalogue knows of the model.

    `model` is the name of the table's entry; `tiers` ascend. `dialects`: the wire formats that serve it,
    empty where unknown. `capabilities` (`tools`, `images`, `audio`, `json_schema`), `max_output_tokens` and
    `context_tokens`: None where unknown.
    """

    model: str
    rates: Mapping[str, int]
    tiers: tuple[Tier, ...] = ()
    family: str = ""
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    dialects: frozenset[str] = frozenset()
    capabilities: frozenset[str] | None = None


@dataclass(frozen=True)
class PriceTable:
    """Prices by model name and by glob, immutable; a reload makes a new one.

    `aliases`: other names of an entry (`gpt-5.6` → `gpt-5.6-sol`).
    """

    prices: Mapping[str, Price]
    globs: Mapping[str, Price] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def version(self) -> str:
        """The sha256 of the content: the same prices have the same version, wherever they came from."""
        content: dict[str, object] = {}
        for part, of in self._parts():
            content[part] = {name: _plain(price) for name, price in of.items()}
        content["aliases"] = dict(self.aliases)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def find(self, model: str) -> Price | None:
        """The price of `model`: its entry, else that of a form of its name, else the most specific glob's."""
        for name in forms(model):
            price = self.prices.get(name) or self.prices.get(self.aliases.get(name, ""))
            if price is not None:
                return price
        for pattern, price in self._patterns:
            if pattern.match(model):
                return price
        return None

    def dearest_of_family(self, model: str) -> Price:
        """The dearest price among the models that share the longest beginning of `model`'s name, cut where
        its words and numbers end (`claude-opus-9` → the `claude-opus` models, then all `claude`), else of
        the whole table. Raises LookupError on an empty table."""
        words = _words(model)
        for length in range(len(words), 0, -1):
            price = self._dearest.get(words[:length])
            if price is not None:
                return price
        if not self._dearest:
            raise LookupError("the price table is empty")
        return self._dearest[()]

    def _parts(self) -> Iterator[tuple[str, Mapping[str, Price]]]:
        yield "models", self.prices
        yield "globs", self.globs

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Price]]:
        ordered = sorted(self.globs, key=lambda g: (-len(literal_prefix(g)), -len(g), g))
        return [(re.compile(translate(g)), self.globs[g]) for g in ordered]

    @cached_property
    def _dearest(self) -> dict[tuple[str, ...], Price]:
        dearest: dict[tuple[str, ...], Price] = {}
        for _, of in self._parts():
            for name, price in of.items():
                words = _words(literal_prefix(name))
                for length in range(len(words) + 1):
                    best = dearest.get(words[:length])
                    if best is None or _weight(price) > _weight(best):
                        dearest[words[:length]] = price
        return dearest


_PROVIDER = re.compile(r"^(openai|anthropic)/")
_DATE = re.compile(r"(-20\d\d-[01]\d-[0-3]\d|[-@]20\d\d[01]\d[0-3]\d)$")


def forms(model: str) -> Iterator[str]:
    """The names under which `model` may stand in the table, likeliest first: itself, without the provider
    prefix (`openai/`), a fine-tuned model without its owner (`ft:gpt-4o:acme::id`), without its date
    (`-2024-08-06`, `-20250514`, `@20250514`) or `-latest`."""
    yield model
    name = _PROVIDER.sub("", model)
    if name != model:
        yield name
    if name.startswith("ft:") and name.count(":") > 1:
        name = ":".join(name.split(":", 2)[:2])
        yield name
    undated = _DATE.sub("", name)
    if undated != name:
        yield undated
    elif name.endswith("-latest"):
        yield name.removesuffix("-latest")


def is_glob(name: str) -> bool:
    """Is this name of a price a pattern?"""
    return any(c in name for c in "*?[")


def literal_prefix(pattern: str) -> str:
    """The part of a glob before its first wildcard."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def family_of(model: str) -> str:
    """The first word of a model's name: `gpt`, `claude`, `o`, `llama`."""
    words = _words(_PROVIDER.sub("", model))
    return words[0] if words else ""


def rank_picousd(price: Price) -> int:
    """One token in and one out, in pico-USD at the base rates: which of two models is dearer."""
    return price.rates.get("input", 0) + price.rates.get("output", 0)


def _weight(price: Price) -> tuple[int, str]:
    top = max(
        [rank_picousd(price), *(t.rates.get("input", 0) + t.rates.get("output", 0) for t in price.tiers)]
    )
    return top, price.model


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+|[^\W\d_]+", _PROVIDER.sub("", name).lower()))


def _plain(price: Price) -> dict[str, object]:
    return {
        "model": price.model,
        "rates": dict(price.rates),
        "tiers": [[t.above_input_tokens, dict(t.rates)] for t in price.tiers],
        "max_output_tokens": price.max_output_tokens,
        "context_tokens": price.context_tokens,
        "dialects": sorted(price.dialects),
        "capabilities": None if price.capabilities is None else sorted(price.capabilities),
    }
