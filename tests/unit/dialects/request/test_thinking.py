"""Whether a request asks for reasoning, by every spelling."""

from __future__ import annotations

import orjson
import pytest

from spendgate.dialects import registry
from spendgate.dialects.request import thinking
from spendgate.dialects.request.thinking import BUDGET, EFFORT, THINK, THINKING, asked


@pytest.mark.parametrize(
    "document",
    [
        {"reasoning_effort": "minimal"},
        {"reasoning": {"effort": "low"}},
        {"reasoning": {"max_tokens": 9}},
        {"reasoning": {"enabled": True}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "adaptive"}},
        {"thinking": True},
        {"think": "high"},
        {"enable_thinking": True},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}},
        {"generation_config": {"thinking_config": {"thinking_budget": 99}}},
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}},
        {"generation_config": {"thinking_level": "high"}},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1}}},
        {"additionalModelRequestFields": {"reasoning_config": {"type": "enabled"}}},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 5}}}},
        {"reasoning_effort": "none", "thinking": {"type": "enabled"}},
    ],
)
def test_any_spelling_asks(document: dict[str, object]) -> None:
    for off in ("", EFFORT, THINKING, BUDGET, THINK):
        assert asked(document, off) is True


@pytest.mark.parametrize(
    ("document", "off"),
    [
        ({"reasoning_effort": "none"}, EFFORT),
        ({"reasoning": {"effort": "none"}}, EFFORT),
        ({"thinking": {"type": "disabled"}}, THINKING),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, BUDGET),
        ({"think": False}, THINK),
    ],
)
def test_it_is_switched_off_only_in_the_apis_own_way(document: dict[str, object], off: str) -> None:
    assert asked(document, off) is False
    for other in {"", EFFORT, THINKING, BUDGET, THINK} - {off}:
        assert asked(document, other) is None


@pytest.mark.parametrize(
    "document", [{}, {"model": "o3"}, {"reasoning": {}}, {"reasoning": None}, {"thinking": None}]
)
def test_most_requests_say_nothing_of_it(document: dict[str, object]) -> None:
    assert asked(document, thinking.EFFORT) is None


def _event(data: object) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        *(
            (
                "anthropic-messages",
                {"type": "content_block_start", "index": 0, "content_block": {"type": kind}},
            )
            for kind in ("thinking", "redacted_thinking", "server_tool_use")
        ),
        ("gemini", {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}),
        (
            "openai-responses",
            {"type": "response.output_item.added", "item": {"type": "code_interpreter_call"}},
        ),
        ("openai-chat", {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ],
)
def test_a_stream_shows_that_more_may_be_billed_than_flows(dialect: str, event: object) -> None:
    meter = registry.by_name(dialect).stream_meter(hide_usage=False, count=len)
    assert not meter.hidden
    meter.feed(_event(event), False)
    assert meter.hidden


@pytest.mark.parametrize("background", [True, "true", 1])
@pytest.mark.parametrize("dialect", ["openai-responses", "gemini-interactions"])
def test_what_is_made_in_the_background_is_not_over_with_its_stream(dialect: str, background: object) -> None:
    body = {"model": "gpt-4o", "input": "hi", "stream": True}
    read = registry.by_name(dialect).read_request
    assert read(orjson.dumps({**body, "background": background}), "/v1/responses").output_hidden is True
    assert read(orjson.dumps({**body, "background": False}), "/v1/responses").output_hidden is not True
