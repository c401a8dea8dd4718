"""An exchange is priced by who serves it, on the tier and in the place that the answer names, at its own time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.exchange.driver import NOW_MS, PRICES, Drive, chat, policy_of

from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.settings.config import Settings

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
CLAUDE_USAGE = {"input_tokens": 1000, "output_tokens": 100}


def snap(prices: PriceTable = PRICES, **settings: object) -> Snapshot:
    return snapshot(policy_of("team: ml\nmonthlyBudgetUSD: 100"), prices, Settings.model_validate(settings))


def exchange(
    body: dict[str, object],
    usage: dict[str, Any],
    *,
    of: Snapshot | None = None,
    path: str = "/v1/chat/completions",
    host: str = "",
    **answered: object,
) -> Drive:
    """One exchange with a whole answer."""
    d = Drive(of or snap())
    d.send(body, path=path, headers={":authority": host} if host else {})
    d.answer()
    d.piece(json.dumps({"model": body["model"], "usage": usage, **answered}).encode(), end=True)
    return d


def cost(d: Drive) -> int:
    return d.ending.record.cost_nanousd


@pytest.mark.parametrize(
    ("asked", "served", "factor"),
    [("", "default", 2), ("flex", "flex", 1), ("flex", "default", 2), ("auto", "priority", 4), ("flex", "", 2),
     ("priority", "", 4), ("priority", "default", 2), ("auto", "default", 2)],
)  # fmt: skip
def test_the_tier_that_was_served_is_charged_before_the_one_asked_for(
    asked: str, served: str, factor: int
) -> None:
    more: dict[str, Any] = {"service_tier": asked} if asked else {}
    said: dict[str, Any] = {"service_tier": served} if served else {}
    d = exchange(chat(model="gpt-5.4", **more), USAGE, **said)
    assert cost(d) == (1000 * 2_500 + 100 * 15_000) * factor // 2
    assert d.ending.record.priced_by.service_tier == {1: "flex", 2: "", 4: "priority"}[factor]
    assert not d.ending.notes.unpriced


def test_a_tier_that_is_asked_for_never_lowers_what_is_held() -> None:
    held = {
        t: exchange(chat(model="gpt-5.4", service_tier=t), USAGE).ending.held_nanousd
        for t in ("flex", "batch", "auto", "priority")
    }
    assert 0 < held["flex"] == held["batch"] == held["auto"] < held["priority"]


def test_a_tier_that_no_list_has_is_charged_at_the_dearest_and_flagged() -> None:
    d = exchange(chat(model="gpt-5.4"), USAGE, service_tier="warp")
    assert cost(d) == (1000 * 2_500 + 100 * 15_000) * 2
    assert d.ending.record.priced_by.unpriced == ("service_tier",)
    assert d.ending.notes.unpriced


def test_a_kind_of_usage_without_a_price_is_charged_by_a_stand_in_and_flagged(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("models: {house: {input: 1, output: 2}}")
    body = chat(model="house", web_search_options={})
    d = exchange(body, USAGE, of=snap(table([file])))
    plain = 1000 * 1_000 + 100 * 2_000
    assert cost(d) == plain
    usage = {"candidatesTokenCount": 100, "promptTokenCount": 1000, "totalTokenCount": 1100}
    d = Drive(snap(table([file])))
    d.send({"contents": [], "tools": [{"googleSearch": {}}]}, path="/v1beta/models/house:generateContent")
    d.answer()
    grounded = {"groundingMetadata": {"webSearchQueries": ["a"]}, "content": {"parts": []}}
    d.piece(json.dumps({"usageMetadata": usage, "candidates": [grounded]}).encode(), end=True)
    assert d.ending.record.tokens["searches"] == 1
    assert d.ending.record.priced_by.unpriced == ("searches",)
    assert cost(d) > plain
    assert d.ending.notes.unpriced


def test_a_place_is_charged_where_the_answer_names_it() -> None:
    body: dict[str, object] = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": []}

    def at(**usage: str) -> int:
        return cost(exchange(body, {**CLAUDE_USAGE, **usage}, path="/v1/messages"))

    base = 1000 * 4_000 + 100 * 20_000
    assert at() == at(inference_geo="global") == at(inference_geo="not_available") == base
    assert at(inference_geo="us") == base * 11 // 10
    assert at(speed="fast") == base * 2


def test_a_request_that_names_a_place_is_held_at_its_price() -> None:
    body: dict[str, object] = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": []}
    there = exchange({**body, "inference_geo": "us"}, CLAUDE_USAGE, path="/v1/messages").ending
    here = exchange(body, CLAUDE_USAGE, path="/v1/messages").ending
    assert abs(there.held_nanousd * 10 - here.held_nanousd * 11) <= 11
    assert there.record.priced_by.residency == "us"


@pytest.mark.parametrize(("location", "percent"), [("global", 100), ("us-east5", 110), ("europe-west1", 110)])
def test_a_regional_vertex_endpoint_costs_a_tenth_more(location: str, percent: int) -> None:
    path = f"/v1/projects/p/locations/{location}/publishers/anthropic/models/claude-opus-5-5:rawPredict"
    d = Drive(snap())
    d.send({"max_tokens": 100, "messages": [], "anthropic_version": "vertex-2023-10-16"}, path=path)
    d.answer()
    d.piece(json.dumps({"model": "claude-opus-5-5", "usage": CLAUDE_USAGE}).encode(), end=True)
    assert cost(d) == (1000 * 4_000 + 100 * 20_000) * percent // 100


def test_the_host_tells_whose_price_counts() -> None:
    body = chat(model="openai/gpt-oss-120b")
    groq = exchange(body, USAGE, host="api.groq.com")
    assert cost(groq) == 1000 * 150 + 100 * 600
    assert cost(exchange(body, USAGE, host="openrouter.ai")) != cost(groq)
    assert (
        cost(exchange(chat(model="gpt-5.4"), USAGE, host="eu.api.openai.com"))
        == (2_500_000 + 1_500_000) * 11 // 10
    )


def test_the_upstream_tells_it_before_the_host() -> None:
    upstreams = [
        {"name": "a", "url": "https://api.groq.com", "models": ["openai/*"]},
        {"name": "b", "url": "http://proxy.internal:8080", "models": ["llama*"], "provider": "groq"},
        {"name": "c", "url": "https://api.openai.com"},
    ]
    of = snap(upstreams=upstreams)
    d = exchange(chat(model="openai/gpt-oss-120b"), USAGE, of=of, host="127.0.0.1:10000")
    assert cost(d) == 1000 * 150 + 100 * 600
    d = exchange(chat(model="llama-3.3-70b-versatile"), USAGE, of=of, host="127.0.0.1:10000")
    assert cost(d) == 1000 * 590 + 100 * 790


def test_an_upstream_may_bind_to_a_place() -> None:
    upstreams = [{"name": "a", "url": "http://proxy.internal", "provider": "openai", "residency": "eu"}]
    d = exchange(chat(model="gpt-5.4"), USAGE, of=snap(upstreams=upstreams))
    assert cost(d) == (2_500_000 + 1_500_000) * 11 // 10
    assert d.ending.record.priced_by.residency == "eu"


def test_an_azure_deployment_is_priced_by_the_operators_map_else_by_the_model_that_answers(
    tmp_path: Path,
) -> None:
    path = "/openai/deployments/chat-prod/chat/completions"
    d = Drive(snap())
    d.send(chat(model="x"), path=path)
    d.answer()
    d.piece(json.dumps({"model": "gpt-4o-2024-11-20", "usage": USAGE}).encode(), end=True)
    assert cost(d) == 1000 * 2_500 + 100 * 10_000
    file = tmp_path / "p.yaml"
    file.write_text("deployments: {chat-prod: gpt-4o-mini}")
    d = Drive(snap(table([file])))
    d.send(chat(model="x"), path=path)
    d.answer()
    d.piece(json.dumps({"model": "gpt-4o-2024-11-20", "usage": USAGE}).encode(), end=True)
    assert cost(d) == 1000 * 150 + 100 * 600
    assert not d.ending.notes.unpriced


def test_a_change_of_price_counts_from_its_moment_on(tmp_path: Path) -> None:
    """The driver's clock stands at noon of 2026-11-24."""
    paid = []
    for since in ("2026-11-24T12:01Z", "2026-11-24T12:00Z"):
        file = tmp_path / "p.yaml"
        file.write_text(f"models: {{gpt-4o: {{from: {since}, input: 1, output: 1}}}}")
        paid.append(cost(exchange(chat(), USAGE, of=snap(table([file])))))
    assert NOW_MS == 1_795_521_600_000
    assert paid == [1000 * 2_500 + 100 * 10_000, 1100 * 1_000]


def test_a_stream_is_charged_at_the_tier_that_its_chunks_name() -> None:
    d = Drive(snap())
    d.send(chat(model="gpt-5.4", stream=True, stream_options={"include_usage": True}, service_tier="auto"))
    d.answer(content_type="text/event-stream")
    chunk = {"model": "gpt-5.4", "choices": [], "usage": USAGE, "service_tier": "flex"}
    d.piece(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n", end=True)
    assert cost(d) == (1000 * 2_500 + 100 * 15_000) // 2


def test_the_usage_log_says_what_a_price_followed() -> None:
    line = json.loads(exchange(chat(model="gpt-5.4"), USAGE, service_tier="flex").ending.record.line())
    assert line["priced_by"] == {"service_tier": "flex"}
    assert "priced_by" not in json.loads(exchange(chat(), USAGE).ending.record.line())
    unknown = json.loads(exchange(chat(model="gpt-zero"), USAGE).ending.record.line())
    assert unknown["priced_by"]["stand_in"]
