"""Anthropic messages: requests, usage and streams."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.anthropic.messages import AnthropicMessages
from spendgate.dialects.base import Reading, RequestFacts
from spendgate.dialects.request.hosted import ANY_WRITES, SHORT_WRITES, cache_writes
from spendgate.errors import RequestError
from spendgate.usage import Usage, input_total, output_total

DIALECT = AnthropicMessages()


def read(*blocks: dict[str, Any] | str, **fields: Any) -> RequestFacts:
    content: Any = list(blocks) or "hi"
    document = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": content}]} | fields
    return DIALECT.read_request(json.dumps(document).encode(), "/v1/messages")


def test_a_plain_request() -> None:
    facts = read(max_tokens=50, stream=True, metadata={"user_id": "u"}, system="be brief")
    assert (facts.texts, facts.text_bytes) == (("be brief", "hi"), 10)
    assert (facts.output_cap, facts.stream, facts.user, facts.usage_hidden) == (50, True, "u", False)


def test_every_text_that_is_tokenised_is_gathered() -> None:
    facts = read(
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "b", "signature": "x"},
        {"type": "tool_use", "id": "t", "name": "c", "input": {"d": 1}},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "e"}]},
        {"type": "tool_result", "content": "f"},
        {"type": "document", "title": "g", "source": {"type": "text", "data": "h"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "i"}]}},
        {"type": "unheard_of"},
        system=[{"type": "text", "text": "s"}],
        tools=[{"name": "c"}],
    )
    assert facts.texts == (
        "s", "a", "b", "c", '{"d":1}', "e", "f", "g", "h", "i", '{"type":"unheard_of"}', '[{"name":"c"}]',
    )  # fmt: skip
    assert facts.needs == {"tools"}


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-3-5-haiku-latest", 1600),
        ("claude-sonnet-4-20250514", 1600),
        ("claude-sonnet-4-5", 1600),
        ("claude-opus-4-6", 1600),
        ("claude-opus-4-7", 4800),
        ("claude-opus-5", 4800),
    ],
)
def test_an_image_is_bounded_by_the_models_resolution(model: str, tokens: int) -> None:
    facts = read({"type": "image", "source": {"type": "url", "url": "x"}}, model=model)
    assert facts.extra_input_tokens == 4 + tokens
    assert facts.needs == {"images"}


def test_a_document_is_bounded_by_its_bytes_and_an_unseen_one_by_a_context() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "data": "A" * 4000}}
    url = {"type": "document", "source": {"type": "url", "url": "https://x"}}
    assert read(pdf).extra_input_tokens == 4 + 3000
    assert read(url).unseen_input and not read(pdf).unseen_input


def test_web_search_is_held_at_its_most() -> None:
    facts = read(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}])
    assert (facts.fee_kinds, facts.tool_input_tokens) == ({"searches": 2}, 26_000 + 7_300 * 3)
    assert read(tools=[{"type": "web_search_20250305"}]).fee_kinds == {"searches": 10}


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, 6_000),
        ({"tools": [{"type": "web_fetch_20250910"}]}, 5_000),
        ({"mcp_servers": [{"url": "https://a"}, {"url": "https://b"}]}, 32_000),
        ({"container": {"skills": [{"skill_id": "xlsx"}]}}, 30_000),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, 0),
        ({"tools": [{"name": "mine", "input_schema": {}}]}, 0),
    ],
)
def test_what_the_vendors_own_tools_add_is_held_for(fields: dict[str, Any], tokens: int) -> None:
    assert read("", **fields).tool_input_tokens == tokens


def test_a_conversation_that_may_be_compacted_is_held_for_twice() -> None:
    edits = {"edits": [{"type": "compact_20260112"}]}
    assert read("a" * 1_000, context_management=edits).tool_input_tokens == 500


def test_citations_and_added_tools_bring_hidden_instructions() -> None:
    cited = {"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}}
    assert read(cited, cited).extra_input_tokens - read("x").extra_input_tokens == 700
    assert read({"type": "tool_addition", "tool": {"name": "f"}}).needs == {"tools"}


def test_a_cache_mark_is_noticed_but_not_inside_a_text() -> None:
    assert (
        read({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}).cache_writes
        == SHORT_WRITES
    )
    assert not read({"type": "text", "text": '"cache_control"'}).cache_writes


@pytest.mark.parametrize(
    ("spelled", "writes"),
    [
        (b'{"cache_control": {"type": "ephemeral"}}', SHORT_WRITES),
        (b'{"cache_control": {"type": "ephemeral", "ttl": "5m"}}', SHORT_WRITES),
        (b'{"cache_control": {"TTL":\n"5m", "type": "ephemeral"}}', SHORT_WRITES),
        (b'{"cache_control": {"ttl": "1h"}}', ANY_WRITES),
        (b'[{"cache_control": {"ttl": "5m"}}, {"cache_control": {"ttl" : "1h"}}]', ANY_WRITES),
        (b'{"cache_control": {"ttl": "24h"}}', ANY_WRITES),
        (b'{"cache_control": {"ttl": 3600}}', ANY_WRITES),
        (b'{"cache_control": {"Ttl": "1h"}}', ANY_WRITES),
        (b'{"cache_control": {"\\u0074tl": "1h"}}', ANY_WRITES),
        (b'{"cache_control": {"ttl": "\\u0031h"}}', ANY_WRITES),
        (b'{"\\u0063ache_control": {"ttl": "5m"}}', ANY_WRITES),
        (b'{"ttl": "1h"}', frozenset()),
    ],
)
def test_only_a_request_that_may_name_an_hour_is_held_for_one(spelled: bytes, writes: frozenset[str]) -> None:
    assert cache_writes(spelled, b"cache_control") == writes


def test_the_model_is_rewritten_and_nothing_else() -> None:
    body = b'{"model":"a", "max_tokens":5,"messages":[{"role":"user","content":"model"}]}'
    facts = DIALECT.read_request(body, "/v1/messages")
    out = DIALECT.rewrite(body, facts, model="b", output_cap=None, ask_usage=True)
    assert out == body.replace(b'"a"', b'"b"')


def test_a_cap_only_lowers_and_stays_above_the_thinking_budget() -> None:
    body = b'{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000}}'
    facts = DIALECT.read_request(body, "")
    assert facts.output_cap_min == 2001

    def capped(cap: int) -> bytes:
        return DIALECT.rewrite(body, facts, model="n", output_cap=cap, ask_usage=True)

    assert capped(5000) == body.replace(b"9000", b"5000").replace(b'"m"', b'"n"')
    assert capped(100) == body.replace(b"9000", b"2001").replace(b'"m"', b'"n"')
    assert capped(10_000) == body.replace(b'"m"', b'"n"')


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem is not None
    try:
        assert DIALECT.read_request(body, "").model
    except RequestError as e:
        assert str(e)


def usage(tokens_in: int, tokens_out: int, **more: Any) -> dict[str, Any]:
    return {"input_tokens": tokens_in, "output_tokens": tokens_out} | more


def split(five: int, hour: int) -> dict[str, int]:
    return {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour}


def answer(raw: Any) -> Reading:
    return DIALECT.read_answer(json.dumps({"model": "claude", "usage": raw}).encode())


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (usage(5, 7), {"input": 5, "output": 7}),
        (
            usage(17, 100, cache_creation_input_tokens=2056, cache_creation=split(0, 2056)),
            {"input": 17, "cache_write_1h": 2056, "output": 100},
        ),
        (
            usage(9, 3, cache_creation_input_tokens=11627, cache_creation=split(366, 0)),
            {"input": 9, "cache_write_5m": 11627, "output": 3},
        ),
        (
            usage(4, 290, cache_read_input_tokens=14714, output_tokens_details={"thinking_tokens": 19}),
            {"input": 4, "cached_input": 14714, "output": 271, "reasoning": 19},
        ),
        (
            usage(10, 6, server_tool_use={"web_search_requests": 3}, cache_read_input_tokens=None),
            {"input": 10, "output": 6, "searches": 3},
        ),
    ],
)
def test_recorded_usage_is_split_into_kinds(raw: dict[str, Any], kinds: Usage) -> None:
    assert answer(raw) == Reading(kinds | {"requests": 1}, "claude")


COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.floats(0, 1), st.floats(0, 1))
def test_the_kinds_of_a_side_add_up_to_the_providers_total(
    plain: int, written: int, cached: int, out: int, share: float, thought: float
) -> None:
    raw = usage(
        plain,
        out,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=cached,
        cache_creation=split(int(written * share), 0),
        output_tokens_details={"thinking_tokens": int(out * thought)},
    )
    reading = answer(raw)
    assert (input_total(reading.usage), output_total(reading.usage)) == (plain + written + cached, out)
    assert not reading.mismatch


def test_iterations_are_summed_and_listed_by_model() -> None:
    raw = usage(
        2417,
        133,
        output_tokens_details={"thinking_tokens": 55},
        iterations=[usage(1128, 121), usage(2529, 38, model="claude-opus"), usage(1289, 12)],
    )
    reading = answer(raw)
    assert reading.usage == {"input": 4946, "output": 116, "reasoning": 55, "requests": 1}
    assert reading.parts == (
        ("claude", {"input": 2417, "output": 78, "reasoning": 55, "requests": 1}),
        ("claude-opus", {"input": 2529, "output": 38}),
    )
    assert not reading.mismatch


def test_iterations_below_the_top_level_are_flagged_and_the_larger_is_charged() -> None:
    reading = answer(usage(100, 10, iterations=[usage(1, 1)]))
    assert reading.usage == {"input": 100, "output": 10, "requests": 1}
    assert reading.mismatch


@pytest.mark.parametrize("bad", [-1, 1.5, "5.5", "five", True, None, 10**13], ids=repr)
def test_a_bad_count_is_bad_usage(bad: Any) -> None:
    assert answer(usage(1, 1) | {"output_tokens": bad}).problem == "bad_usage"
    assert answer(usage(1, 1, iterations=[usage(bad, 1)])).problem == "bad_usage"


def test_what_is_missing_or_no_json_is_said_so() -> None:
    assert answer(None).problem == "no_usage"
    assert answer({}).problem == "no_usage"
    assert DIALECT.read_answer(b"<html>").problem == "not_json"


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind} | fields)
    return f"event: {kind}\ndata: {data}\n\n".encode()


START = event(
    "message_start", message={"model": "claude-x", "usage": usage(2060, 1, cache_creation=split(0, 0))}
)
TEXTS = (
    event("content_block_delta", delta={"type": "text_delta", "text": "a b"})
    + event("content_block_delta", delta={"type": "thinking_delta", "thinking": "c"})
    + event("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"})
)
DELTA = event(
    "message_delta",
    usage={
        "input_tokens": 2081,
        "cache_creation_input_tokens": 7621,
        "cache_read_input_tokens": 28247,
        "output_tokens": 574,
        "server_tool_use": {"web_search_requests": 3},
    },
)
STOP = event("message_stop")


def run(stream: bytes, cuts: list[int] | None = None) -> Any:
    meter = DIALECT.stream_meter(hide_usage=True, count=lambda text: len(text.split()))
    places = [0, *sorted(c % (len(stream) + 1) for c in cuts or []), len(stream)]
    for a, b in pairwise(places):
        assert meter.feed(stream[a:b], b == len(stream)) is None
    return meter


@given(st.lists(st.integers(0, 5000), max_size=30))
def test_the_delta_is_laid_over_the_start_however_the_stream_is_cut(cuts: list[int]) -> None:
    meter = run(START + TEXTS + DELTA + STOP, cuts)
    kinds = {
        "input": 2081,
        "cached_input": 28247,
        "cache_write_5m": 7621,
        "output": 574,
        "searches": 3,
        "requests": 1,
    }
    assert meter.result() == Reading(kinds, "claude-x")
    assert meter.complete
    assert not meter.failed


def test_a_field_missing_in_the_delta_keeps_the_starts_value() -> None:
    meter = run(START + event("message_delta", usage={"output_tokens": 9, "input_tokens": None}))
    assert meter.result().usage == {"input": 2060, "output": 9, "requests": 1}


def test_a_cut_stream_knows_its_input_and_counts_what_flowed() -> None:
    meter = run(START + TEXTS)
    assert not meter.complete
    assert meter.result().problem == "truncated"
    assert meter.partial() == ({"input": 2060, "output": 4, "requests": 1}, 4)


def test_an_error_event_is_a_failure() -> None:
    meter = run(START + event("error", error={"type": "overloaded_error"}))
    assert meter.failed
    assert not meter.complete


def test_a_stream_without_usage_says_so() -> None:
    assert run(STOP).result().problem == "no_usage"


@given(
    st.lists(
        st.sampled_from(
            [START, TEXTS, DELTA, STOP, b"data: 1\n\n", b"data: {\n\n", event("message_start", message=1),
             event("message_delta", usage=[1]), event("message_delta", usage={"iterations": 5}),
             event("content_block_delta", delta=[]), event("message_start", message={"model": 1, "usage": "x"})]
        ),
        max_size=6,
    ).map(b"".join) | st.binary(max_size=100),
    st.lists(st.integers(0, 5000), max_size=10),
)  # fmt: skip
def test_no_stream_raises(stream: bytes, cuts: list[int]) -> None:
    meter, whole = run(stream, cuts), run(stream)
    assert meter.result() == whole.result()
    assert meter.partial() == whole.partial()


def test_a_fast_request_and_a_bound_place_are_facts_for_the_price() -> None:
    facts = read(speed="fast", inference_geo="us")
    assert (facts.service_tier, facts.residency) == ("fast", "us")
    usage = {"input_tokens": 1, "output_tokens": 2, "service_tier": "standard"}
    for more, told in (({}, ("standard", "")), ({"speed": "fast", "inference_geo": "us"}, ("fast", "us"))):
        reading = DIALECT.read_answer(
            json.dumps({"model": "claude-opus-4-6", "usage": {**usage, **more}}).encode()
        )
        assert (reading.service_tier, reading.residency) == told
