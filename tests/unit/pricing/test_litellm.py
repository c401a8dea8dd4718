"""litellm's list becomes a price file that says the same, exactly."""

from __future__ import annotations

import json

import pytest

from spendgate.errors import ConfigurationError
from spendgate.pricing.litellm import convert
from spendgate.pricing.parse import parse
from spendgate.pricing.price import Entry

LISTED = """{
 "sample_spec": {"mode": "chat", "litellm_provider": "one of https://…", "input_cost_per_token": 0.0},
 "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
   "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07,
   "input_cost_per_token_above_272k_tokens": 5e-06, "output_cost_per_token_above_272k_tokens": 2.25e-05,
   "input_cost_per_token_flex": 1.25e-06, "output_cost_per_token_flex": 5e-06,
   "input_cost_per_token_above_272k_tokens_flex": 2.5e-06,
   "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
   "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.03},
   "regional_processing_uplift_multiplier_eu": 1.1, "max_output_tokens": 128000, "max_input_tokens": 400000.0,
   "supports_function_calling": true, "supports_vision": false},
 "claude-y": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06,
   "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06,
   "cache_creation_input_token_cost_above_1hr": 6e-06},
 "groq/llama": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 5.9e-07,
   "output_cost_per_token": 7.9e-07},
 "bedrock/anthropic.claude-y": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 3e-06,
   "output_cost_per_token": 1.5e-05},
 "whisper-1": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
 "vertex_ai/imagen": {"litellm_provider": "vertex_ai-image-models", "mode": "image_generation",
   "output_cost_per_image": 0.04},
 "fine": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.23456789012e-07,
   "output_cost_per_token": 1e-06},
 "empty": {"litellm_provider": "openai", "mode": "chat"},
 "minus": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1e-06},
 "far/away": {"litellm_provider": "far", "mode": "chat", "input_cost_per_token": 1e-06}
}"""


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    return parse(convert(LISTED, "l.json").text, "prices.yaml").prices


def test_vendors_models_keep_their_names_and_hosts_get_their_provider(entries: dict[str, Entry]) -> None:
    assert set(entries) == {
        "gpt-x", "claude-y", "groq/llama", "aws/anthropic.claude-y", "whisper-1", "imagen",
    }  # fmt: skip


def test_numbers_in_scientific_notation_stay_exact(entries: dict[str, Entry]) -> None:
    price = entries["gpt-x"].at(None)
    assert price.rates == {
        "input": 2_500_000, "output": 10_000_000, "cached_input": 125_000, "searches": 30 * 10**9,
    }  # fmt: skip
    assert entries["claude-y"].at(None).rates["cache_write_1h"] == 6_000_000
    assert entries["whisper-1"].at(None).rates == {"seconds": 360 * 10**9}
    assert entries["imagen"].at(None).rates == {"images": 4 * 10**10}


def test_tiers_places_and_limits_come_along(entries: dict[str, Entry]) -> None:
    entry = entries["gpt-x"]
    (tier,) = entry.at(None).tiers
    assert (tier.above_input_tokens, tier.rates) == (272_000, {"input": 5_000_000, "output": 22_500_000})
    flex = entry.at(None, "flex")
    assert flex.rates["input"] == 1_250_000
    assert flex.tiers[0].rates == {"input": 2_500_000}
    assert entry.at(None, "batch").rates["output"] == 5_000_000
    assert entry.residency == {"eu": 110}
    assert (entry.facts.max_output_tokens, entry.facts.context_tokens) == (128_000, 400_000)
    assert entry.facts.capabilities == {"tools"}


def test_what_can_not_be_said_exactly_is_named() -> None:
    assert convert(LISTED, "l.json").left_out == [
        ("fine", "1.23456789012E-7 is finer than a pico-USD a unit"),
        ("empty", "it prices nothing that is metered"),
        ("minus", "-0.000001 is negative"),
    ]


def test_only_what_is_wanted_is_taken() -> None:
    assert list(parse(convert(LISTED, "l", provider="groq").text, "p").prices) == ["groq/llama"]
    assert list(parse(convert(LISTED, "l", pattern="claude-*").text, "p").prices) == ["claude-y"]
    assert convert(LISTED, "l", provider="azure").models == 0


@pytest.mark.parametrize("text", ["", "[1]", "{}", json.dumps({"models": {"a": {"input": 1}}}), "models:\n"])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        convert(text, "l.json")
