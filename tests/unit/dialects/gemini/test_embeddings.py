"""Gemini's embeddings and interactions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.streams import every_split, meter, run, seen

from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.registry import by_name
from spendgate.errors import RequestError

EMBED = "/v1beta/models/gemini-embedding-2:"
TALK = "/v1beta/interactions"


def read(name: str, path: str, **fields: Any) -> RequestFacts:
    assert by_name(name).matches("POST", path, "application/json")
    return by_name(name).read_request(json.dumps(fields).encode(), path)


def test_embeddings_are_read_and_never_changed() -> None:
    part = {"content": {"parts": [{"text": "one"}, {"text": "two"}]}}
    facts = read("gemini-embeddings", EMBED + "batchEmbedContents", requests=[part, part])
    assert (facts.model, facts.texts, facts.output_cap) == ("gemini-embedding-2", ("one", "two") * 2, 0)
    assert read("gemini-embeddings", EMBED + "embedContent", **part).texts == ("one", "two")
    body = json.dumps(part).encode()
    dialect = by_name("gemini-embeddings")
    assert dialect.rewrite(body, facts, model="b", output_cap=1, ask_usage=True) is body
    with pytest.raises(RequestError, match="names no model"):
        dialect.read_request(body, "/v1beta/elsewhere")


def test_embeddings_are_billed_by_their_usage() -> None:
    body = json.dumps({"embeddings": [], "usageMetadata": {"promptTokenCount": 9}}).encode()
    assert by_name("gemini-embeddings").read_answer(body).usage == {"input": 9, "requests": 1}


def test_an_interaction_is_read() -> None:
    facts = read(
        "gemini-interactions", TALK, model="gemini-2.5-flash", stream=True, system_instruction="be",
        input=[{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image", "data": "AAAA"}]}],
        generation_config={"max_output_tokens": 50}, tools=[{"type": "google_search"}],
    )  # fmt: skip
    assert (facts.model, facts.stream, facts.output_cap) == ("gemini-2.5-flash", True, 50)
    assert facts.texts == ("be", "hi", '[{"type":"google_search"}]')
    assert (facts.extra_input_tokens, facts.needs) == (2_580 + 4, {"images", "tools"})
    assert facts.fee_kinds == {"searches": 10}


def test_an_agent_and_a_stored_interaction_bring_input_that_is_not_seen() -> None:
    agent = read(
        "gemini-interactions", TALK, agent="deep-research-pro-preview-12-2025", input="x", background=True
    )
    assert (agent.model, agent.model_fixed, agent.unseen_input) == (
        "deep-research-pro-preview-12-2025",
        True,
        True,
    )
    assert read(
        "gemini-interactions", TALK, model="m", input="x", previous_interaction_id="v1_x"
    ).unseen_input
    assert read("gemini-interactions", TALK, model="m", input={"type": "video", "uri": "gs://x"}).unseen_input


USAGE = {
    "total_tokens": 340, "total_input_tokens": 267, "total_cached_tokens": 100, "total_output_tokens": 3,
    "total_tool_use_tokens": 13, "total_thought_tokens": 57,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 9}, {"modality": "image", "tokens": 100}],
}  # fmt: skip
KINDS = {
    "input": 67, "cached_input": 100, "input_image": 100, "tool_input": 13, "output": 3, "reasoning": 57, "requests": 1,
}  # fmt: skip


def test_an_interactions_usage_is_split_into_kinds_that_add_up_to_the_total() -> None:
    body = {"model": "gemini-2.5-flash", "usage": USAGE, "service_tier": "flex"}
    reading = by_name("gemini-interactions").read_answer(json.dumps(body).encode())
    assert reading == Reading(KINDS, "gemini-2.5-flash", service_tier="flex")
    assert sum(KINDS.values()) - 1 == USAGE["total_tokens"]
    searched = body | {
        "model": "gemini-3-pro",
        "steps": [{"type": "google_search_call", "arguments": {"queries": ["a", "b"]}}],
    }
    assert by_name("gemini-interactions").read_answer(json.dumps(searched).encode()).usage["searches"] == 2


def test_an_interaction_in_the_background_has_no_usage_yet() -> None:
    body = json.dumps({"status": "in_progress", "agent": "a"}).encode()
    assert by_name("gemini-interactions").read_answer(body).problem == "deferred"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'event_type': kind, **fields})}\n\n".encode()


TEXT = event("interaction.created", interaction={"model": "gemini-2.5-flash"}) + event(
    "step.delta", delta={"type": "text", "text": "one two"}
)
STREAM = TEXT + event("interaction.completed", interaction={"usage": USAGE}) + b"data: [DONE]\n\n"


def test_an_interaction_is_metered_at_every_split() -> None:
    every_split("gemini-interactions", STREAM)
    under_test = meter("gemini-interactions")
    run(under_test, [STREAM])
    assert seen(under_test) == (Reading(KINDS, "gemini-2.5-flash"), (KINDS, 2), True, False)
    aborted = meter("gemini-interactions")
    run(aborted, [TEXT], end=False)
    assert aborted.partial() == ({}, 2)


def test_an_interaction_is_rewritten_and_nothing_else() -> None:
    dialect = by_name("gemini-interactions")
    body = b'{"model":"a", "generation_config":{"max_output_tokens":9},"input":"hi"}'
    facts = dialect.read_request(body, TALK)
    out = dialect.rewrite(body, facts, model="b", output_cap=4, ask_usage=True)
    assert out == b'{"model":"b", "generation_config":{"max_output_tokens":4},"input":"hi"}'


def test_a_refusal_is_googles_error() -> None:
    for name in ("gemini-embeddings", "gemini-interactions"):
        error = json.loads(by_name(name).error_body(Rejection(429, "c", "Spent.", {})))["error"]
        assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
