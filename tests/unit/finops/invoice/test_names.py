"""Every meter's name of the tables is read, and the next one of its kind too."""

from __future__ import annotations

import pytest

from spendgate.finops.invoice import line
from spendgate.finops.invoice.names import (
    CHARGE_PATTERNS,
    KIND_PATTERNS,
    charge_of,
    fingerprint,
    kind_of,
    model_of,
)


@pytest.mark.parametrize(("example", "charge"), [(e, c) for _, c, e in CHARGE_PATTERNS])
def test_the_example_of_each_charge_is_read_as_it(example: str, charge: str) -> None:
    assert charge_of(example) == charge


@pytest.mark.parametrize(("example", "kind"), [(e, k) for _, k, e in KIND_PATTERNS])
def test_the_example_of_each_kind_is_read_as_it(example: str, kind: str) -> None:
    assert kind_of(example) == kind


@pytest.mark.parametrize(
    ("meter", "about", "model", "kind"),
    [
        # Azure
        ("5.6 sol ShortCo Cd Wr Std Gl 1M Tokens", "Azure OpenAI GPT5", "gpt-5.6-sol", "cache_write_5m"),
        ("5.6 luna LongCo Opt Std DZ 1M Tokens", "Azure OpenAI GPT5", "gpt-5.6-luna", "output"),
        ("56luna LoCo Cd Inp Fl Gl 1M Tokens", "Azure OpenAI GPT5", "gpt-5.6-luna", "cached_input"),
        ("5.4 longco batch cd inp Dz 1M Tokens", "Azure OpenAI GPT5", "gpt-5.4", "cached_input"),
        ("5.4 mini Inp PP Gl 1M Tokens", "Azure OpenAI GPT5", "gpt-5.4-mini", "input"),
        ("GPT 5 Nano Batch Inpt cchd Dzone 1M Tokens", "Azure OpenAI", "gpt-5-nano", "cached_input"),
        ("GPT 5.1 codx mx opt Gl 1M Tokens", "Azure OpenAI", "gpt-5.1-codex-max", "output"),
        ("gpt 4.1 nano cached Inp regnl Tokens", "Azure OpenAI", "gpt-4.1-nano", "cached_input"),
        ("o4-mini 0416 Outp glbl Tokens", "Azure OpenAI Reasoning", "o4-mini", "output"),
        ("text embedding 3 large DZ Tokens", "Azure OpenAI", "text-embedding-3-large", "input"),
        ("4.3 Inp Glbl Tokens", "Azure Grok Models", "grok-4.3", "input"),
        ("V4 Pro Outp glbl Tokens", "Azure Deepseek Models", "deepseek-v4-pro", "output"),
        ("gpt-oss-120B Inp glbl Tokens", "Azure OpenAI OSS Models", "gpt-oss-120b", "input"),
        # Bedrock
        ("USE1-Nova2.0Lite-input-tokens-flex", "", "amazon.nova-2-lite-v1:0", "input"),
        ("EUW1-Claude4.6Sonnet-cache-write-input-token-count", "", "eu.anthropic.claude-sonnet-4-6-v1:0",
         "cache_write_5m"),
        ("USE1-Llama4-Maverick-17B-output-tokens-batch", "", "us.meta.llama4-maverick-17b-instruct-v1:0", "output"),
        ("USE1-openai.gpt-oss-20b-mantle-input-tokens-standard", "", "openai.gpt-oss-20b-1:0", "input"),
        ("UGW1-openai.gpt-5.6-terra-mantle-cache-write-tokens-30m-standard", "", "openai.gpt-5.6-terra",
         "cache_write_5m"),
        ("USW2-zai.glm5-mantle-output-tokens-priority", "", "zai.glm-5", "output"),
        ("USE1-qwen.qwen3-next-80b-a3b-instruct-mantle-input-tokens-flex", "", "qwen.qwen3-next-80b-a3b", "input"),
        # Google
        ("Gemini 2.5 Flash Lite GA Text Input", "", "gemini-2.5-flash-lite", "input"),
        ("Gemini 3 Flash Text Input Caching", "", "gemini-3-flash", "cached_input"),
        ("Gemini 2.5 Pro Input Text Caching (Long)", "", "gemini-2.5-pro", "cached_input"),
        ("Gemini 3.7 Flash Global Text Input Priority", "", "gemini-3.7-flash", "input"),
        ("Generate content output token count gemini 2.5 flash short output text non-thinking", "", "gemini-2.5-flash",
         "output"),
        ("Generate_content text cached input token count for gemini 3 flash", "", "gemini-3-flash", "cached_input"),
        ("EmbedContent input token count for gemini-embedding-2 text", "", "gemini-embedding-2", "input"),
        ("gpt-35-turbo-16k-0613 Inp Tokens", "Azure OpenAI", "gpt-3.5-turbo-16k", "input"),
        ("DeepSeek R1 Outp glbl Tokens", "Azure Deepseek Models", "deepseek-r1", "output"),
        ("Kimi K2 thinking inp glbl Tokens", "Azure Kimi Models", "kimi-k2-thinking", "input"),
        ("grok 4 fast non-reasoning outp glbl Tokens", "Azure Grok Models", "grok-4-fast-non-reasoning", "output"),
        ("USE1-DeepSeek-R1-input-tokens", "", "us.deepseek.r1-v1:0", "input"),
        ("USE1-deepseek.v3.1-mantle-input-tokens-standard", "", "deepseek.v3.1", "input"),
        ("USE1-MistralLarge2407-output-tokens", "", "mistral.mistral-large-2407-v1:0", "output"),
        ("USE1-moonshotai.kimi-k2-thinking-mantle-output-tokens-standard", "", "moonshotai.kimi-k2-thinking", "output"),
        # Anthropic
        ("Claude Haiku 4.5", "", "claude-haiku-4-5-20251001", ""),
    ],
)  # fmt: skip
def test_a_meter_is_read_for_its_model_and_kind(meter: str, about: str, model: str, kind: str) -> None:
    assert (fingerprint(model_of(meter, about)), kind_of(meter)) == (fingerprint(model), kind)
    assert charge_of(meter) == line.USAGE


@pytest.mark.parametrize(
    ("meter", "charge"),
    [
        ("Provisioned Managed Data Zone Unit", line.COMMITMENT),
        ("USE1-Claude4.5Sonnet-ProvisionedThroughput-1MonthCommit-ModelUnits", line.COMMITMENT),
        ("gpt 4.1 mini ft hosting", line.FEE),
        ("Gemini 3 Flash Text Input Caching Storage", line.FEE),
        ("Grounding with Google Search", line.FEE),
        ("code_execution", line.FEE),
        ("Promotional credit", line.CREDIT),
        ("Refund for July", line.REFUND),
        ("Sales tax", line.TAX),
    ],
)
def test_what_is_no_models_usage_has_a_charge_of_its_own(meter: str, charge: str) -> None:
    assert charge_of(meter) == charge


def test_names_of_different_models_are_never_one() -> None:
    names = (
        "gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-4.1", "gpt-5.4", "gpt-4.5", "gpt-4o-audio-preview", "gpt-image-1", "o1",
        "gpt-4o-realtime-preview", "o1-preview", "o3-mini", "gemini-2.5-flash", "gemini-2.5-flash-image",
        "gemini-2.5-flash-lite", "amazon.nova-lite-v1:0", "amazon.nova-2-lite-v1:0", "claude-opus-4", "claude-opus-4-1",
    )  # fmt: skip
    assert len({fingerprint(n) for n in names}) == len(names)
