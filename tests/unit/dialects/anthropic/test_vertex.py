"""Anthropic on Vertex AI: the path names the model, the rest is the messages API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.streams import every_split

from spendgate.dialects.anthropic.vertex import AnthropicVertex
from spendgate.dialects.base import RequestFacts
from spendgate.errors import RequestError

DIALECT = AnthropicVertex()
HEAD = "/v1/projects/p/locations/eu/publishers/anthropic/models/"
PATH = HEAD + "claude-sonnet-4-5@20250929:rawPredict"


def read(path: str = PATH, **fields: Any) -> RequestFacts:
    document = {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 5,
        "messages": [{"content": "hi"}],
    } | fields
    return DIALECT.read_request(json.dumps(document).encode(), path)


@pytest.mark.parametrize(
    ("path", "ours"),
    [(PATH, True), (HEAD + "claude-x:streamRawPredict", True), (HEAD + "claude-x%3ArawPredict", True),
     (HEAD + "count-tokens:rawPredict", False), (HEAD + "claude-x:predict", False),
     ("/v1/publishers/mistralai/models/m:rawPredict", False)],
)  # fmt: skip
def test_predictions_are_claimed_and_counting_is_free(path: str, ours: bool) -> None:
    assert DIALECT.matches("POST", path, "application/json") == ours


def test_the_path_says_model_and_stream() -> None:
    facts = read()
    assert (facts.model, facts.stream, facts.texts) == ("claude-sonnet-4-5@20250929", False, ("hi",))
    assert (facts.output_cap, facts.model_fixed) == (5, False)
    assert read(HEAD + "claude-x:streamRawPredict").stream
    with pytest.raises(RequestError, match="names no model"):
        read("/v1/elsewhere")


def test_the_model_is_rewritten_in_the_path_and_the_cap_in_the_body() -> None:
    moved = DIALECT.rewrite_path(PATH + "?alt=sse", "claude-haiku-4-5@20251001")
    assert moved == HEAD + "claude-haiku-4-5@20251001:rawPredict?alt=sse"
    body = b'{"anthropic_version":"v","max_tokens":9,"messages":[]}'
    facts = DIALECT.read_request(body, PATH)
    assert DIALECT.rewrite(body, facts, model="b", output_cap=None, ask_usage=True) == body
    assert DIALECT.rewrite(body, facts, model="b", output_cap=4, ask_usage=True) == body.replace(b"9", b"4")


def test_usage_is_read_of_an_answer_and_of_a_stream_at_every_split() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5}
    reading = DIALECT.read_answer(json.dumps({"model": "claude-sonnet-4-5", "usage": usage}).encode())
    assert reading.usage == {"input": 3, "cached_input": 4, "output": 5, "requests": 1}
    events = (
        {"type": "message_start", "message": {"model": "claude", "usage": {**usage, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "message_delta", "usage": {"output_tokens": 5}},
    )
    stream = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)
    every_split("anthropic-vertex", stream)
