"""The built-in catalogue against its source, the package genai-prices, which serves as the oracle."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data import providers
from support.scripts import load_script

from spendgate.pricing.catalogue import HOSTS, Catalogue, builtin
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms
from spendgate.tokens.bound import FAMILIES

BUILD = load_script("build_prices")
THEIRS = {p.id: p for p in providers}
OWN = BUILD.yaml.safe_load((BUILD.SOURCES / "own.yaml").read_text())
LITELLM = json.loads((BUILD.SOURCES / "litellm.json").read_text())


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return builtin()


@pytest.fixture(scope="module")
def prices() -> PriceTable:
    return table()


def test_the_committed_catalogue_is_what_its_sources_say() -> None:
    committed = BUILD.CATALOGUE.read_text(encoding="utf-8")
    assert committed == BUILD.build(), "run .venv/bin/python scripts/build_prices.py and commit"


def test_the_version_of_a_table_without_own_prices_is_that_of_the_file(
    prices: PriceTable, catalogue: Catalogue
) -> None:
    assert prices.version == catalogue.version
    assert len(catalogue.version) == 64


def test_the_catalogue_says_where_it_is_from_and_when_that_was_looked_at(catalogue: Catalogue) -> None:
    assert any("genai-prices 0.2.3" in s for s in catalogue.sources)
    assert catalogue.checked.isoformat() == BUILD.CHECKED
    assert datetime.fromtimestamp(catalogue.checked_ms / 1000, UTC).date() == catalogue.checked
    for provider in catalogue.providers:
        assert catalogue.source_of(provider).startswith("https://"), provider


def test_the_catalogue_states_how_tokens_of_each_family_are_bounded(catalogue: Catalogue) -> None:
    assert {n: tuple(t.values()) for n, t in catalogue.tokenizers.items()} == {
        n: (f.factor_percent, f.overhead_plain, f.overhead_tools) for n, f in FAMILIES.items()
    }


def test_what_is_priced_at_nothing_is_stated_to_be_free(catalogue: Catalogue) -> None:
    free = OWN["free"]
    for provider in catalogue.providers:
        for name in catalogue.models(provider):
            entry = catalogue.entry(provider, name)
            if not any(any(p.rates.values()) for p in entry.periods):
                assert name.endswith(":free") or name in free[provider], (provider, name)


def test_no_name_leads_to_two_models_of_a_provider(catalogue: Catalogue) -> None:
    for provider in catalogue.providers:
        entries = set(catalogue.models(provider))
        others = [n for e in entries for n in catalogue.also(provider, e)]
        assert len(others) == len(set(others))
        assert not entries & set(others)


def names() -> Iterator[tuple[str, Any, str]]:
    """(provider, its model, a name) for all names that the source knows."""
    for id_ in BUILD.PROVIDERS:
        for model in THEIRS[id_].models if id_ in THEIRS else ():
            for name in {model.id, *BUILD.clauses(model.match)}:
                yield id_, model, name.rstrip("-@")


def has_price(model: Any) -> bool:
    return bool(BUILD.schedule(model.prices)[0])


OF_ITS_OWN = ("gpt-4o-mini-search-preview",)
"""Names that the source takes for another model's, and that have an entry of their own: its searches cost more."""


def test_every_name_at_the_source_finds_the_model_that_the_source_finds(
    prices: PriceTable, catalogue: Catalogue
) -> None:
    seen = 0
    for provider, _, name in names():
        theirs = THEIRS[provider].find_model(name)
        if name.endswith("-latest") and name in catalogue.models(provider):
            continue  # what it points to changes: an entry of its own
        if name.startswith(OF_ITS_OWN):
            continue
        if theirs is None or not has_price(theirs) or BUILD.UNWANTED.search(theirs.id):
            continue
        found = prices.locate(name, provider)
        assert found is not None, (provider, name)
        facts = found.entry.facts
        assert (facts.provider, facts.model) == (provider, BUILD.name_of(provider, theirs.id)), name
        seen += 1
    assert seen > 2500


def test_a_model_that_the_source_does_not_price_has_the_second_sources_price_or_none(
    prices: PriceTable,
) -> None:
    filled = {p: {BUILD.name_of(p, n) for n in of} for p, of in LITELLM["models"].items()}
    for provider, model, name in names():
        if (
            BUILD.name_of(provider, name) in filled.get(provider, ())
            or has_price(model)
            or model.id.endswith(":free")
            or provider in HOSTS
        ):
            continue
        found = prices.locate(name, provider)
        if found is not None and found.entry.facts.provider == provider:
            assert not any(found.entry.facts.rates.values()), (provider, name)


WHEN = [datetime(2026, 11, 24, 12, tzinfo=UTC), datetime(2026, 1, 15, 12, tzinfo=UTC)]
DAY = datetime(2025, 2, 1, tzinfo=UTC)


def counts(dice: random.Random, rates: Any) -> dict[str, int]:
    """A usage of the kinds that both sides price, sometimes beyond the long-context tiers."""
    size = dice.choice([1, 1000, 150_000, 300_000, 1_000_000])
    usage = {"input": dice.randint(0, size), "output": dice.randint(0, 5000)}
    for kind in ("cached_input", "cache_write_5m", "cache_write_1h", "input_audio", "output_audio"):
        if kind in rates and dice.random() < 0.5:
            usage[kind] = dice.randint(1, size)
    if "cache_write_1h" in usage and "cache_write_5m" not in rates:
        del usage["cache_write_1h"]
    return {k: n for k, n in usage.items() if n and (k in rates)}


def their_usage(usage: dict[str, int]) -> TheirUsage:
    """The same counts in the source's inclusive terms."""
    get = usage.get
    writes = get("cache_write_5m", 0) + get("cache_write_1h", 0)
    fields = {
        "input_tokens": get("input", 0) + get("cached_input", 0) + writes + get("input_audio", 0),
        "output_tokens": get("output", 0) + get("output_audio", 0),
        "cache_read_tokens": get("cached_input", 0),
        "cache_write_tokens": writes,
        "cache_write_1h_tokens": get("cache_write_1h", 0),
        "input_audio_tokens": get("input_audio", 0),
        "output_audio_tokens": get("output_audio", 0),
    }
    given = {k: n for k, n in fields.items() if n}
    if "cache_read_tokens" in given and "input_audio_tokens" in given:
        given["cache_audio_read_tokens"] = 0
    return TheirUsage(**given)


@pytest.mark.parametrize("tier", ["", "batch", "flex", "priority", "fast"])
@pytest.mark.parametrize("when", WHEN)
def test_a_cost_is_the_sources_to_the_nano_dollar(prices: PriceTable, tier: str, when: datetime) -> None:
    """All vendors' own models, and hosts' by a sample; by date, context tier and service tier."""
    dice = random.Random(f"{tier} {when}")
    context: Any = {"": None, "batch": {"processing": "batch"}}.get(tier, {"service_tier": tier})
    at_ms = int(when.timestamp()) * 1000
    compared = 0
    for provider in BUILD.PROVIDERS:
        for model in THEIRS[provider].models if provider in THEIRS else ():
            name = BUILD.name_of(provider, model.id)
            if (
                not has_price(model)
                or BUILD.UNWANTED.search(model.id)
                or name in OWN["prices"].get(provider, ())
            ):
                continue
            service = BUILD.service_tiers(model)
            if tier and tier not in service:
                continue  # of the second source
            if provider in HOSTS and (tier or dice.random() > 0.15):
                continue
            ours = prices.find(name, Terms(provider, tier, "", at_ms))
            assert ours is not None, model.id
            if tier and (ours.tier != tier or not ours.tier_known):
                continue  # no such tier, or not yet: the source silently takes the standard price
            periods = [*BUILD.schedule(model.prices)[0], *service.get(tier, ())]
            kinds = {kind for period in periods for kind in period[1]}
            usage = counts(dice, kinds & set(ours.rates))
            if not usage or dusty(ours.rates) or (ours.tiers and not any(len(p) > 2 for p in periods)):
                continue
            key = "speed" if provider == "anthropic" and tier == "fast" else None
            calculated = model.calc_price(
                their_usage(usage),
                THEIRS[provider],
                genai_request_timestamp=when,
                price_context={key: tier} if key else context,
            )
            exact = Decimal(calculated.total_price) * 10**9
            usage["requests"] = 1
            near = Decimal("0.5")
            if is_finer_than_pico(model):
                near += sum(usage.values()) / Decimal(2000)  # half a pico-USD a token
            assert abs(cost_nanousd(ours, usage) - exact) <= near, (provider, model.id, usage)
            compared += 1
    assert compared > (
        {"": 300, "batch": 60, "flex": 15, "priority": 15, "fast": 20}[tier] if when == WHEN[0] else 0
    )


def is_finer_than_pico(model: Any) -> bool:
    """Does the source state a price that is no whole pico-USD a token? (A few routers' float dust.)"""
    listed = model.prices if isinstance(model.prices, list) else [model]
    values = [v for p in listed for v in p.prices.__dict__.values() if isinstance(v, Decimal)]
    return any(v * 10**6 != int(v * 10**6) for v in values)


def dusty(rates: Any) -> bool:
    """Audio that is cached, or priced per second, has no like on the other side."""
    return "seconds" in rates or "characters" in rates


def test_hours_of_the_day_have_their_own_price(prices: PriceTable) -> None:
    def at(hour: int, minute: int) -> int:
        when = datetime(2026, 11, 24, hour, minute, tzinfo=UTC)
        found = prices.find("deepseek-flash", Terms(at_ms=int(when.timestamp()) * 1000))
        assert found is not None
        return found.rates["input"]

    assert (at(0, 59), at(1, 0), at(3, 59), at(4, 0), at(6, 30)) == (
        150_000,
        300_000,
        300_000,
        150_000,
        300_000,
    )


def test_a_price_change_prices_earlier_exchanges_with_the_earlier_price(prices: PriceTable) -> None:
    """Claude Opus 4.6 lost its long-context surcharge on 2026-03-13."""
    usage = {"input": 300_000, "output": 1000}

    def cost(day: int) -> int:
        when = datetime(2026, 3, day, 0, 0, tzinfo=UTC)
        found = prices.find("claude-opus-4-6", Terms(at_ms=int(when.timestamp()) * 1000))
        assert found is not None
        return cost_nanousd(found, usage)

    assert cost(12) == 300_000 * 10_000 + 1000 * 37_500
    assert cost(13) == 300_000 * 5_000 + 1000 * 25_000
