"""Which models may bill output that nobody saw."""

from __future__ import annotations

import pytest

from spendgate.pricing.reasoning import may_reason


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o", "gpt-4o-mini-2024-07-18", "openai/gpt-4o", "ft:gpt-4o:acme::1", "gpt-4.1-nano", "gpt-3.5-turbo",
        "chatgpt-4o-latest", "gpt-5-chat-latest", " GPT-4o ", "claude-3-5-sonnet-20241022", "claude-3-haiku",
        "claude-opus-4-1", "claude-sonnet-4-5-20250929", "us.anthropic.claude-3-5-haiku-20241022-v1:0",
        "gemini-2.0-flash", "models/gemini-1.5-pro", "gemini-2.5-flash-lite", "mistral-large-latest",
        "command-r-plus-08-2024", "llama-3-70b", "meta.llama3-70b-instruct-v1:0", "deepseek-chat", "grok-3",
        "text-embedding-3-small",
    ],
)  # fmt: skip
def test_a_model_that_reasons_only_when_asked_is_known(model: str) -> None:
    assert not may_reason(model)


@pytest.mark.parametrize(
    "model",
    [
        "o1", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5.2", "gpt-6-sol", "openai/o3", "gpt-oss-120b", "codex-mini",
        "claude-opus-5", "claude-fable-5", "claude-sonnet", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro",
        "gemini-2.0-flash-thinking-exp", "magistral-medium", "command-a-reasoning-08-2025", "deepseek-reasoner",
        "grok-3-mini", "grok-4", "qwen3-max", "qwq-32b", "phi-4-reasoning", "my-own-model", "", "gpt-40", "gpt-41o",
    ],
)  # fmt: skip
def test_a_model_that_reasons_or_that_nobody_knows_may_reason(model: str) -> None:
    assert may_reason(model)
