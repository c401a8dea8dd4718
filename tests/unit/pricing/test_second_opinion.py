"""The catalogue against litellm's list, a second opinion on what both know: each difference has its reason."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from support.scripts import load_script

from spendgate.pricing.catalogue import builtin, day_ms
from spendgate.pricing.load import table
from spendgate.pricing.terms import Terms

BUILD = load_script("build_prices")
LITELLM: dict[str, dict[str, Any]] = json.loads((BUILD.SOURCES / "litellm.json").read_text())["models"]
AT_MS = day_ms("2026-11-29")
KINDS = ("input", "output", "cached_input")
SURCHARGES = (Fraction(11, 10), Fraction(12, 10))
"""Bedrock's regional profiles, which plain ids are priced as, and its dearer regions."""
REASONS = {
    "deepseek": "by the hour: the peak price, which is the other's only one, holds for part of the day",
    "azure ada": "the other has the global price, the catalogue that of regional deployments",
    "azure text-embedding-": "likewise",
    "aws amazon.titan-embed-text": "version 1 and 2 share a name at the source; version 2 is what is sold",
    "google claude-3-5-haiku": "Vertex lowered it to Anthropic's price; the other has the first one",
    "fireworks": "the host changes its serverless prices by the week; the source is dated",
    "google gemini-2.0-flash": "the Gemini API's price; the other has Vertex's",
    "google gemma-4": "free of charge at the Gemini API; the other has Vertex's endpoint",
    "google gemini-4-argon": "another's price of the Live API under the same name",
    "groq openai/gpt-oss-safeguard-20b": "the other rounds",
    "mistral mistral-medium": "an alias whose target changed; the catalogue has the dated models",
    "mistral mistral-large": "`-latest` is an entry of its own; without it the name is that of Large 2",
    "mistral open-mistral-nemo": "lowered by the vendor",
    "openai gpt-4o-mini-tts": "text out is not sold; the other prices audio out as output",
    "together": "serverless prices change by the week; the source is younger",
}


def _differences() -> list[tuple[str, str, dict[str, tuple[int, int]]]]:
    prices = table()
    out = []
    for provider, models in LITELLM.items():
        for theirs, known in models.items():
            name = BUILD.name_of(provider, theirs)
            found = prices.locate(name, provider)
            if found is None or found.entry.facts.provider != provider:
                continue
            ours, rates = found.entry.at(AT_MS).rates, known["rates"]
            both = [k for k in KINDS if ours.get(k) and rates.get(k)]
            odd = {k: (ours[k], rates[k]) for k in both if Fraction(ours[k], rates[k]) != 1}
            regional = provider == "aws" and {Fraction(ours[k], rates[k]) for k in both} <= {*SURCHARGES}
            if odd and not regional:
                out.append((provider, name, odd))
    return out


def test_every_difference_between_both_lists_has_its_reason() -> None:
    unexplained = [
        (provider, name, odd)
        for provider, name, odd in _differences()
        if not any(f"{provider} {name}".startswith(reason) for reason in REASONS)
    ]
    assert not unexplained, "\n".join(map(str, unexplained))


def test_most_of_what_both_know_is_the_same() -> None:
    known = sum(
        table().locate(BUILD.name_of(provider, name), provider) is not None
        for provider, models in LITELLM.items()
        for name in models
    )
    assert known > 1000
    assert len(_differences()) < known / 20


@pytest.mark.parametrize(
    ("provider", "model", "tier", "rates"),
    [
        ("openai", "gpt-6.2-sol", "", (2_000_000, 100_000, 10_000_000)),
        ("openai", "gpt-6.2-astra", "", (8_000_000, 400_000, 40_000_000)),
        ("google", "gemini-4-hydrogen", "", (1_500_000, 75_000, 7_500_000)),
        ("google", "gemini-3.5-flash", "priority", (2_700_000, 270_000, 16_200_000)),
        ("google", "gemini-3.5-flash", "flex", (750_000, 80_000, 4_500_000)),
        ("aws", "openai.gpt-oss-120b-1:0", "priority", (262_500, 0, 1_050_000)),
        ("aws", "us.amazon.nova-pro-v1:0", "optimized", (1_000_000, 250_000, 4_000_000)),
        ("mistral", "mistral-large-latest", "", (500_000, 50_000, 1_500_000)),
        ("anthropic", "claude-mythos-5", "", (10_000_000, 1_000_000, 50_000_000)),
        ("deepinfra", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "", (100_000, 0, 320_000)),
        ("alibaba", "qwen-plus", "", (400_000, 0, 1_200_000)),
    ],
)
def test_what_was_missing_or_stale_is_priced(
    provider: str, model: str, tier: str, rates: tuple[int, int, int]
) -> None:
    price = table().find(model, Terms(provider, tier, at_ms=AT_MS))
    assert price is not None
    assert tuple(price.rates.get(k, 0) for k in ("input", "cached_input", "output")) == rates
    assert price.tier_known


@pytest.mark.parametrize(
    ("provider", "model", "kind", "nanousd"),
    [
        ("openai", "gpt-4o-search-preview", "searches", 25_000_000),
        ("openai", "o3-pro", "searches", 10_000_000),
        ("google", "claude-opus-5-5", "searches", 10_000_000),
        ("google", "gemini-2.5-flash", "maps", 25_000_000),
        ("google", "gemini-3.5-flash", "maps", 14_000_000),
        ("cohere", "rerank-v3.5", "searches", 2_000_000),
    ],
)
def test_fees_have_a_price_of_their_own(provider: str, model: str, kind: str, nanousd: int) -> None:
    price = table().find(model, Terms(provider, at_ms=AT_MS))
    assert price is not None
    assert price.rates[kind] == nanousd * 1000


@pytest.mark.parametrize(
    ("provider", "model", "place"),
    [
        ("azure", "gpt-5-mini", "us"),
        ("azure", "gpt-4.1", "eu"),
        ("google", "claude-sonnet-5", "regional"),
        ("openai", "gpt-6.1-terra", "eu"),
        ("openai", "gpt-6.2-sol", "us"),
    ],
)
def test_places_have_their_surcharge(provider: str, model: str, place: str) -> None:
    price = table().find(model, Terms(provider, "", place, AT_MS))
    assert price is not None
    assert price.multiplier == (110, 100)


def test_openais_models_on_bedrock_have_their_long_context_tier() -> None:
    price = table().find("openai.gpt-5.5", Terms("aws", at_ms=AT_MS))
    assert price is not None
    assert [(t.above_input_tokens, t.rates["input"], t.rates["output"]) for t in price.tiers] == [
        (272_000, 11_000_000, 49_500_000)
    ]


def test_no_stand_in_is_a_free_model() -> None:
    prices = table()
    for model in (
        "gemma3:1b",
        "llama3.2:1b",
        "qwen3:0.6b",
        "gpt-oss:20b",
        "deepseek-r1:1.5b",
        "no-such-model",
    ):
        stand_in = prices.dearest_of_family(model)
        assert stand_in.rates.get("input", 0) > 0, (model, stand_in.model)
    assert all(builtin().dearest[words][0] >= 0 for words in builtin().dearest)
