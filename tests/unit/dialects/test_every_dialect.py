"""What holds for every dialect: odd bodies raise nothing else, all bytes pass, and refusals have a message."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.streams import meter, pieces_of, run, seen

from spendgate.dialects.base import Dialect, Rejection
from spendgate.dialects.registry import DIALECTS, by_name, find
from spendgate.errors import RequestError

KEYS = ("model", "messages", "input", "prompt", "content", "contents", "parts", "type", "text", "usage", "tools",
        "delta",
        "requests", "params", "documents", "images", "n", "stream", "message", "response", "interaction", "metadata",
        "max_tokens", "generation_config", "inferenceConfig", "input_tokens", "output_tokens", "prompt_tokens",
        "completion_tokens", "usageMetadata", "meta", "billed_units", "source", "data", "citations", "container",
        "bytes", "amazon-bedrock-invocationMetrics", "event_type", "item", "done", "choices")  # fmt: skip
ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**13) | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(["message_start", "message_delta", "image_url", "document", "web_search_20250305", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)


def test_every_family_is_found_and_each_dialect_has_a_name_of_its_own() -> None:
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS) > 20
    assert DIALECTS[0].name == "openai-chat"  # what is in nobody's words is told in its


@EACH
def test_a_dialect_claims_its_path_alone_and_envoy_routes_by_the_same_pattern(dialect: Dialect) -> None:
    for path in dialect.paths:
        assert find("POST", path, "application/json") is dialect
        assert find("GET", path, "application/json") is not dialect
        assert re.fullmatch(f".*{dialect.path_regex}/*", path)
        claimed = [d.name for d in DIALECTS if d.matches("POST", path, "application/json")]
        assert claimed == [dialect.name]


@EACH
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_odd_requests_are_read_or_refused_with_a_reason(dialect: Dialect, data: st.DataObject) -> None:
    document = data.draw(st.dictionaries(st.sampled_from(KEYS), ANY, max_size=6))
    for body in (json.dumps({"model": "m"} | document).encode(), data.draw(st.binary(max_size=60))):
        try:
            facts = dialect.read_request(body, dialect.paths[0], {"content-type": "application/json"})
        except RequestError as e:
            assert str(e)
            continue
        assert facts.model
        assert facts.extra_input_tokens >= 0
        assert facts.text_bytes >= 0
        assert all(n > 0 for n in (*facts.fee_kinds.values(), *facts.known_usage.values()))


@EACH
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_odd_answers_are_read_without_a_fault(dialect: Dialect, data: st.DataObject) -> None:
    for body in (json.dumps(data.draw(ANY)).encode(), data.draw(st.binary(max_size=60))):
        reading = dialect.read_answer(body, {})
        assert (reading.usage == {}) == (reading.problem is not None)
        assert all(n > 0 for n in reading.usage.values())


@EACH
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_no_stream_raises_and_all_of_it_passes_however_it_is_cut(
    dialect: Dialect, data: st.DataObject
) -> None:
    documents = data.draw(st.lists(ANY.map(lambda v: json.dumps(v).encode()), max_size=4))
    frame = data.draw(st.sampled_from([b"data: %s\n\n", b"%s\n", b"[%s,"]))
    stream = b"".join(frame % d for d in documents) + data.draw(st.binary(max_size=20))
    cuts = data.draw(st.lists(st.integers(0, 500), max_size=6))
    under_test, whole = meter(dialect.name), meter(dialect.name)
    assert run(under_test, pieces_of(stream, cuts)) == run(whole, [stream]) == stream
    assert seen(under_test) == seen(whole)


@EACH
def test_a_refusal_is_json_with_its_message_and_reason(dialect: Dialect) -> None:
    body = dialect.error_body(Rejection(429, "monthly_budget_exceeded", "Spent.", {"team": "ml"}))
    assert json.loads(body)
    assert b"Spent." in body
    assert b"monthly_budget_exceeded" in body.lower()
    assert by_name(dialect.name) is dialect


@pytest.mark.parametrize(
    ("path", "asked", "large"),
    [
        ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"}, True),
        ("/api/v1/chat/completions", {"model": "google/gemini-2.5-flash-image"}, True),
        ("/api/v1/chat/completions", {"model": "m", "modalities": ["image", "text"]}, True),
        ("/v1/chat/completions", {"model": "m", "modalities": ["text", "audio"]}, True),
        ("/v1/chat/completions", {"model": "gpt-4o"}, False),
        ("/v1/chat/completions", {"model": "imagine-7b"}, False),
        (
            "/v1/responses",
            {"model": "gpt-5.4", "input": "a cat", "tools": [{"type": "image_generation"}]},
            True,
        ),
        ("/v1/responses", {"model": "gpt-5.4", "input": "a cat"}, False),
        ("/model/amazon.nova-canvas-v1%3A0/invoke", {"taskType": "TEXT_IMAGE"}, True),
        ("/v1/embeddings", {"model": "m", "input": ["a"] * 200}, True),
        ("/v1/embeddings", {"model": "m", "input": "a"}, False),
    ],
)
def test_an_answer_that_may_have_pictures_is_never_collected(
    path: str, asked: dict[str, Any], large: bool
) -> None:
    dialect = find("POST", path, "application/json")
    assert dialect is not None
    facts = dialect.read_request(json.dumps(asked).encode(), path, {"content-type": "application/json"})
    assert dialect.may_be_large(facts) is large
