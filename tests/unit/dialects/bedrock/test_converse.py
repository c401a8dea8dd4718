"""Bedrock Converse: requests, usage and binary event streams."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, every_split, meter, pieces_of, run, seen

from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.bedrock.converse import BedrockConverse
from spendgate.dialects.request.hosted import SHORT_WRITES
from spendgate.dialects.wire.eventstream import MESSAGE_BYTES_MAX, Framer
from spendgate.errors import RequestError

DIALECT = BedrockConverse()
NAME = "bedrock-converse"
PATH = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"


def read(path: str = PATH, **fields: Any) -> RequestFacts:
    document = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]} | fields
    return DIALECT.read_request(json.dumps(document).encode(), path)


def usage(body: Any) -> Reading:
    return DIALECT.read_answer(json.dumps(body).encode())


# -- requests ---------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    assert read(inferenceConfig={"maxTokens": 50}, serviceTier={"type": "flex"}) == RequestFacts(
        model="anthropic.claude-3-haiku-20240307-v1:0", stream=False, texts=("hi",), text_bytes=2,
        extra_input_tokens=4, output_cap=50, model_fixed=True, body_fixed=True, service_tier="flex",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        (PATH + "-stream", "anthropic.claude-3-haiku-20240307-v1:0", True),
        ("/model/us.amazon.nova-micro-v1:0/converse", "us.amazon.nova-micro-v1:0", False),
        (
            "/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Ainference-profile%2Fx/converse",
            "arn:aws:bedrock:eu:1:inference-profile/x",
            False,
        ),
    ],
)
def test_the_path_says_model_and_stream(path: str, model: str, stream: bool) -> None:
    assert DIALECT.matches("POST", path, "application/json")
    facts = read(path)
    assert (facts.model, facts.stream) == (model, stream)


@pytest.mark.parametrize("path", ["/model/m/invoke", "/converse", "/model/m/converse/x"])
def test_other_calls_are_not_claimed(path: str) -> None:
    assert not DIALECT.matches("POST", path, "application/json")


def test_every_text_that_is_tokenised_is_gathered() -> None:
    tools = {"tools": [{"toolSpec": {"name": "f"}}]}
    facts = read(
        system=[{"text": "be brief"}, {"cachePoint": {"type": "default"}}],
        messages=[
            {"content": [{"text": "one"}, {"toolUse": {"name": "f", "input": {"a": 1}}}]},
            {"content": [{"toolResult": {"content": [{"text": "two"}, {"json": {"b": 2}}]}}, {"novel": "x"}]},
            {"content": [{"document": {"name": "d", "source": {"text": "three"}}}]},
        ],
        toolConfig=tools,
        promptVariables={"v": {"text": "four"}},
    )
    assert facts.texts == (
        "be brief", "one", "f", '{"a":1}', "two", '{"b":2}', "x", "d", "three", '{"v":{"text":"four"}}',
        json.dumps(tools, separators=(",", ":")),
    )  # fmt: skip
    assert (facts.needs, facts.cache_writes) == ({"tools"}, SHORT_WRITES)


def test_media_are_bounded_and_a_stored_prompt_is_unseen() -> None:
    def block(**fields: Any) -> RequestFacts:
        return read(messages=[{"content": [fields]}])

    assert block(image={"format": "png"}).extra_input_tokens == 4 + 4800
    assert block(image={"format": "png"}).dear_kinds == {"input_image"}
    assert block(video={}).extra_input_tokens == 4 + 288 * 960
    document = {"name": "d", "source": {"bytes": "A" * 4000}}
    assert block(document=document).extra_input_tokens == 4 + 3000
    assert read("/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Aprompt%2FP1/converse").unseen_input
    assert not read().unseen_input


def test_a_signed_body_is_never_touched() -> None:
    body = b'{"messages":[]}'
    facts = DIALECT.read_request(body, PATH)
    assert DIALECT.rewrite(body, facts, model="x", output_cap=5, ask_usage=True) is body


# -- answers ----------------------------------------------------------------------------------------------

RECORDED = [
    (
        {"inputTokens": 353, "outputTokens": 38, "totalTokens": 391},
        {"input": 353, "output": 38},
    ),
    (
        {
            "inputTokens": 12, "outputTokens": 250, "totalTokens": 1290, "cacheReadInputTokens": 1028,
            "cacheReadInputTokenCount": 1028, "cacheWriteInputTokens": 0, "cacheWriteInputTokenCount": 0,
        },
        {"input": 12, "cached_input": 1028, "output": 250},
    ),
    (
        {
            "inputTokens": 3, "outputTokens": 61, "totalTokens": 2435, "cacheReadInputTokens": 2074,
            "cacheWriteInputTokens": 297, "cacheDetails": [{"inputTokens": 297, "ttl": "5m"}],
        },
        {"input": 3, "cached_input": 2074, "cache_write_5m": 297, "output": 61},
    ),
    (
        {
            "inputTokens": 3, "outputTokens": 1, "totalTokens": 304, "cacheWriteInputTokens": 300,
            "cacheDetails": [{"inputTokens": 100, "ttl": "5m"}, {"inputTokens": 200, "ttl": "1h"}],
        },
        {"input": 3, "cache_write_5m": 100, "cache_write_1h": 200, "output": 1},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "kinds"), RECORDED)
def test_usage_is_split_into_kinds_that_add_up_to_the_total(
    raw: dict[str, Any], kinds: dict[str, int]
) -> None:
    trace = {"guardrail": {"usage": {"topicPolicyUnits": 1}}}
    assert usage({"usage": raw, "trace": trace}) == Reading(kinds | {"requests": 1})
    assert sum(kinds.values()) == raw["totalTokens"]


@given(*[st.integers(0, 10**6)] * 6)
def test_no_reading_is_less_than_what_the_provider_says(
    plain: int, output: int, total: int, cached: int, written: int, hour: int
) -> None:
    raw = {"inputTokens": plain, "outputTokens": output, "totalTokens": total, "cacheReadInputTokens": cached,
           "cacheWriteInputTokens": written, "cacheDetails": [{"ttl": "1h", "inputTokens": hour}]}  # fmt: skip
    reading = usage({"usage": raw})
    charged = sum(reading.usage.values()) - 1
    assert charged >= max(total, plain + output + cached + max(written, hour))
    assert reading.mismatch or charged == plain + output + cached + written


@pytest.mark.parametrize(
    ("body", "problem"),
    [({}, "no_usage"), ([], "no_usage"), ({"usage": {}}, "no_usage"), ({"usage": 1}, "bad_usage"),
     ({"usage": {"inputTokens": -1}}, "bad_usage"), ({"usage": {"inputTokens": 10**13}}, "bad_usage")],
)  # fmt: skip
def test_an_answer_without_good_usage_says_so(body: Any, problem: str) -> None:
    assert usage(body).problem == problem
    assert DIALECT.read_answer(b"<html>").problem == "not_json"


# -- streams ----------------------------------------------------------------------------------------------


def frame(payload: bytes, *headers: tuple[str, int, bytes]) -> bytes:
    raw = b"".join(bytes([len(n)]) + n.encode() + bytes([kind]) + value for n, kind, value in headers)
    prelude = struct.pack(">II", 16 + len(raw) + len(payload), len(raw))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + raw + payload
    return message + struct.pack(">I", zlib.crc32(message))


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def event(kind: str, **payload: Any) -> bytes:
    return frame(
        json.dumps(payload | {"p": "abcdefgh"}).encode(),
        (":event-type", 7, text(kind)),
        (":content-type", 7, text("application/json")),
        (":message-type", 7, text("event")),
    )


def delta(**fields: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=0, delta=fields)


OPEN = event("messageStart", role="assistant") + delta(text="one two")
END = event("messageStop", stopReason="end_turn") + event("metadata", usage=RECORDED[0][0], metrics={})
KINDS = {"input": 353, "output": 38, "requests": 1}
THROTTLED = frame(b'{"message":"m"}', (":message-type", 7, text("exception")))


def test_usage_is_read_at_every_split() -> None:
    every_split(NAME, OPEN + END)
    under_test = meter(NAME)
    run(under_test, [OPEN + END])
    assert seen(under_test) == (Reading(KINDS), (KINDS, 2), True, False)


def test_an_aborted_stream_counts_what_flowed() -> None:
    under_test = meter(NAME)
    start = event("contentBlockStart", start={"toolUse": {"name": "f"}})
    more = [OPEN, start, delta(toolUse={"input": "{}"}), delta(reasoningContent={"text": "hm"})]
    run(under_test, more, end=False)
    assert seen(under_test) == (Reading({}, problem="truncated"), ({}, 5), False, False)


def test_an_exception_in_the_stream_is_a_failure() -> None:
    under_test = meter(NAME)
    run(under_test, [OPEN + THROTTLED])
    assert (under_test.failed, under_test.complete) == (True, False)


def test_headers_of_other_types_are_skipped() -> None:
    stray = [("a", 0, b""), ("b", 2, b"x"), ("c", 4, b"1234"), ("d", 6, b"\x00\x02xy"), ("e", 9, b"u" * 16)]
    (message,) = Framer().feed(frame(b"{}", *stray, (":event-type", 7, text("metadata"))))
    assert message == ({":event-type": "metadata"}, b"{}")


@pytest.mark.parametrize(
    "prelude", [b"<html>not a stream", struct.pack(">II", 5, 0), struct.pack(">II", MESSAGE_BYTES_MAX + 1, 0)]
)
def test_what_is_no_event_stream_is_said_to_be_so_and_not_kept(prelude: bytes) -> None:
    stream = prelude[:8] + struct.pack(">I", zlib.crc32(prelude[:8])) if len(prelude) == 8 else prelude
    under_test = meter(NAME)
    assert run(under_test, [OPEN, stream, b"x" * 100]) == OPEN + stream + b"x" * 100
    assert (under_test.result().problem, under_test.partial()) == ("not_json", ({}, 2))


def test_a_streamed_answer_is_one_by_its_type() -> None:
    assert DIALECT.streams("application/vnd.amazon.eventstream", True)
    assert not DIALECT.streams("application/json", True)


# -- errors, and anything at all --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "exception"),
    [(429, "ThrottlingException"), (403, "AccessDeniedException"), (402, "ServiceQuotaExceededException")],
)
def test_a_refusal_is_one_of_bedrocks_exceptions(status: int, exception: str) -> None:
    rejection = Rejection(status, "c", "Spent.", {"team": "ml"})
    assert json.loads(DIALECT.error_body(rejection))["message"] == "Spent."
    assert DIALECT.error_headers(rejection) == (("x-amzn-errortype", exception),)


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["content", "text", "image", "toolResult", "document", "source", "usage", "inputTokens",
                         "cacheDetails", "ttl", "delta", "toolUse", "start", "outputTokens"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["messages", "system", "toolConfig", "inferenceConfig", "promptVariables", "serviceTier"]
)


@given(st.dictionaries(FIELDS, ANY, max_size=5), ANY)
def test_odd_shapes_are_read_without_a_fault(fields: dict[str, Any], body: Any) -> None:
    assert read(**fields).extra_input_tokens >= 0
    reading = usage(body)
    assert (reading.usage == {}) == (reading.problem is not None)


ODD = ANY.map(lambda v: frame(json.dumps(v).encode(), (":event-type", 7, text("contentBlockDelta"))))
BROKEN = st.binary(max_size=30).map(lambda raw: frame(b"{}", ("n", 7, raw)))


@given(st.lists(ODD | BROKEN | st.sampled_from([END, THROTTLED]) | st.binary(max_size=20), max_size=5), CUTS)
def test_no_stream_raises_and_all_of_it_passes(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(messages)
    under_test, whole = meter(NAME), meter(NAME)
    assert run(under_test, pieces_of(stream, cuts)) == run(whole, [stream]) == stream
    assert seen(under_test) == seen(whole)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    assert DIALECT.read_answer(body).problem is not None
    try:
        assert DIALECT.read_request(body, PATH).model
    except RequestError as e:
        assert str(e)
