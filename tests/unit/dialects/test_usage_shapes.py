"""The same counts under other names and in other places: proxies and copies of an API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spendgate.dialects import registry
from spendgate.dialects.base import Reading
from spendgate.dialects.openai_media.audio_length import seconds_of


def read(dialect: str, document: object, **headers: str) -> Reading:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return registry.by_name(dialect).read_answer(json.dumps(document).encode(), named)


def chat(**usage: Any) -> dict[str, int]:
    return read("openai-chat", {"model": "m", "choices": [], "usage": usage}).usage


@pytest.mark.parametrize(
    ("usage", "kinds"),
    [
        # LiteLLM, Databricks: beside the details, which say nothing
        (
            {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0},
             "cache_read_input_tokens": 90},
            {"input": 10, "cached_input": 90, "output": 1},
        ),
        # LiteLLM: written tokens under three names, split by lifetime
        (
            {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101, "cache_creation_input_tokens": 60,
             "prompt_tokens_details": {"cached_tokens": 30, "cache_creation_tokens": 60, "cache_creation_token_details":
                                       {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40}}},
            {"input": 10, "cached_input": 30, "cache_write_5m": 20, "cache_write_1h": 40, "output": 1},
        ),
        # DashScope
        (
            {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {
                "cached_tokens": 0, "cache_creation_input_tokens": 80,
                "cache_creation": {"ephemeral_5m_input_tokens": 80}}},
            {"input": 20, "cache_write_5m": 80, "output": 1},
        ),
        # Anthropic's counts under OpenAI's names: the cache is beside the prompt
        (
            {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6, "cache_read_input_tokens": 90},
            {"input": 5, "cached_input": 90, "output": 1},
        ),
        # texts
        (
            {"prompt_tokens": "1000", "completion_tokens": "100", "total_tokens": "1100"},
            {"input": 1000, "output": 100},
        ),
        # reasoning above the completion, where the check sum knows better
        (
            {"prompt_tokens": 952, "completion_tokens": 6000, "total_tokens": 6952,
             "completion_tokens_details": {"reasoning_tokens": 6001}},
            {"input": 952, "reasoning": 6000},
        ),
        # cached sound
        (
            {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {
                "audio_tokens": 60, "cached_tokens": 50, "cached_tokens_details": {"audio_tokens": 40}}},
            {"input": 30, "input_audio": 20, "cached_input_audio": 40, "cached_input": 10, "output": 1},
        ),
    ],
)  # fmt: skip
def test_counts_are_found_under_every_name(usage: dict[str, Any], kinds: dict[str, int]) -> None:
    assert chat(**usage) == kinds | {"requests": 1}


def test_usage_in_the_choices_is_read_whole_and_streamed() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    kinds = {"input": 10, "output": 5, "requests": 1}
    document = {
        "model": "kimi",
        "choices": [{"index": 0, "finish_reason": "stop", "delta": {}, "usage": usage}],
    }
    assert read("openai-chat", document).usage == kinds
    meter = registry.by_name("openai-chat").stream_meter(hide_usage=True, count=len)
    stream = b"data: " + json.dumps(document).encode() + b"\n\ndata: [DONE]\n\n"
    assert meter.feed(stream, True) in (None, stream), "the client needs the chunk with the finish reason"
    assert (meter.result().problem, meter.result().usage) == (None, kinds)


def test_responses_read_the_chats_names_and_end_with_done() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert read("openai-responses", {"usage": usage}).usage == {"input": 10, "output": 5, "requests": 1}
    event = {
        "type": "response.done",
        "response": {"model": "m", "usage": {"input_tokens": 10, "output_tokens": 5}},
    }
    meter = registry.by_name("openai-responses").stream_meter(hide_usage=False, count=len)
    meter.feed(b"data: " + json.dumps(event).encode() + b"\n\n", True)
    assert meter.result().usage == {"input": 10, "output": 5, "requests": 1}


@pytest.mark.parametrize(
    ("dialect", "usage"),
    [
        ("openai-chat", {"prompt_tokens": 1, "completion_tokens": 1}),
        ("openai-responses", {"input_tokens": 1, "output_tokens": 1}),
        ("openai-embeddings", {"prompt_tokens": 1}),
        ("anthropic-messages", {"input_tokens": 1, "output_tokens": 1}),
    ],
)
def test_told_costs_are_read_in_every_api_that_can_carry_them(dialect: str, usage: dict[str, Any]) -> None:
    for told in (
        {"cost": 0.5},
        {"cost_in_usd_ticks": 5_000_000_000},
        {"estimated_cost": "0.5"},
        {"cost": {"total_cost": 0.5}},
    ):
        assert read(dialect, {"model": "m", "usage": usage | told}).told_nanousd == 500_000_000, told


def test_an_image_tools_own_usage_is_charged_as_its_models() -> None:
    document = {
        "model": "gpt-5.4",
        "output": [{"type": "image_generation_call", "status": "completed", "quality": "high"}],
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "usage": {"input_tokens": 10, "output_tokens": 5},
        "tool_usage": {
            "image_gen": {
                "input_tokens": 149,
                "output_tokens": 5488,
                "output_tokens_details": {"image_tokens": 5488},
            },
            "web_search": {"num_requests": 2},
        },
    }
    reading = read("openai-responses", document)
    own = {"input": 10, "output": 5, "requests": 1, "searches": 2}
    assert reading.parts == (("gpt-5.4", own), ("gpt-image-2", {"input": 149, "output_image": 5488}))


def anthropic(**fields: Any) -> Reading:
    return read(
        "anthropic-messages",
        {"model": "claude-opus-4-8", "content": [{"type": "text", "text": "hi"}], **fields},
    )


def test_an_attempt_that_was_declined_before_any_output_is_free() -> None:
    def tried(kind: str, model: str, made: int) -> dict[str, Any]:
        return {"type": kind, "model": model, "input_tokens": 412, "output_tokens": made}

    declined = tried("message", "claude-fable-5", 0)
    answered = tried("fallback_message", "claude-opus-4-8", 264)
    usage = {"input_tokens": 412, "output_tokens": 264, "iterations": [declined, answered]}
    assert anthropic(usage=usage).usage == {"input": 412, "output": 264, "requests": 1}
    begun = usage | {"iterations": [declined | {"output_tokens": 9}, answered]}
    assert anthropic(usage=begun).usage == {"input": 824, "output": 273, "requests": 1}


def test_a_refusal_before_any_output_is_free_and_one_after_some_is_not() -> None:
    usage = {"input_tokens": 412, "output_tokens": 0}
    assert anthropic(content=[], stop_reason="refusal", usage=usage).usage == {"requests": 1}
    assert anthropic(stop_reason="refusal", usage=usage | {"output_tokens": 3}).usage == {
        "input": 412, "output": 3, "requests": 1,
    }  # fmt: skip


def gemini(grounding: dict[str, Any], model: str = "gemini-3.5-flash", **meta: Any) -> Reading:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15} | meta
    document = {
        "modelVersion": model,
        "candidates": [{"groundingMetadata": grounding}],
        "usageMetadata": counts,
    }
    return read("gemini", document)


def test_a_repeated_query_is_billed_once_and_an_empty_one_not() -> None:
    grounding = {"webSearchQueries": ["a", "a", "", "b"], "groundingChunks": [{"web": {"uri": "x"}}]}
    assert gemini(grounding).usage["searches"] == 2
    assert gemini(grounding, "gemini-2.5-flash").usage["searches"] == 1


def test_grounding_with_maps_is_billed_by_itself() -> None:
    grounding = {"groundingChunks": [{"maps": {"placeId": "1"}}, {"maps": {"placeId": "2"}}]}
    usage = gemini(grounding, "gemini-2.5-flash").usage
    assert (usage.get("maps"), usage.get("searches")) == (1, None)


def test_the_tier_that_served_is_told_by_body_or_header() -> None:
    assert gemini({}, trafficType="ON_DEMAND_PRIORITY").service_tier == "ON_DEMAND_PRIORITY"
    document = {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}}
    assert read("gemini", document, x_gemini_service_tier="standard").service_tier == "standard"
    converse = {"usage": {"inputTokens": 1, "outputTokens": 1}}
    assert (
        read("bedrock-converse", converse | {"serviceTier": {"type": "priority"}}).service_tier == "priority"
    )
    fast = converse | {"performanceConfig": {"latency": "optimized"}}
    assert read("bedrock-converse", fast).service_tier == "optimized"


def test_a_prompt_router_tells_which_model_answered() -> None:
    trace = {"promptRouter": {"invokedModelId": "us.anthropic.claude-3-5-haiku-20241022-v1:0"}}
    document = {"usage": {"inputTokens": 1, "outputTokens": 1}, "trace": trace}
    assert read("bedrock-converse", document).model == "us.anthropic.claude-3-5-haiku-20241022-v1:0"


def test_openais_models_on_bedrock_count_what_they_write_within_their_input() -> None:
    dialect = registry.by_name("bedrock-converse")
    document = {
        "usage": {
            "inputTokens": 4995,
            "outputTokens": 19,
            "totalTokens": 10007,
            "cacheWriteInputTokens": 4993,
        }
    }
    reading = dialect.read_answer(json.dumps(document).encode())
    own = dialect.of_model(reading, "us.openai.gpt-5.6-sol")
    assert own.usage == {"input": 2, "cache_write_5m": 4993, "output": 19, "requests": 1}
    assert dialect.of_model(reading, "us.anthropic.claude-opus-5").usage["input"] == 4995


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1\n00:00:00,000 --> 00:00:31,000\nHello\n\n2\n00:00:31,000 --> 00:01:00,000\nBye\n", 60),
        (b"WEBVTT\n\n00:00.000 --> 00:10.500\nHello\n", 11),
        (b"WEBVTT\n\n01:00:00.000 --> 01:00:01.000\nHello\n", 3601),
    ],
)
def test_subtitles_tell_how_long_the_sound_was(text: bytes, seconds: int) -> None:
    dialect = registry.by_name("openai-transcriptions")
    assert dialect.reads("text/plain")
    assert dialect.reads("text/vtt")
    reading = dialect.read_answer(text, {"content-type": "text/plain; charset=utf-8"})
    assert reading.usage == {"seconds": seconds, "requests": 1}


def test_a_plain_transcript_tells_no_usage() -> None:
    reading = registry.by_name("openai-transcriptions").read_answer(b"Hello", {"content-type": "text/plain"})
    assert reading.problem == "no_usage"


def test_an_mp3_is_as_long_as_its_frames() -> None:
    frame = bytes.fromhex("fffb9000") + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz
    assert seconds_of(frame * 2297) == 61  # 60.004 s, rounded up
    assert seconds_of(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + frame * 100) == 3
    assert seconds_of(frame * 100 + bytes(10_000)) is None
    assert seconds_of(b"\xff\xfb" * 50) is None
    assert seconds_of(b"") is None


def test_an_error_with_a_status_of_success_is_an_error() -> None:
    assert read("openai-chat", {"error": {"message": "no credits", "code": 402}}).error
    assert read("anthropic-messages", {"type": "error", "error": {"type": "overloaded_error"}}).error
    made = {"error": None, "choices": [{"message": {"content": "hi"}}]}
    assert not read("openai-chat", made).error
    partly = {"error": {"code": 500}, "choices": [{"message": {"content": "hi"}}]}
    assert not read("openai-chat", partly).error
