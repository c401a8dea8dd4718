"""Who sells, makes and bills a model: by usage line, by the form of its name, by the price list."""

from __future__ import annotations

import pytest
from support.usage_lines import record

from spendgate.finops.chargeback.parties import MAKERS, SELLERS, UNKNOWN, maker_of, parties, seller_of_record
from spendgate.pricing.load import table
from spendgate.records.record import PricedBy

PRICES = table()


@pytest.mark.parametrize(
    ("model", "service", "name", "maker"),
    [
        ("gpt-4o", "OpenAI", "OpenAI API", "OpenAI"),
        ("chatgpt-4o-latest", "OpenAI", "OpenAI API", "OpenAI"),
        ("o3-mini", "OpenAI", "OpenAI API", "OpenAI"),
        ("azure/gpt-5.6-sol", "Microsoft", "Azure OpenAI", "OpenAI"),
        ("claude-sonnet-4-5", "Anthropic", "Claude API", "Anthropic"),
        ("claude-sonnet-4-5@20250929", "Google Cloud", "Vertex AI", "Anthropic"),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "Amazon Web Services",
            "Amazon Bedrock",
            "Anthropic",
        ),
        ("amazon.nova-pro-v1:0", "Amazon Web Services", "Amazon Bedrock", "Amazon"),
        ("gemini-2.5-pro", "Google Cloud", "Gemini API", "Google"),
        ("sonar-pro", "Perplexity", "Sonar API", "Perplexity"),
        ("kimi-k2", "Moonshot AI", "Kimi API", "Moonshot AI"),
        ("openrouter/anthropic/claude-sonnet-4.5", "OpenRouter", "OpenRouter API", "Anthropic"),
        ("groq/llama-3.3-70b-versatile", "Groq", "GroqCloud", "Meta"),
        ("house-model", UNKNOWN, "LLM API", UNKNOWN),
    ],
)
def test_a_models_name_and_the_price_list_tell_its_parties(
    model: str, service: str, name: str, maker: str
) -> None:
    found = parties(model, PRICES)
    assert (found.service, found.service_name, found.maker) == (service, name, maker)
    assert found.issuer == found.host == service


@pytest.mark.parametrize(
    ("fields", "provider"),
    [
        ({"priced_by": PricedBy(provider="groq"), "upstream": "azure-eu"}, "groq"),
        ({"upstream": "azure-eu"}, "azure"),
        ({"upstream": "https://bedrock-runtime.eu-west-1.amazonaws.com"}, "aws"),
        ({"upstream": "vertex-europe"}, "google"),
        ({"upstream": "together"}, "together"),
        ({"upstream": "primary", "dialect": "bedrock-converse"}, "aws"),
        ({"upstream": "metadata-proxy"}, ""),
        ({}, ""),
    ],
)
def test_a_usage_line_tells_the_provider_by_price_then_upstream_then_dialect(
    fields: dict[str, object], provider: str
) -> None:
    assert seller_of_record(record(1, **fields)) == provider


def test_what_the_usage_line_says_goes_before_the_name() -> None:
    assert parties("gpt-4o", PRICES, "azure").issuer == "Microsoft"
    assert parties("gpt-4o", PRICES, "house-proxy").service == "house-proxy"


def test_every_provider_of_the_catalogue_is_a_seller_with_a_name() -> None:
    assert PRICES.catalogue is not None
    assert set(PRICES.catalogue.providers) <= set(SELLERS)


def test_every_maker_is_found_by_its_word_and_not_within_another() -> None:
    for word, maker in MAKERS:
        assert maker_of(f"vendor/{word}x") == maker, word
    assert maker_of("supernova-mini") == UNKNOWN
