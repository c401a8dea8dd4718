"""Cohere's other APIs: version 1's chat and generation, embeddings, reranking."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.streams import every_split, meter, run, seen

from spendgate.dialects.base import Reading, RequestFacts
from spendgate.dialects.registry import by_name

BILLED = {"meta": {"billed_units": {"input_tokens": 69, "output_tokens": 111.0}}}
KINDS = {"input": 69, "output": 111, "requests": 1}


def read(name: str, path: str, **fields: Any) -> RequestFacts:
    return by_name(name).read_request(json.dumps(fields).encode(), path)


def usage(name: str, body: Any) -> Reading:
    return by_name(name).read_answer(json.dumps(body).encode())


def rewritten(name: str, body: bytes, **wanted: Any) -> bytes:
    dialect = by_name(name)
    facts = dialect.read_request(body, "")
    return dialect.rewrite(body, facts, **({"model": None, "output_cap": None, "ask_usage": False} | wanted))


def test_version_1_is_read() -> None:
    facts = read(
        "cohere-v1",
        "/v1/chat",
        message="hi",
        preamble="be",
        chat_history=[{"role": "USER", "message": "a"}],
        max_tokens=5,
    )
    assert (facts.model, facts.output_cap) == ("command-a-03-2025", 5)
    assert facts.texts == ("hi", "be", '{"role":"USER","message":"a"}')
    assert read("cohere-v1", "/v1/generate", prompt="x", model="command", num_generations=9).choices == 5
    assert read("cohere-v1", "/v1/chat", message="x", connectors=[{"id": "web-search"}]).unseen_input


def test_version_1_is_billed_by_its_billed_units() -> None:
    assert usage("cohere-v1", BILLED | {"text": "x"}) == Reading(KINDS)
    assert usage("cohere-v1", {"text": "x"}).problem == "no_usage"


def lines(*documents: Any) -> bytes:
    return b"".join(json.dumps(d).encode() + b"\n" for d in documents)


TEXT = lines(
    {"is_finished": False, "event_type": "stream-start"},
    {"is_finished": False, "event_type": "text-generation", "text": "one two"},
)
STREAM = TEXT + lines(
    {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": BILLED}
)


def test_a_version_1_stream_is_metered_at_every_split() -> None:
    every_split("cohere-v1", STREAM)
    under_test = meter("cohere-v1")
    run(under_test, [STREAM])
    assert seen(under_test) == (Reading(KINDS), (KINDS, 2), True, False)


def test_an_aborted_version_1_stream_counts_what_flowed() -> None:
    under_test = meter("cohere-v1")
    run(under_test, [TEXT], end=False)
    assert seen(under_test) == (Reading({}, problem="truncated"), ({}, 2), False, False)


def test_model_and_cap_are_rewritten_and_nothing_else() -> None:
    body = b'{"model":"a","max_tokens":9,"message":"hi"}'
    assert (
        rewritten("cohere-v1", body, model="b", output_cap=4)
        == b'{"model":"b","max_tokens":4,"message":"hi"}'
    )
    for name, body in (
        ("cohere-embed", b'{"model":"a","texts":[]}'),
        ("cohere-rerank", b'{"model":"a","query":"x"}'),
    ):
        assert rewritten(name, body, model="b", output_cap=4) == body.replace(b'"a"', b'"b"')
        assert rewritten(name, body, output_cap=4) is body


def test_embeddings_have_input_and_images() -> None:
    parts = [{"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]}]
    facts = read("cohere-embed", "/v2/embed", model="embed-v4.0", texts=["one"], inputs=parts)
    assert (facts.output_cap, facts.fee_kinds, facts.extra_input_tokens) == (0, {"images": 1}, 20_000)
    assert facts.texts == ("one", '{"type":"text","text":"a"}')
    billed = {"meta": {"billed_units": {"input_tokens": 7, "images": 1}}}
    assert usage("cohere-embed", billed).usage == {"input": 7, "images": 1, "requests": 1}


@pytest.mark.parametrize(
    ("documents", "units"), [(["a"] * 100, 1), (["a"] * 101, 2), (["a" * 501] * 100, 2), ([], 1)]
)
def test_a_rerank_is_held_and_billed_by_its_search_units(documents: list[str], units: int) -> None:
    facts = read("cohere-rerank", "/v2/rerank", model="rerank-v3.5", query="q", documents=documents)
    assert (facts.fee_kinds, facts.output_cap) == ({"searches": units}, 0)
    assert usage("cohere-rerank", {"meta": {"billed_units": {"search_units": units}}}).usage == {
        "requests": 1, "searches": units,
    }  # fmt: skip


def test_a_rerank_of_another_house_is_billed_by_its_tokens() -> None:
    assert usage("cohere-rerank", {"usage": {"total_tokens": 9}}).usage == {"input": 9, "requests": 1}
