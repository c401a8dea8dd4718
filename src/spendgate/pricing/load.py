"""Reading price files: the built-in catalogue, and the operator's prices on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spendgate.errors import ConfigurationError, Fault
from spendgate.pricing.catalogue import builtin
from spendgate.pricing.names import is_glob, literal_prefix
from spendgate.pricing.parse import PriceFile, parse
from spendgate.pricing.price import ALWAYS, FEES, Entry
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Discount

SUFFIXES = (".yaml", ".yml", ".json")


def table(overrides: Sequence[Path] = ()) -> PriceTable:
    """The built-in prices with those of `overrides` on top, a later file over an earlier one; a folder (a
    mounted ConfigMap) holds files, in the order of their names.

    A line of an override replaces all token rates and context tiers of its model, from its `from` on; what the
    catalogue knows besides (fees, prices before that day, service tiers, residency, longest answer, context,
    dialects, capabilities) stays unless the line says otherwise. Raises ConfigurationError with the faults of
    all files.
    """
    catalogue = builtin()
    prices: dict[str, Entry] = {}
    globs: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    discounts: list[Discount] = []
    tools: dict[str, Entry] = {}
    faults: list[Fault] = []
    for path in files_of(overrides):
        try:
            read = load_overrides(path)
        except ConfigurationError as e:
            faults += e.faults
            continue
        for name, entry in read.prices.items():
            known = prices.get(name) or _known(name, aliases)
            (globs if is_glob(name) else prices)[name] = _filled(entry, known, _provider_of(name))
        aliases.update(read.aliases)
        discounts += read.discounts
        tools.update(read.tools)
    if faults:
        raise ConfigurationError(faults)
    return PriceTable(prices, globs, aliases, catalogue, tuple(discounts), tools)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The price files that paths stand for: files as they are, of a folder what ends like YAML or JSON."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
        else:
            found.append(path)
    return found


def load_overrides(path: Path) -> PriceFile:
    """Read one price file. Raises ConfigurationError with every fault in it, by line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        fault = Fault(str(path), 0, "", f"the price file cannot be read: {reason}")
        raise ConfigurationError([fault]) from e
    return parse(text, str(path))


def _provider_of(name: str) -> str:
    """The provider that an override's name begins with, `` where it names none."""
    provider, slash, _ = name.partition("/")
    return provider if slash and provider in builtin().providers else ""


def _known(name: str, aliases: dict[str, str]) -> Entry | None:
    """What the catalogue knows of an override's model; `azure/gpt-4o` names the provider too."""
    if is_glob(name) or not literal_prefix(name):
        return None
    catalogue = builtin()
    provider = _provider_of(name)
    if provider and (found := catalogue.find(name.removeprefix(f"{provider}/"), provider)) is not None:
        return found
    return catalogue.find(aliases.get(name, name))


def _filled(entry: Entry, known: Entry | None, provider: str) -> Entry:
    """An override with what was known of its model besides: nothing of it is lost but the rates replaced."""
    if known is None:
        return replace(entry, facts=replace(entry.facts, provider=provider)) if provider else entry
    facts, before = entry.facts, known.facts
    fees = {kind: rate for kind, rate in known.periods[-1].rates.items() if kind in FEES}
    periods = tuple(replace(p, rates={**fees, **p.rates}) for p in entry.periods)
    begins = entry.periods[0].since_ms
    earlier = () if begins == ALWAYS else tuple(p for p in known.periods if p.since_ms < begins)
    return Entry(
        replace(
            facts,
            rates=periods[-1].rates,
            max_output_tokens=facts.max_output_tokens or before.max_output_tokens,
            context_tokens=facts.context_tokens or before.context_tokens,
            dialects=facts.dialects or before.dialects,
            capabilities=before.capabilities if facts.capabilities is None else facts.capabilities,
            provider=provider or before.provider,
        ),
        (*earlier, *periods),
        (),
        {**known.service, **entry.service},
        {**known.residency, **entry.residency},
        known.tier_names,
    )
