"""Bedrock's model invocations: every vendor's body, headers, metrics and base64 chunks."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import pytest
from support.streams import every_split, meter, run, seen

from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.bedrock.invoke import BedrockInvoke

DIALECT = BedrockInvoke()
NAME = "bedrock-invoke"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"


def read(model: str = CLAUDE, stream: bool = False, **fields: Any) -> RequestFacts:
    path = f"/model/{model}/invoke" + ("-with-response-stream" if stream else "")
    assert DIALECT.matches("POST", path, "application/json")
    return DIALECT.read_request(json.dumps(fields).encode(), path)


def counted(**counts: int) -> dict[str, str]:
    return {f"x-amzn-bedrock-{name.replace('_', '-')}-token-count": f"{n}" for name, n in counts.items()}


def answer(body: Any, headers: dict[str, str]) -> Reading:
    return DIALECT.read_answer(json.dumps(body).encode(), headers)


MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


@pytest.mark.parametrize(
    ("model", "fields", "texts", "cap"),
    [
        (CLAUDE, {"anthropic_version": "x", "max_tokens": 5, "messages": MESSAGES, "system": "be"}, ("be", "hi"), 5),
        ("anthropic.claude-v2:1", {"prompt": "Human: hi", "max_tokens_to_sample": 7}, ("Human: hi",), 7),
        ("amazon.nova-micro-v1:0", {"messages": [{"role": "user", "content": [{"text": "hi"}]}],
          "system": [{"text": "be"}], "inferenceConfig": {"max_new_tokens": 9}}, ("be", "hi"), 9),
        ("amazon.titan-text-express-v1", {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 8}}, ("hi",), 8),
        ("meta.llama3-70b-instruct-v1:0", {"prompt": "hi", "max_gen_len": 6, "top_p": 0.9}, ("hi",), 6),
        ("cohere.command-text-v14", {"prompt": "hi", "max_tokens": 4}, ("hi",), 4),
        ("us.openai.gpt-6-sol", {"messages": [{"content": "hi"}], "max_completion_tokens": 3}, ("hi",), 3),
        ("amazon.titan-embed-text-v2:0", {"inputText": "hi"}, ("hi",), 0),
    ],
)  # fmt: skip
def test_every_vendors_request_is_read(
    model: str, fields: dict[str, Any], texts: tuple[str, ...], cap: int
) -> None:
    facts = read(model, **fields)
    assert (facts.model, facts.texts, facts.output_cap) == (model, texts, cap)
    assert facts.model_fixed and facts.body_fixed


@pytest.mark.parametrize(
    ("documents", "units"),
    [
        (["a"] * 100, 1),
        (["a"] * 101, 2),
        (["a" * 501] * 100, 2),
        ([{"text": "a" * 501}] * 100, 2),
        (["a" * 50_001], 2),
        ("a", 1),
        ([], 1),
        (None, 1),
    ],
)
def test_a_rerank_is_billed_by_what_its_documents_are_cut_into(documents: object, units: int) -> None:
    facts = read("cohere.rerank-v3-5:0", query="q", documents=documents)
    assert facts.fee_kinds["searches"] == facts.known_usage["searches"] == units


def test_the_path_says_whether_it_streams() -> None:
    assert read(stream=True, messages=MESSAGES).stream
    assert not read(messages=MESSAGES, stream=False).stream
    assert not DIALECT.matches("POST", "/functions/invoke", "application/json")


def test_images_are_known_by_the_request() -> None:
    facts = read(
        "amazon.nova-canvas-v1:0", taskType="TEXT_IMAGE", imageGenerationConfig={"numberOfImages": 3}
    )
    assert (facts.known_usage, facts.fee_kinds) == ({"images": 3, "requests": 1}, {"images": 3})


def test_the_signed_request_is_never_rewritten() -> None:
    body = json.dumps({"messages": MESSAGES, "max_tokens": 5}).encode()
    facts = DIALECT.read_request(body, f"/model/{CLAUDE}/invoke")
    assert DIALECT.rewrite(body, facts, model="b", output_cap=1, ask_usage=True) is body
    assert DIALECT.rewrite_path(f"/model/{CLAUDE}/invoke", "b") is None


@pytest.mark.parametrize(
    ("body", "headers", "kinds"),
    [
        ({"generation": "x"}, counted(input=8, output=35), {"input": 8, "output": 35, "requests": 1}),
        (
            {"usage": {"input_tokens": 4, "output_tokens": 50, "cache_creation_input_tokens": 90,
              "cache_creation": {"ephemeral_1h_input_tokens": 90}}},
            counted(input=4, output=50, cache_write_input=90, cache_read_input=0),
            {"input": 4, "cache_write_1h": 90, "output": 50, "requests": 1},
        ),
        ({"usage": {"inputTokens": 16, "outputTokens": 27}}, {}, {"input": 16, "output": 27, "requests": 1}),
        ({"usage": {"prompt_tokens": 17, "completion_tokens": 5, "total_tokens": 22}}, counted(input=17, output=5),
         {"input": 17, "output": 5, "requests": 1}),
        ({"prompt_token_count": 8, "generation_token_count": 35}, {}, {"input": 8, "output": 35, "requests": 1}),
        ({"inputTextTokenCount": 28.0, "results": [{"tokenCount": 197.0}]}, {},
         {"input": 28, "output": 197, "requests": 1}),
        ({}, counted(input=4, output=1, cache_read_input=18131),
         {"input": 4, "cached_input": 18131, "output": 1, "requests": 1}),
    ],
)  # fmt: skip
def test_usage_is_read_from_headers_and_from_every_vendors_body(
    body: Any, headers: dict[str, str], kinds: dict[str, int]
) -> None:
    reading = answer(body, headers)
    assert (reading.usage, reading.problem, reading.mismatch) == (kinds, None, False)


def test_where_header_and_body_disagree_the_larger_is_charged_and_flagged() -> None:
    masked = answer({"usage": {"inputTokens": 30, "outputTokens": 0}}, counted(input=30, output=51))
    assert (masked.usage["output"], masked.mismatch) == (51, True)


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [({}, {}, "no_usage"), ([], {}, "no_usage"), ({}, {"x-amzn-bedrock-input-token-count": "-1"}, "bad_usage"),
     ({"usage": {"inputTokens": "x"}}, {}, "bad_usage")],
)  # fmt: skip
def test_an_answer_without_good_usage_says_so(body: Any, headers: dict[str, str], problem: str) -> None:
    assert answer(body, headers).problem == problem


def test_headers_are_enough_for_an_answer_that_is_no_json() -> None:
    assert DIALECT.read_answer(b"\x89PNG", counted(input=1, output=0)).usage == {"input": 1, "requests": 1}


def message(kind: str, payload: bytes, of: str = "event") -> bytes:
    def header(name: str, value: str) -> bytes:
        return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()

    headers = header(":event-type" if of == "event" else ":exception-type", kind) + header(
        ":message-type", of
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def chunk(**document: Any) -> bytes:
    inner = base64.b64encode(json.dumps(document).encode()).decode()
    return message("chunk", json.dumps({"bytes": inner, "p": "abc"}).encode())


METRICS = {
    "inputTokenCount": 12,
    "outputTokenCount": 5,
    "cacheReadInputTokenCount": 7,
    "cacheWriteInputTokenCount": 0,
}
KINDS = {"input": 12, "cached_input": 7, "output": 5, "requests": 1}
ANTHROPIC = (
    chunk(
        type="message_start",
        message={"usage": {"input_tokens": 12, "cache_read_input_tokens": 7, "output_tokens": 1}},
    )
    + chunk(type="content_block_delta", delta={"type": "text_delta", "text": "one two"})
    + chunk(type="message_delta", usage={"output_tokens": 5})
    + chunk(type="message_stop", **{"amazon-bedrock-invocationMetrics": METRICS})
)
TITAN = chunk(outputText="one two", inputTextTokenCount=12) + chunk(
    totalOutputTextTokenCount=5, **{"amazon-bedrock-invocationMetrics": METRICS}
)
NOVA = (
    chunk(contentBlockDelta={"delta": {"text": "one two"}})
    + chunk(metadata={"usage": {"inputTokens": 12, "outputTokens": 5, "cacheReadInputTokenCount": 7}})
    + chunk(**{"amazon-bedrock-invocationMetrics": METRICS})
)


@pytest.mark.parametrize("stream", [ANTHROPIC, TITAN, NOVA])
def test_usage_is_read_at_every_split(stream: bytes) -> None:
    every_split(NAME, stream)
    under_test = meter(NAME)
    run(under_test, [stream])
    assert seen(under_test) == (Reading(KINDS), (KINDS, 2), True, False)


def test_an_aborted_stream_counts_what_flowed() -> None:
    under_test = meter(NAME)
    run(
        under_test,
        [ANTHROPIC[: -len(chunk(type="message_stop", **{"amazon-bedrock-invocationMetrics": METRICS}))]],
    )
    reading, partial, complete, failed = seen(under_test)
    assert (reading.problem, complete, failed) == ("truncated", False, False)
    assert partial == (KINDS, 2)


def test_an_exception_in_the_stream_is_a_failure() -> None:
    under_test = meter(NAME)
    run(under_test, [message("throttlingException", b'{"message":"slow"}', "exception")])
    assert under_test.failed


def test_a_stream_of_anything_is_survived() -> None:
    for raw in (
        b"x" * 50,
        message("chunk", b"{"),
        message("chunk", b'{"bytes":"%"}'),
        message("chunk", b"[]"),
    ):
        under_test = meter(NAME)
        assert run(under_test, [raw]) == raw
        assert under_test.result().problem is not None


def test_a_refusal_is_one_of_bedrocks_exceptions() -> None:
    rejection = Rejection(400, "c", "Spent.", {})
    assert json.loads(DIALECT.error_body(rejection))["message"] == "Spent."
    assert DIALECT.error_headers(rejection) == (("x-amzn-errortype", "ServiceQuotaExceededException"),)
