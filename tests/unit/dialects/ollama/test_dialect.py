"""Ollama's own API: requests, usage and streams of lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, every_split, meter, pieces_of, run, seen

from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.ollama.dialect import Ollama
from spendgate.errors import RequestError

DIALECT = Ollama()


def read(**fields: Any) -> RequestFacts:
    return DIALECT.read_request(json.dumps({"model": "llama3"} | fields).encode(), "/api/chat")


def usage(body: Any) -> Reading:
    return DIALECT.read_answer(json.dumps(body).encode())


def test_a_plain_request_streams() -> None:
    assert read(messages=[{"role": "user", "content": "hi"}], options={"num_predict": 5}) == RequestFacts(
        model="llama3", stream=True, texts=("hi",), text_bytes=2, extra_input_tokens=8, output_cap=5
    )
    assert not read(stream=False).stream


def test_every_text_that_is_tokenised_is_gathered() -> None:
    facts = read(
        messages=[{"content": "one", "thinking": "hm", "images": ["AAAA"], "tool_calls": [{"function": {}}]}],
        prompt="two", system="three", suffix="four", tools=[{"type": "function"}], context=[1, 2, 3], format={"a": 1},
    )  # fmt: skip
    assert facts.texts == (
        "one", "hm", '[{"function":{}}]', "two", "three", "four", '[{"type":"function"}]'
    )  # fmt: skip
    assert facts.extra_input_tokens == 8 + 4096 + 3
    assert facts.needs == {"tools", "images", "json_schema"}


def rewritten(body: bytes, **wanted: Any) -> bytes:
    facts = DIALECT.read_request(body, "/api/chat")
    return DIALECT.rewrite(
        body, facts, **({"model": None, "output_cap": None, "ask_usage": False} | wanted)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"options":{"num_predict":9},"model":"a"}'),
        (b'{"model":"a","options":{"seed": 1}}', b'{"model":"a","options":{"num_predict":9,"seed": 1}}'),
        (b'{"model":"a","options":{"num_predict":5}}', b'{"model":"a","options":{"num_predict":5}}'),
        (b'{"model":"a","options":{"num_predict":-1}}', b'{"model":"a","options":{"num_predict":9}}'),
    ],
)
def test_a_cap_is_written_into_the_options(body: bytes, expected: bytes) -> None:
    assert rewritten(body, output_cap=9) == expected
    assert rewritten(body) is body
    assert rewritten(body, model="b") == body.replace(b'"a"', b'"b"')


DONE = {"model": "llama3", "done": True, "done_reason": "stop", "prompt_eval_count": 17, "eval_count": 3}
KINDS = {"input": 17, "output": 3, "requests": 1}


def test_usage_is_read_and_a_cached_prompt_has_none() -> None:
    assert usage(DONE) == Reading(KINDS, "llama3")
    assert usage(DONE | {"prompt_eval_count": None}) == Reading({"output": 3, "requests": 1}, "llama3")


@pytest.mark.parametrize(
    ("body", "problem"),
    [({"model": "m"}, "no_usage"), ([], "no_usage"), (DONE | {"eval_count": -1}, "bad_usage")],
)
def test_an_answer_without_good_usage_says_so(body: Any, problem: str) -> None:
    assert usage(body).problem == problem
    assert DIALECT.read_answer(b"<html>").problem == "not_json"


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(v).encode() + b"\n" for v in values)


TEXT = lines({"model": "llama3", "message": {"content": "one two", "thinking": "hm"}, "done": False})


def test_a_stream_is_metered_at_every_split() -> None:
    every_split("ollama", TEXT + lines(DONE))
    under_test = meter("ollama")
    run(under_test, [TEXT + lines(DONE)])
    assert seen(under_test) == (Reading(KINDS, "llama3"), (KINDS, 3), True, False)


def test_an_aborted_stream_counts_what_flowed() -> None:
    under_test = meter("ollama")
    run(under_test, [TEXT + lines({"response": "x", "message": {"tool_calls": [1]}})], end=False)
    assert seen(under_test) == (Reading({}, "llama3", "truncated"), ({}, 5), False, False)


def test_an_error_line_is_a_failure() -> None:
    under_test = meter("ollama")
    run(under_test, [TEXT + lines({"error": "out of memory"})])
    assert (under_test.failed, under_test.complete) == (True, False)


def test_a_streamed_answer_is_one_by_its_type() -> None:
    assert DIALECT.streams("application/x-ndjson", True)
    assert not DIALECT.streams("application/json", True)


def test_a_refusal_is_ollamas_error() -> None:
    body = json.loads(DIALECT.error_body(Rejection(429, "c", "Spent.", {"team": "ml"})))
    assert body == {"error": "Spent.", "code": "c", "details": {"team": "ml"}}


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["message", "content", "images", "done", "eval_count", "prompt_eval_count", "tool_calls",
                         "model", "num_predict", "thinking", "error"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = st.sampled_from(["messages", "prompt", "options", "tools", "context", "images", "stream", "format"])


@given(st.dictionaries(FIELDS, ANY, max_size=5), ANY)
def test_odd_shapes_are_read_without_a_fault(fields: dict[str, Any], body: Any) -> None:
    assert read(**fields).extra_input_tokens >= 0
    reading = usage(body)
    assert (reading.usage == {}) == (reading.problem is not None)


@given(st.lists(ANY | st.just(DONE), max_size=5), CUTS)
def test_no_stream_raises_and_all_of_it_passes(values: list[Any], cuts: list[int]) -> None:
    stream = lines(*values)
    under_test, whole = meter("ollama"), meter("ollama")
    assert run(under_test, pieces_of(stream, cuts)) == run(whole, [stream]) == stream
    assert seen(under_test) == seen(whole)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem is not None
    assert run(meter("ollama"), [body]) == body
    try:
        assert DIALECT.read_request(body, "/api/chat").model
    except RequestError as e:
        assert str(e)
