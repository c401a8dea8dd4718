"""One model under all its names, and no model under another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.pricing.aliases import bare, known_as, same
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable

OPUS = "claude-opus-4-1"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("OpenAI/GPT-4o", "gpt-4o"),
        (" gpt-4o ", "gpt-4o"),
        ("gpt-4o\t\x00", "gpt-4o"),
        ("gpt-4o\u00a0", "gpt-4o"),
        ("azure/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o:nitro", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("~anthropic/claude-opus-4-1", OPUS),
        ("anthropic/claude-opus-4.1", OPUS),
        ("claude-opus-4-1-20250805", OPUS),
        ("claude-opus-4-1@20250805", OPUS),
        ("anthropic.claude-opus-4-1-20250805-v1:0", OPUS),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", OPUS),
        ("US.Anthropic.claude-opus-4-1-20250805-v1:0", OPUS),
        ("bedrock/us.anthropic.claude-opus-4-1-20250805-v1:0", OPUS),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-opus-4-1-20250805-v1:0", OPUS),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-1-20250805-v1:0", OPUS),
        ("publishers/anthropic/models/claude-opus-4-1", OPUS),
        ("projects/p/locations/l/publishers/anthropic/models/claude-opus-4-1@20250805", OPUS),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex_ai/gemini-2.5-pro", "gemini-2.5-pro"),
        ("accounts/fireworks/models/deepseek-v3", "deepseek-v3"),
    ],
)
def test_every_name_of_a_model_is_known(name: str, model: str) -> None:
    assert model in known_as(name)
    assert same(name, model)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4o", "gpt-4"),
        ("openai/gpt-4o-mini", "openai/gpt-4o"),
        ("claude-opus-4-1", "claude-opus-4"),
        ("claude-sonnet-4-5", OPUS),
        ("gpt-4\u043e", "gpt-4o"),  # a Cyrillic letter
    ],
)
def test_a_name_that_looks_alike_is_another_model(name: str, other: str) -> None:
    assert other not in known_as(name)
    assert not same(name, other)


def test_a_model_is_not_known_by_what_is_only_sold_at_its_price() -> None:
    assert "gpt-4o-mini-search-preview" not in known_as("gpt-4o-mini")


def test_a_deployment_is_known_by_the_model_that_it_stands_for() -> None:
    listed = table()
    prices = PriceTable(listed.prices, aliases={"team-gpt": "gpt-4o"}, catalogue=listed.catalogue)
    assert {"team-gpt", "gpt-4o", "openai/gpt-4o"} <= set(prices.known_as("team-gpt"))
    assert {"gpt-4o"} <= set(prices.known_as("azure/team-gpt"))


@given(st.text(max_size=30))
def test_every_name_is_known_by_itself_and_its_bare_name_is_bare(name: str) -> None:
    assert not name or name in known_as(name)
    assert bare(bare(name)) == bare(name) or "." in name or ":" in name
