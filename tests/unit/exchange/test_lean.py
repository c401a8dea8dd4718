"""Whose answer may go by unseen: a table of requests and budgets, and what it changes for the hold."""

from __future__ import annotations

from typing import Any

import pytest
from unit.exchange.driver import NOW_MS, Drive, chat, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.law import Kind
from spendgate.exchange.snapshot import Snapshot
from spendgate.identity import headers as h
from spendgate.ledger.exchanges import ReserveResult

BOTH = frozenset({"json", "sse"})
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
CLAUDE = {"model": "claude-opus-4-1", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
THINKS = {"type": "enabled", "budget_tokens": 2000}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


class Lean(Drive):
    """An exchange behind an Envoy that tells what answers cost."""

    def __init__(self, snap: Snapshot, lean: frozenset[str] = BOTH) -> None:
        super().__init__(snap)
        self.exchange = Exchange("x1", snap, "req-1", lean=lean)


def provider(name: str) -> dict[str, Any]:
    return {"upstreams": [{"name": "up", "url": "https://llm.example", "provider": name}]}


@pytest.mark.parametrize(
    ("body", "path", "unseen"),
    [
        (chat(), "", True),
        (chat(**ASKED), "", True),
        (chat(stream=True), "", False),  # its usage is asked for, and taken out again
        (chat(**ASKED, model="o3"), "", False),  # what was told before it broke off is not all that was made
        (chat(model="o3"), "", True),
        (chat(model="nobody-knows"), "", False),
        (chat(models=["gpt-4o", "gpt-4o-mini"]), "", False),
        (chat(web_search_options={}), "", False),
        (CLAUDE, MESSAGES, True),
        (CLAUDE | {"stream": True}, MESSAGES, True),
        (CLAUDE | {"stream": True, "max_tokens": 4000, "thinking": THINKS}, MESSAGES, True),
        (CLAUDE | {"tools": [SEARCH]}, MESSAGES, False),
        ({"model": "gpt-4o", "input": "hi"}, RESPONSES, True),
        ({"model": "gpt-4o", "input": "hi", "stream": True}, RESPONSES, True),
        ({"model": "gpt-4o", "input": "hi", "tools": [{"type": "web_search"}]}, RESPONSES, False),
        ({"model": "text-embedding-3-small", "input": "hi"}, "/v1/embeddings", True),
        ({"model": "text-embedding-3-small", "input": ["hi"] * 200}, "/v1/embeddings", False),  # too long to hold
        ({"model": "gpt-image-1", "prompt": "a cat"}, "/v1/images/generations", False),
        ({"model": "mistral-large-latest", "inputs": "hi"}, "/v1/conversations", False),
    ],
)  # fmt: skip
def test_what_a_request_may_cost_says_whether_its_answer_is_looked_at(
    body: dict[str, object], path: str, unseen: bool
) -> None:
    drive = Lean(snapshot_of("{team: ml, monthlyBudgetUSD: 100}"))
    action = drive.send(body, path=path or "/v1/chat/completions")
    assert isinstance(action, e.Forward)
    assert drive.exchange.goes_unseen is unseen


@pytest.mark.parametrize(
    ("spec", "settings", "headers", "unseen"),
    [
        ("monthlyBudgetUSD: 100", {}, {}, True),
        ("monthlyBudgetUSD: 0, mode: audit", {}, {}, True),
        ("monthlyBudgetUSD: 100, cutStreams: true", {}, {}, False),
        ("monthlyBudgetUSD: 100, holds: learned", {}, {}, False),
        ("monthlyBudgetUSD: 100", provider("openrouter"), {}, False),
        ("monthlyBudgetUSD: 100", provider("openai"), {}, True),
        ("monthlyBudgetUSD: 100", {}, {h.REQUIRE_MODEL: "gpt-4o"}, False),
    ],
)
def test_what_wants_the_answer_gets_it(
    spec: str, settings: dict[str, Any], headers: dict[str, str], unseen: bool
) -> None:
    drive = Lean(snapshot_of(f"{{team: ml, {spec}}}", **settings))
    drive.send(chat(), headers=headers)
    assert drive.exchange.goes_unseen is unseen


@pytest.mark.parametrize(
    ("told", "streams", "unseen"),
    [
        (frozenset(), False, False),
        (frozenset({"json"}), False, True),
        (frozenset({"json"}), True, False),
        (frozenset({"sse"}), False, False),
    ],
)
def test_only_answers_that_envoy_reads_go_by(told: frozenset[str], streams: bool, unseen: bool) -> None:
    drive = Lean(snapshot_of(), told)
    drive.send(chat(**ASKED) if streams else chat())
    assert drive.exchange.goes_unseen is unseen


@pytest.mark.parametrize(
    ("body", "kind"), [(chat(), Kind.WHOLE), (chat(**ASKED), Kind.PLAIN), (chat(stream=True), None)]
)
def test_its_hold_waits_for_the_log_and_its_ticket_says_what_it_is(
    body: dict[str, object], kind: Kind | None
) -> None:
    drive = Lean(snapshot_of(unseen_ttl="7m", reservation_ttl="30s"))
    reserve, ttls = drive.ledger.reserve, []

    def noted(need: e.NeedReserve) -> ReserveResult:
        ttls.append(need.request.ttl_ms)
        return reserve(need)

    drive.ledger.reserve = noted  # type: ignore[method-assign]
    drive.send(body)
    assert ttls == [7 * 60_000 if kind else 30_000]
    assert drive.exchange.ticket.kind == (kind.value if kind else "")


def test_a_model_that_is_sent_in_anothers_stead_counts() -> None:
    """The first look is at what was asked of; the answer is of what was sent."""
    pressed = """
        team: ml
        monthlyBudgetUSD: 1
        defaultModel: o4-mini
        alertThresholds: [{percent: 50, action: alert_and_downgrade}]
        """
    drive = Lean(snapshot_of(pressed))
    drive.ledger.committed["ml"]["month"] = 600_000_000
    drive.send(chat(**ASKED))
    assert drive.exchange.decided.model == "o4-mini"
    assert not drive.exchange.goes_unseen


def test_what_passes_while_the_ledger_is_away_is_looked_at() -> None:
    drive = Lean(snapshot_of("{team: ml, monthlyBudgetUSD: 100}"))
    drive.send(chat(), ledger_down=e.LedgerDown(True, 0, 0, NOW_MS))
    assert not drive.exchange.goes_unseen


def test_what_is_looked_at_is_held_as_ever() -> None:
    drive = Lean(snapshot_of("{team: ml, monthlyBudgetUSD: 100, cutStreams: true}"))
    drive.send(chat(stream=True))
    assert drive.exchange.ticket.kind == ""
    drive.over()
    assert drive.ending.settlement is not None
