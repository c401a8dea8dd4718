"""Cohere chat: requests, usage and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, every_split, meter, pieces_of, run, seen

from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.cohere.chat import CohereChat
from spendgate.errors import RequestError

DIALECT = CohereChat()
NAME = "cohere-chat"


def read(**fields: Any) -> RequestFacts:
    document = {"model": "command-r", "messages": [{"role": "user", "content": "hi"}]} | fields
    return DIALECT.read_request(json.dumps(document).encode(), "/v2/chat")


def usage(body: Any) -> Reading:
    return DIALECT.read_answer(json.dumps(body).encode())


def test_a_plain_request() -> None:
    assert read(max_tokens=50, stream=True) == RequestFacts(
        model="command-r", stream=True, texts=("hi",), text_bytes=2, extra_input_tokens=4, output_cap=50
    )


def test_every_text_that_is_tokenised_is_gathered() -> None:
    facts = read(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "document", "id": "d"}]},
            {"role": "assistant", "tool_plan": "plan", "tool_calls": [{"id": "c"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
        ],
        documents=["a text", {"data": {"title": "t"}}],
        tools=[{"type": "function"}],
        response_format={"type": "json_object", "json_schema": {"type": "string"}},
    )
    assert facts.texts == (
        "one", '{"type":"document","id":"d"}', "plan", '[{"id":"c"}]', "hm", "a text",
        '{"data":{"title":"t"}}', '[{"type":"function"}]', '{"type":"string"}',
    )  # fmt: skip
    assert facts.needs == {"tools", "json_schema"}


def test_an_image_is_bounded() -> None:
    facts = read(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}])
    assert (facts.extra_input_tokens, facts.needs, facts.dear_kinds) == (20_004, {"images"}, {"input_image"})


def rewritten(body: bytes, **wanted: Any) -> bytes:
    facts = DIALECT.read_request(body, "/v2/chat")
    return DIALECT.rewrite(
        body, facts, **({"model": None, "output_cap": None, "ask_usage": False} | wanted)
    )  # fmt: skip


def test_model_and_cap_are_rewritten_and_nothing_else() -> None:
    body = b'{"model":"a", "messages":[]}'
    assert rewritten(body, ask_usage=True) is body
    assert rewritten(body, model="b") == b'{"model":"b", "messages":[]}'
    assert rewritten(body, output_cap=9) == b'{"max_tokens":9,"model":"a", "messages":[]}'
    assert rewritten(b'{"model":"a","max_tokens":5}', output_cap=9) == b'{"model":"a","max_tokens":5}'
    thinking = b'{"model":"a","thinking":{"token_budget":50}}'
    assert rewritten(thinking, output_cap=9).startswith(b'{"max_tokens":51,')


BILLED = {
    "billed_units": {"input_tokens": 62.0, "output_tokens": 28.0},
    "tokens": {"input_tokens": 968.0, "output_tokens": 83.0},
}
KINDS = {"input": 62, "output": 28, "requests": 1}


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (BILLED, KINDS),
        (
            {"billed_units": {"input_tokens": 2406, "output_tokens": 2}, "cached_tokens": 2928,
             "tokens": {"input_tokens": 2935, "output_tokens": 4}},
            {"input": 2406, "output": 2, "requests": 1},
        ),
        ({"tokens": {"input_tokens": 5, "output_tokens": 2}}, {"input": 5, "output": 2, "requests": 1}),
        ({"billed_units": {"search_units": 1}}, {"requests": 1, "searches": 1}),
    ],
)  # fmt: skip
def test_the_billed_units_are_the_bill(raw: dict[str, Any], kinds: dict[str, int]) -> None:
    assert usage({"id": "x", "usage": raw}) == Reading(kinds)


@pytest.mark.parametrize(
    ("body", "problem"),
    [({}, "no_usage"), ([], "no_usage"), ({"usage": {}}, "no_usage"), ({"usage": 1}, "bad_usage"),
     ({"usage": {"billed_units": 1}}, "bad_usage"), ({"usage": {"billed_units": {"input_tokens": -1}}}, "bad_usage"),
     ({"usage": {"billed_units": {"input_tokens": 1.5}}}, "bad_usage")],
)  # fmt: skip
def test_an_answer_without_good_usage_says_so(body: Any, problem: str) -> None:
    assert usage(body).problem == problem


def event(kind: str, delta: Any = None) -> bytes:
    document = {"type": kind} | ({} if delta is None else {"delta": delta})
    return f"event: {kind}\ndata: {json.dumps(document)}\n\n".encode()


TEXT = event("message-start", {"message": {"role": "assistant"}}) + event(
    "content-delta", {"message": {"content": {"text": "one two"}}}
)
END = event("message-end", {"finish_reason": "COMPLETE", "usage": BILLED})


def test_a_stream_is_metered_at_every_split() -> None:
    every_split(NAME, TEXT + END)
    under_test = meter(NAME)
    run(under_test, [TEXT + END])
    assert seen(under_test) == (Reading(KINDS), (KINDS, 2), True, False)


def test_an_aborted_stream_counts_what_flowed() -> None:
    under_test = meter(NAME)
    call = {"tool_calls": {"function": {"name": "f", "arguments": "{}"}}}
    thought = {"content": {"thinking": "hm"}}
    for message in ({"tool_plan": "plan"}, call, thought):
        run(under_test, [event("x-delta", {"message": message})], end=False)
    assert seen(under_test) == (Reading({}, problem="truncated"), ({}, 4), False, False)


def test_a_failure_is_billed_by_its_usage_or_by_what_flowed() -> None:
    failed = meter(NAME)
    run(failed, [TEXT, event("message-end", {"finish_reason": "ERROR"})])
    assert failed.failed
    billed = meter(NAME)
    run(billed, [TEXT, event("message-end", {"finish_reason": "ERROR", "usage": BILLED})])
    assert (billed.failed, billed.result()) == (False, Reading(KINDS))


def test_a_refusal_has_coheres_message() -> None:
    body = json.loads(DIALECT.error_body(Rejection(429, "c", "Spent.", {"team": "ml"})))
    assert body == {"message": "Spent.", "code": "c", "details": {"team": "ml"}}


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("message-end"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "text", "content", "delta", "message", "usage", "billed_units", "input_tokens",
                         "output_tokens", "tool_calls", "function", "name"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = st.sampled_from(["messages", "documents", "tools", "response_format", "thinking", "max_tokens"])


@given(st.dictionaries(FIELDS, ANY, max_size=5), ANY)
def test_odd_shapes_are_read_without_a_fault(fields: dict[str, Any], body: Any) -> None:
    assert read(**fields).extra_input_tokens >= 0
    reading = usage(body)
    assert (reading.usage == {}) == (reading.problem is not None)


@given(st.lists(ANY.map(lambda v: b"data: " + json.dumps(v).encode() + b"\n\n") | st.just(END)), CUTS)
def test_no_stream_raises_and_all_of_it_passes(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(events)
    under_test, whole = meter(NAME), meter(NAME)
    assert run(under_test, pieces_of(stream, cuts)) == run(whole, [stream]) == stream
    assert seen(under_test) == seen(whole)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem is not None
    try:
        assert DIALECT.read_request(body, "/v2/chat").model
    except RequestError as e:
        assert str(e)
