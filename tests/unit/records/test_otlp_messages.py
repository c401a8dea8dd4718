"""Usage lines as OpenTelemetry's generative AI events: what was asked for, and of whom."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from unit.records.test_record import FULL

from spendgate.records.otlp_messages import record
from spendgate.records.record import LINE


def attributes(**row: Any) -> dict[str, str]:
    line = {"time": "2026-11-24T12:00:00.000Z", "outcome": "complete", "model": "m", **row}
    return {a.key: a.value.string_value for a in record(line).attributes}


@pytest.mark.parametrize(
    ("dialect", "provider", "operation", "named"),
    [
        ("openai-chat", "", "chat", "openai"),
        ("openai-chat", "azure", "chat", "azure.ai.openai"),
        ("openai-chat", "groq", "chat", "groq"),
        ("openai-completions", "", "text_completion", "openai"),
        ("openai-speech", "", "speech", "openai"),
        ("openai-transcriptions", "azure", "transcription", "azure.ai.openai"),
        ("openai-images", "", "image_generation", "openai"),
        ("cohere-rerank", "", "rerank", "cohere"),
        ("gemini", "", "generate_content", "gcp.gen_ai"),
        ("gemini-embeddings", "", "embeddings", "gcp.gen_ai"),
        ("anthropic-vertex", "google", "chat", "gcp.gen_ai"),
        ("bedrock-converse", "", "chat", "aws.bedrock"),
        ("mistral-conversations", "", "chat", "mistral_ai"),
    ],
)
def test_a_line_says_what_was_asked_for_and_of_whom(
    dialect: str, provider: str, operation: str, named: str
) -> None:
    row = {"priced_by": {"provider": provider}} if provider else {}
    found = attributes(dialect=dialect, **row)
    assert (found["gen_ai.operation.name"], found["gen_ai.provider.name"]) == (operation, named)


def test_a_line_in_no_dialect_names_nobody() -> None:
    assert "gen_ai.provider.name" not in attributes(dialect="")


def test_each_field_of_a_line_is_an_attribute_or_left_out_on_purpose() -> None:
    own_place = {"time"}
    left_out = {
        "parts",
        "attempts",
        "charged_by",
        "flags",
        "list_cost_usd",
        "effective_cost_usd",
        "model_answered",
    }
    line = orjson.loads(FULL.line())
    for name in set(LINE.names) - own_place - left_out:
        without = {k: v for k, v in line.items() if k != name}
        assert record(without).attributes != record(line).attributes, name
