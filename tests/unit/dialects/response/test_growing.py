"""Within an answer a count never falls back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects import registry
from spendgate.dialects.base import Reading
from spendgate.dialects.response.growing import later, lay_over
from spendgate.usage import INPUT_KINDS, KINDS, OUTPUT_KINDS, input_total, output_total, total

USAGES = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 10**6), max_size=6)


@given(USAGES, USAGES)
def test_neither_side_of_a_later_reading_is_below_the_earlier_one(
    before: dict[str, int], now: dict[str, int]
) -> None:
    joined = later(Reading(before, "m"), Reading(now, "m")).usage
    assert input_total(joined) == max(input_total(before), input_total(now))
    assert output_total(joined) == max(output_total(before), output_total(now))
    for kind in set(KINDS) - {*INPUT_KINDS, *OUTPUT_KINDS}:
        assert joined.get(kind, 0) == max(before.get(kind, 0), now.get(kind, 0))


@given(USAGES)
def test_what_grew_is_taken_as_it_is(before: dict[str, int]) -> None:
    now = {kind: n + 1 for kind, n in before.items()}
    assert later(Reading(before, "m"), Reading(now, "m")).usage == now


def test_tokens_that_turn_out_to_be_cached_are_not_counted_twice() -> None:
    now = {"input": 20, "cached_input": 80}
    assert later(Reading({"input": 100}), Reading(now)).usage == now


COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 100) | st.none(), max_size=3)


@given(COUNTS, COUNTS)
def test_laid_over_counts_only_grow(before: dict[str, Any], update: dict[str, Any]) -> None:
    known = dict(before)
    lay_over(known, update)
    for key, value in {**before, **update}.items():
        assert (known.get(key) or 0) == max(before.get(key) or 0, update.get(key) or 0), (key, value)


def sse(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events)


def chunk(usage: object = None, text: str = "", **fields: object) -> dict[str, object]:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}] if text else []
    return {"model": "m", "choices": choices, "usage": usage, **fields}


def metered(dialect: str, stream: bytes) -> Reading:
    meter = registry.by_name(dialect).stream_meter(hide_usage=False, count=len)
    meter.feed(stream, True)
    return meter.result()


def test_a_last_chunk_of_zeros_does_not_wipe_the_true_usage() -> None:
    true = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    stream = sse(chunk(text="hi"), chunk(true), chunk(zeros)) + b"data: [DONE]\n\n"
    assert metered("openai-chat", stream).usage == {"input": 10, "output": 5, "requests": 1}


def test_anthropics_last_event_of_zero_input_keeps_what_the_first_told() -> None:
    start = {
        "type": "message_start",
        "message": {"model": "claude-x", "usage": {"input_tokens": 2095, "output_tokens": 1}},
    }
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 0, "output_tokens": 503},
    }
    reading = metered("anthropic-messages", sse(start, delta, {"type": "message_stop"}))
    assert reading.usage == {"input": 2095, "output": 503, "requests": 1}


def test_gemini_may_correct_its_prompt_by_a_chunk_that_agrees_with_itself() -> None:
    def meta(prompt: int, made: int) -> dict[str, object]:
        counts = {"promptTokenCount": prompt, "candidatesTokenCount": made, "totalTokenCount": prompt + made}
        return {
            "modelVersion": "gemini-2.0-flash",
            "usageMetadata": counts,
            "candidates": [{"finishReason": "STOP"}],
        }

    assert metered("gemini", sse(meta(15, 3), meta(14, 33))).usage == {
        "input": 14,
        "output": 33,
        "requests": 1,
    }
    assert metered("gemini", sse(meta(15, 33), meta(0, 0))).usage == {
        "input": 15,
        "output": 33,
        "requests": 1,
    }


@pytest.mark.parametrize(
    ("dialect", "document"),
    [
        (
            "openai-chat",
            {
                "choices": [{"message": {"content": "word " * 9}}],
                "usage": {"prompt_tokens": 0, "completion_tokens": 0},
            },
        ),
        (
            "anthropic-messages",
            {"content": [{"type": "text", "text": "word"}], "usage": {"input_tokens": 0, "output_tokens": 0}},
        ),
        (
            "gemini",
            {
                "candidates": [{"content": {"parts": [{"text": "word"}]}}],
                "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0},
            },
        ),
        (
            "openai-responses",
            {
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "word"}]}],
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        ),
    ],
)
def test_zeros_beside_a_text_are_no_usage(dialect: str, document: dict[str, object]) -> None:
    reading = registry.by_name(dialect).read_answer(json.dumps(document).encode())
    assert (reading.problem, total(reading.usage, KINDS)) == ("zero_usage", 0)
    assert "word" in reading.text


def test_zeros_of_a_stream_with_a_text_are_no_usage() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    stream = sse(chunk(text="hi"), chunk(zeros)) + b"data: [DONE]\n\n"
    assert metered("openai-chat", stream).problem == "zero_usage"


def test_zeros_without_a_text_are_believed() -> None:
    document = {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    reading = registry.by_name("openai-chat").read_answer(json.dumps(document).encode())
    assert (reading.problem, reading.usage) == (None, {"requests": 1})


def test_a_stream_with_its_usage_is_not_counted() -> None:
    def count(_: str) -> int:
        raise AssertionError("the text was tokenised though the usage is there")

    true = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    meter = registry.by_name("openai-chat").stream_meter(hide_usage=False, count=count)
    meter.feed(sse(chunk(text="hi"), chunk(true)) + b"data: [DONE]\n\n", True)
    assert meter.result().usage == {"input": 10, "output": 5, "requests": 1}
