"""Settling by the access log: what an entry tells, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.exchange.driver import snapshot_of

from spendgate.exchange.access_log_settlement import LogFacts, settle_by_log, usage_document
from spendgate.exchange.law import Kind
from spendgate.exchange.ticket import SettlementTicket
from spendgate.records.outcome import Outcome

SNAPSHOT = snapshot_of()
HELD = 1_000_000
TICKET = SettlementTicket(
    exchange_id="x", request_id="r", at_ms=1, team="ml", app="chat", user="", run="", dialect="openai-chat",
    model_requested="gpt-4o", model="gpt-4o", upstream="", held_nanousd=HELD, price_version="v",
    decision="allow", reason="within_budget", scopes=(("month", "month"), ("day", "day")), input_tokens=10,
)  # fmt: skip
USAGE = {"usage.prompt_tokens": 10.0, "usage.completion_tokens": 5.0, "usage.total_tokens": 15.0}
COST = 10 * 2500 + 5 * 10_000


def test_a_ticket_reads_as_it_was_written() -> None:
    assert SettlementTicket.from_json(TICKET.to_json()) == TICKET


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"team": "ml"}', TICKET.to_json().replace('"x"', '"x", "y": 1')]
)
def test_what_is_no_ticket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ticket"):
        SettlementTicket.from_json(text)


@pytest.mark.parametrize(
    ("facts", "outcome", "cost", "release"),
    [
        (LogFacts(200, True, USAGE), Outcome.COMPLETE, COST, False),
        (LogFacts(200, True), Outcome.UNMETERED, HELD, False),
        (LogFacts(200, True, {"model": "gpt-4o"}), Outcome.UNMETERED, HELD, False),
        (LogFacts(429, True, USAGE), Outcome.FAILED, 0, True),
        (LogFacts(503, False, by_envoy=True), Outcome.FAILED, 0, True),
        (LogFacts(503, True), Outcome.FAILED, 0, True),
        (LogFacts(503, True, by_envoy=True), Outcome.UNMETERED, HELD, False),
        (LogFacts(504, True, by_envoy=True), Outcome.UNMETERED, HELD, False),
        (LogFacts(0, False), Outcome.ABORTED, 0, True),
        (LogFacts(0, True), Outcome.ABORTED, HELD, False),
    ],
)
def test_each_fact_has_its_price(facts: LogFacts, outcome: Outcome, cost: int, release: bool) -> None:
    ending = settle_by_log(TICKET, facts, SNAPSHOT)
    assert ending.settlement is not None
    assert (ending.record.outcome, ending.settlement.cost_nanousd) == (outcome, cost)
    assert ending.settlement.release == release
    assert ending.settlement.scopes == TICKET.scopes


@pytest.mark.parametrize(
    ("kind", "flowed", "cost", "unmetered"),
    [
        (Kind.PLAIN, False, 10 * 2500, ""),
        (Kind.HIDDEN, False, HELD, "aborted"),
        (Kind.WHOLE, False, HELD, "aborted"),
        (Kind.WHOLE, True, 10 * 2500, ""),
    ],
)
def test_a_client_that_leaves_before_the_answer_pays_by_the_law(
    kind: Kind, flowed: bool, cost: int, unmetered: str
) -> None:
    ticket = SettlementTicket.from_json(replace(TICKET, kind=kind.value, aborted_flowed=flowed).to_json())
    record = settle_by_log(ticket, LogFacts(0, True), SNAPSHOT).record
    assert (record.outcome, record.cost_nanousd, record.unmetered) == (Outcome.ABORTED, cost, unmetered)


def test_input_that_only_the_provider_knows_is_charged_at_the_hold() -> None:
    ending = settle_by_log(replace(TICKET, unseen_input=True), LogFacts(0, True), SNAPSHOT)
    assert ending.record.cost_nanousd == HELD


def test_what_the_request_alone_tells_is_billed_where_the_answer_tells_nothing() -> None:
    ticket = replace(TICKET, known_usage={"input": 4}, model="gpt-4o")
    assert SettlementTicket.from_json(ticket.to_json()) == ticket
    record = settle_by_log(ticket, LogFacts(200, True), SNAPSHOT).record
    assert (record.outcome, record.tokens, record.cost_nanousd) == (Outcome.COMPLETE, {"input": 4}, 4 * 2500)
    assert settle_by_log(ticket, LogFacts(500, True), SNAPSHOT).record.cost_nanousd == 0


def test_a_stream_that_only_began_has_no_final_usage() -> None:
    begun = {
        "message.model": "claude-opus-4-1",
        "message.usage.input_tokens": 10,
        "message.usage.output_tokens": 1,
    }
    ticket = replace(TICKET, dialect="anthropic-messages", model="claude-opus-4-1")
    assert settle_by_log(ticket, LogFacts(200, True, begun), SNAPSHOT).record.outcome is Outcome.UNMETERED
    whole = {**begun, "usage.output_tokens": 7}
    record = settle_by_log(ticket, LogFacts(200, True, whole), SNAPSHOT).record
    assert (record.outcome, record.tokens) == (Outcome.COMPLETE, {"input": 10, "output": 7})


def test_the_parts_of_a_stream_make_one_answer() -> None:
    flat = {"response.model": "o", "response.usage.output_tokens_details.reasoning_tokens": 3.0}
    assert usage_document(flat) == {"model": "o", "usage": {"output_tokens_details": {"reasoning_tokens": 3}}}


def test_a_usage_without_input_is_charged_the_input_as_counted() -> None:
    usage = {"usage.completion_tokens": 5.0}
    record = settle_by_log(TICKET, LogFacts(200, True, usage), SNAPSHOT).record
    assert (record.tokens, record.cost_nanousd) == ({"input": 10, "output": 5}, COST)
    assert "input_missing" in record.flags


@pytest.mark.parametrize(
    ("dialect", "usage", "cost"),
    [
        ("openai-chat", USAGE, HELD),
        (
            "openai-responses",
            {"response.usage.input_tokens": 10.0, "response.usage.output_tokens": 5.0},
            COST,
        ),
        ("openai-responses", {"response.model": "gpt-4o"}, HELD),
        (
            "anthropic-messages",
            {"message.usage.input_tokens": 10.0, "message.usage.output_tokens": 1.0},
            HELD,
        ),
        ("anthropic-messages", {"message.usage.input_tokens": 10.0, "usage.output_tokens": 5.0}, COST),
    ],
)
def test_of_a_stream_that_did_not_come_to_its_end_only_a_last_word_counts(
    dialect: str, usage: dict[str, object], cost: int
) -> None:
    ending = settle_by_log(
        replace(TICKET, dialect=dialect), LogFacts(200, True, usage, by_envoy=True), SNAPSHOT
    )
    assert ending.record.cost_nanousd == cost


def test_a_downgrade_tells_what_it_saved() -> None:
    ticket = replace(TICKET, decision="downgrade", model="gpt-4o-mini")
    usage = {"model": "gpt-4o-mini", **USAGE}
    ending = settle_by_log(ticket, LogFacts(200, True, usage), SNAPSHOT)
    assert ending.record.saved_nanousd == COST - ending.record.cost_nanousd > 0
    assert ending.settlement is not None
    assert ending.settlement.saved_nanousd == ending.record.saved_nanousd
