"""Usage of OpenAI-shaped answers: disjoint kinds that add up to the provider's totals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.dialects.base import Reading
from spendgate.dialects.openai import usage
from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.usage import COUNT_MAX, Usage, input_total, output_total

DIALECT = OpenAIChat()


def read(usage: Any, **fields: Any) -> Reading:
    return DIALECT.read_answer(json.dumps({"model": "gpt-4o", "usage": usage} | fields).encode())


def openai(prompt: int, completion: int, total: int | None = None, **details: int) -> dict[str, Any]:
    inside = ("cached_tokens", "cache_write_tokens", "image_tokens", "audio_tokens")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion if total is None else total,
        "prompt_tokens_details": {k: v for k, v in details.items() if k in inside},
        "completion_tokens_details": {k.removeprefix("out_"): v for k, v in details.items() if k not in inside},
    }  # fmt: skip


# (what, as recorded from real providers, kinds)
RECORDED: list[tuple[str, dict[str, Any], Usage]] = [
    ("cached", openai(3806, 76, cached_tokens=3072), {"input": 734, "cached_input": 3072, "output": 76}),
    ("reasoning only", openai(13, 50, reasoning_tokens=50), {"input": 13, "reasoning": 50}),
    ("audio in", openai(42, 10, audio_tokens=25), {"input": 17, "input_audio": 25, "output": 10}),
    (
        "cache write",
        openai(1220, 100, cache_write_tokens=1217, reasoning_tokens=100),
        {"input": 3, "cache_write_5m": 1217, "reasoning": 100},
    ),
    (
        "vLLM's nulls",
        {
            "prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60, "completion_tokens_details": None,
            "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 0},
        },
        {"input": 10, "output": 50},
    ),
    (
        "DeepSeek",
        {
            "prompt_tokens": 976, "completion_tokens": 5, "total_tokens": 981,
            "prompt_cache_hit_tokens": 896, "prompt_cache_miss_tokens": 80,
        },
        {"input": 80, "cached_input": 896, "output": 5},
    ),
    (
        "Mistral",
        {"prompt_tokens": 70, "completion_tokens": 12, "total_tokens": 82, "num_cached_tokens": 69},
        {"input": 1, "cached_input": 69, "output": 12},
    ),
    (
        "Groq",
        {"queue_time": 0.01, "prompt_tokens": 18, "prompt_time": 0.002, "completion_tokens": 26, "total_tokens": 44},
        {"input": 18, "output": 26},
    ),
    (
        "xAI counts reasoning outside",
        openai(10, 5, 115, reasoning_tokens=100),
        {"input": 10, "output": 5, "reasoning": 100},
    ),
    ("embeddings", {"prompt_tokens": 4, "total_tokens": 4}, {"input": 4}),
    ("floats without fraction", {"prompt_tokens": 4.0, "completion_tokens": 2.0}, {"input": 4, "output": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "kinds"), [r[1:] for r in RECORDED], ids=[r[0] for r in RECORDED])
def test_recorded_usage_is_split_into_kinds(usage: dict[str, Any], kinds: Usage) -> None:
    assert read(usage) == Reading(kinds | {"requests": 1}, "gpt-4o")


COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_the_kinds_of_a_side_add_up_to_the_providers_total(
    prompt: int, completion: int, shares: list[float]
) -> None:
    """Also where parts overlap (cached audio counts in both)."""
    names = ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"]
    details = {k: int(prompt * s) for k, s in zip(names, shares, strict=False)}
    details |= {
        k: int(completion * s)
        for k, s in zip(["reasoning_tokens", "out_audio_tokens"], shares[4:], strict=True)
    }
    reading = read(openai(prompt, completion, **details))
    assert (input_total(reading.usage), output_total(reading.usage)) == (prompt, completion)
    assert (reading.problem, reading.mismatch) == (None, False)
    assert all(count > 0 for count in reading.usage.values())


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_no_reading_is_less_than_what_the_provider_says(
    prompt: int, completion: int, total: int, cached: int, reasoning: int
) -> None:
    reading = read(openai(prompt, completion, total, cached_tokens=cached, reasoning_tokens=reasoning))
    charged_in, charged_out = input_total(reading.usage), output_total(reading.usage)
    assert charged_in >= max(prompt, cached)
    agreed = 0 < total == prompt + completion
    assert charged_out >= (completion if agreed else max(completion, reasoning))
    assert charged_in + charged_out >= total
    assert reading.mismatch or charged_in + charged_out == max(total, prompt + completion)


def test_a_total_above_its_parts_is_charged_as_output_and_flagged() -> None:
    """Gemini's OpenAI endpoint leaves thoughts out of completion_tokens, but in the total."""
    reading = read(openai(10, 5, 40))
    assert reading.usage == {"input": 10, "output": 30, "requests": 1}
    assert reading.mismatch


def test_a_total_below_its_parts_is_flagged() -> None:
    reading = read(openai(10, 5, 3))
    assert reading.usage == {"input": 10, "output": 5, "requests": 1}
    assert reading.mismatch


BAD: list[Any] = [-1, 1.5, "5.5", "-5", True, None, [], {}, COUNT_MAX + 1, 10**30, float("inf"), float("nan")]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("key", ["prompt_tokens", "completion_tokens"])
def test_a_bad_count_is_bad_usage(key: str, bad: Any) -> None:
    assert read(openai(5, 5) | {key: bad}).problem == "bad_usage"


@pytest.mark.parametrize("bad", [b for b in BAD if b is not None], ids=repr)
def test_a_bad_detail_or_total_is_bad_usage(bad: Any) -> None:
    assert read(openai(5, 5) | {"total_tokens": bad}).problem == "bad_usage"
    assert read(openai(5, 5) | {"prompt_tokens_details": {"cached_tokens": bad}}).problem == "bad_usage"


@pytest.mark.parametrize("usage", [None, {}, {"queue_time": 1}])
def test_usage_that_is_not_there_is_no_usage(usage: Any) -> None:
    assert read(usage).problem == "no_usage"
    assert DIALECT.read_answer(b'{"error":{"message":"no"}}').problem == "no_usage"
    assert DIALECT.read_answer(b"[]").problem == "no_usage"


def test_usage_of_a_wrong_type_is_bad() -> None:
    assert read("12").problem == "bad_usage"
    assert read([1]).problem == "bad_usage"


ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details",
                         "completion_tokens_details", "cached_tokens", "reasoning_tokens", "server_tool_use"]),
        inner, max_size=5),
    max_leaves=10,
)  # fmt: skip


@given(ANY_JSON)
def test_no_usage_of_groqs_raises_where_the_answer_has_none_of_its_own(usage: Any) -> None:
    reading = read(None, x_groq={"usage": usage})
    assert reading == read(usage)
    if usage is not None and not isinstance(usage, dict):
        assert reading.problem == "bad_usage"


@pytest.mark.parametrize("names", [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")])
@pytest.mark.parametrize("beside", [{}, {"cache_read_input_tokens": 0}, {"cache_read_input_tokens": 7}])
def test_a_count_that_is_null_is_none_told_in_anybodys_words(
    names: tuple[str, str], beside: dict[str, int]
) -> None:
    prompt, made = names
    assert read({prompt: None, made: 5, **beside}).problem == "bad_usage"
    assert read({prompt: 5, made: None, **beside}).problem == "bad_usage"
    assert read({prompt: None, made: None, **beside}).problem == "bad_usage"
    assert read({made: 5}).usage == {"output": 5, "requests": 1}
    assert read({prompt: 5}).usage == {"input": 5, "requests": 1}


def test_what_is_not_json_is_said_to_be_so() -> None:
    assert DIALECT.read_answer(b"<html>").problem == "not_json"
    assert DIALECT.read_answer(b"").problem == "not_json"
    assert DIALECT.read_answer(b"[" * 100_000).problem == "not_json"


def test_searches_are_read_or_known_by_the_model() -> None:
    assert read(openai(1, 1) | {"num_search_queries": 3}).usage["searches"] == 3
    assert read(openai(1, 1), model="gpt-4o-search-preview-2025-03-11").usage["searches"] == 1


def test_model_and_tier_are_the_answers_own() -> None:
    reading = read(openai(1, 1), model="gpt-5-2025-08-07", service_tier="flex")
    assert (reading.model, reading.service_tier) == ("gpt-5-2025-08-07", "flex")


PLAIN = st.integers(1, 9)
COUNTED = st.integers(-1, 9) | st.sampled_from((None, True, False, 9.0, "9", COUNT_MAX, COUNT_MAX + 1))
DETAIL = st.sampled_from(
    ("cached_tokens", "audio_tokens", "reasoning_tokens", "cached_tokens_details", "new_tokens")
)
NOTHING: st.SearchStrategy[Any] = st.none() | st.dictionaries(DETAIL, st.just(0) | st.none(), max_size=3)
DETAILS: st.SearchStrategy[Any] = st.sampled_from((0, "", [])) | st.dictionaries(
    DETAIL, COUNTED | st.just({"audio_tokens": 1}), max_size=3
)
MORE = st.dictionaries(
    st.sampled_from(("cost", "num_search_queries", "citation_tokens")), COUNTED, min_size=1, max_size=1
)


@settings(max_examples=1_000)
@given(
    PLAIN | COUNTED,
    PLAIN | COUNTED,
    st.none() | COUNTED,
    NOTHING | DETAILS,
    NOTHING | DETAILS,
    st.just({}) | MORE,
    st.sampled_from(("gpt-4o", "gpt-4o-search-preview", "")),
)
def test_the_short_way_to_a_plain_usage_tells_what_the_long_one_does(
    prompt: Any, made: Any, total: Any, inside: Any, of_made: Any, more: dict[str, Any], model: str
) -> None:
    if total is None and type(prompt) is type(made) is int:
        total = prompt + made
    raw = {
        "prompt_tokens": prompt, "completion_tokens": made, "total_tokens": total,
        "prompt_tokens_details": inside, "completion_tokens_details": of_made, **more,
    }  # fmt: skip
    short = usage._read_plain(raw, model, "flex")
    if short is not None:
        assert short == usage._read_any(raw, model, "flex")


def test_what_openai_tells_of_most_answers_goes_the_short_way() -> None:
    told = openai(19, 10, cached_tokens=0, audio_tokens=0, reasoning_tokens=0, accepted_prediction_tokens=0)
    assert usage._read_plain(told, "gpt-4o", "") == Reading(
        {"input": 19, "output": 10, "requests": 1}, "gpt-4o"
    )
    assert usage._read_plain(openai(19, 10, cached_tokens=1), "gpt-4o", "") is None
    assert usage._read_plain(openai(19, 10, 30), "gpt-4o", "") is None


@given(ANY_JSON, ANY_JSON)
def test_no_usage_raises_and_none_poisons_the_ledger(usage: Any, model: Any) -> None:
    reading = read(usage, model=model)
    assert all(0 < count <= 4 * COUNT_MAX for count in reading.usage.values())
    assert (reading.usage == {}) == (reading.problem is not None)


def test_a_list_of_answers_is_read_as_its_parts_and_only_as_a_whole() -> None:
    def answer(*usages: Any) -> Reading:
        document = [{"model": f"m{i}", "usage": usage} for i, usage in enumerate(usages)]
        return DIALECT.read_answer(json.dumps(document).encode())

    both = answer(openai(3, 1), openai(2, 2))
    assert both.usage == {"input": 5, "output": 3, "requests": 2}
    assert [(model, usage["input"]) for model, usage in both.parts] == [("m0", 3), ("m1", 2)]
    assert both.told_nanousd is None
    told = answer({**openai(3, 1), "cost": 0.5}, {**openai(2, 2), "cost": 0.25})
    assert told.told_nanousd == 750_000_000
    assert answer({**openai(3, 1), "cost": 0.5}, openai(2, 2)).told_nanousd is None
    assert answer(openai(3, 1), None).problem == "no_usage"
    assert answer(openai(3, 1), 7).problem == "bad_usage"
    assert DIALECT.read_answer(b"[[[]]]").problem == DIALECT.read_answer(b"[]").problem == "no_usage"


@given(st.binary(max_size=80))
def test_no_bytes_raise(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem in ("not_json", "no_usage", "bad_usage")


@pytest.mark.parametrize(
    ("raw", "nanousd"),
    [
        ({"cost": 0.00014355, "cost_details": {"upstream_inference_cost": None}}, 143_550),
        ({"cost": 1e-9}, 1),
        ({"cost": 2}, 2_000_000_000),
        ({"cost": 0, "cost_details": {}}, 0),
        ({"cost": 0}, None),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}, 1_050_000_000),
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.25}}, 250_000_000),
        ({"cost_in_usd_ticks": 1_234_567}, 123_457),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "0.5"}, 500_000_000),
        ({"cost": "half"}, None),
        ({"estimated_cost": 0.00132}, 1_320_000),
        ({"estimated_cost": 0}, None),
        ({"cost": 1e300}, None),
        ({}, None),
    ],
)
def test_what_the_provider_says_it_charges_is_read_exactly(raw: dict[str, Any], nanousd: int | None) -> None:
    document = {"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1} | raw}
    assert OpenAIChat().read_answer(json.dumps(document).encode()).told_nanousd == nanousd
