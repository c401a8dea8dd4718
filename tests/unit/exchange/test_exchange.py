"""The state machine of an exchange: every way out settles or releases exactly once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.exchange.driver import Drive, FakeLedger, chat, chat_answer, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange import states
from spendgate.exchange.context import ratio
from spendgate.exchange.states import TRANSITIONS, IllegalEvent, State, Verdict
from spendgate.identity.identity import Caller
from spendgate.records.outcome import ChargedBy, Outcome

USD = 1_000_000_000
SMALL = "{team: ml, monthlyBudgetUSD: 10, defaultModel: gpt-4o-mini}"
HARD = "{team: ml, monthlyBudgetUSD: 10, alertThresholds: [{percent: 100, action: reject}]}"
ROUTED = """
team: ml
monthlyBudgetUSD: 10
costRouting: {enabled: true, cheapModel: gpt-4o-mini, expensiveModel: gpt-4o, complexityThreshold: 500}
"""
# gpt-4o: 2.50 and 10.00 USD a million tokens
COST_10_5 = 10 * 2_500 + 5 * 10_000


def header(action: e.Action, name: str) -> str | None:
    pairs: Any = getattr(action, "set_headers", None) or getattr(action, "headers", ())
    return dict(pairs).get(name)


def test_a_json_answer_is_settled_at_its_usage_to_the_nanodollar() -> None:
    d = Drive(snapshot_of(SMALL))
    assert d.send(chat()) == e.Forward()
    answer = d.answer()
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.BUFFERED
    assert header(answer, "x-spendgate-model") == "gpt-4o"
    assert header(answer, "x-budget-utilization") is not None
    piece = d.piece(chat_answer(), end=True)
    assert header(piece, "x-spendgate-cost-usd") == "0.000075"
    assert d.ending.settlement is not None
    assert d.ending.settlement.cost_nanousd == COST_10_5
    assert d.ending.record.tokens == {"input": 10, "output": 5}
    assert d.ending.record.outcome is Outcome.COMPLETE
    d.over()
    assert d.ledger.committed["ml"]["month"] == COST_10_5
    assert len(d.endings) == 1


def test_a_json_answer_in_pieces_is_metered_whole() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    d.answer()
    raw = chat_answer()
    d.piece(raw[:20])
    d.piece(raw[20:])
    d.piece(b"", end=True)
    assert d.ending.record.cost_nanousd == COST_10_5


def test_paths_of_no_dialect_pass_untouched() -> None:
    d = Drive(snapshot_of(SMALL))
    assert d.send(b"anything", path="/v1/files") == e.Pass()
    d.over()
    assert d.endings == []


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_provider_error_releases_the_hold_and_costs_nothing(status: int) -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    assert d.ledger.committed["ml"]["month"] > 0
    assert d.answer(status) == e.PassResponse(e.BodyMode.NONE)
    assert d.ending.settlement is not None
    assert d.ending.settlement.release
    assert d.ending.record.outcome is Outcome.FAILED
    d.over()
    assert d.ledger.committed["ml"]["month"] == 0
    assert len(d.endings) == 1


def test_a_local_reply_of_envoy_is_no_answer_of_the_provider() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    d.answer(200, local=True)
    assert d.ending.settlement is not None
    assert d.ending.settlement.release


def test_a_client_that_leaves_a_stream_before_it_began_pays_the_input_only() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat(stream=True))
    d.over()
    assert d.ending.record.outcome is Outcome.ABORTED
    assert set(d.ending.record.tokens) == {"input"}
    assert 0 < d.ending.record.cost_nanousd < d.ending.held_nanousd


SSE_HEAD = (
    b'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"one"}}],"usage":null}\n\n'
)
SSE_MORE = (
    b'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":" two"}}],"usage":null}\n\n'
)
SSE_USAGE = (
    b'data: {"id":"c","model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}\n\n'
)
SSE_DONE = b"data: [DONE]\n\n"


def test_a_stream_is_asked_for_usage_and_the_extra_chunk_is_taken_out_again() -> None:
    d = Drive(snapshot_of(SMALL))
    forward = d.send(chat(stream=True))
    assert isinstance(forward, e.Forward)
    assert forward.body is not None
    assert orjson.loads(forward.body)["stream_options"] == {"include_usage": True}
    answer = d.answer(content_type="text/event-stream; charset=utf-8")
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.STREAMED
    out = b""
    for data in (SSE_HEAD, SSE_MORE, SSE_USAGE, SSE_DONE):
        action = d.piece(data)
        assert isinstance(action, e.PassChunk)
        out += data if action.replacement is None else action.replacement
    last = d.piece(b"", end=True)
    assert isinstance(last, e.PassChunk)
    out += last.replacement or b""
    assert out == SSE_HEAD + SSE_MORE + SSE_DONE
    assert d.ending.record.cost_nanousd == COST_10_5
    assert d.ending.record.outcome is Outcome.COMPLETE


def test_a_stream_that_outruns_its_money_is_ended_politely_where_the_policy_asks() -> None:
    spec = "{team: ml, monthlyBudgetUSD: 0.002, cutStreams: true, overshootPercent: 0}"
    d = Drive(snapshot_of(spec))
    d.send(chat(stream=True))
    answer = d.answer(content_type="text/event-stream")
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.DUPLEX
    out, pieces = b"", 0
    for _ in range(1000):  # a provider that ignores the cap of 100 tokens
        action = d.piece(SSE_MORE)
        assert isinstance(action, e.PassChunk)
        out += SSE_MORE if action.replacement is None else action.replacement
        pieces += 1
        if action.cut:
            break
    assert 180 < pieces < 230  # 0.002 USD are 200 tokens of output less the input
    assert out.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in out
    assert d.ending.record.reason == "stream_cut"
    assert d.ending.record.tokens["output"] == pieces
    assert d.piece(SSE_MORE) == e.PassChunk()
    d.over()
    assert len(d.endings) == 1


def test_without_the_policy_asking_a_stream_runs_to_its_own_end() -> None:
    d = Drive(snapshot_of("{team: ml, monthlyBudgetUSD: 0.002, overshootPercent: 0}"))
    d.send(chat(stream=True))
    answer = d.answer(content_type="text/event-stream")
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.STREAMED
    assert not any(getattr(d.piece(SSE_MORE), "cut", False) for _ in range(400))


def test_a_stream_that_asked_for_usage_itself_is_not_altered() -> None:
    d = Drive(snapshot_of(SMALL))
    assert d.send(chat(stream=True, stream_options={"include_usage": True})) == e.Forward()
    d.answer(content_type="text/event-stream")
    for data in (SSE_HEAD, SSE_USAGE, SSE_DONE):
        assert d.piece(data) == e.PassChunk(None)
    d.piece(b"", end=True)
    assert d.ending.record.cost_nanousd == COST_10_5


def test_an_aborted_stream_pays_for_what_flowed() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat(stream=True))
    d.answer(content_type="text/event-stream")
    d.piece(SSE_HEAD)
    d.piece(SSE_MORE)
    d.over()
    assert d.ending.record.outcome is Outcome.ABORTED
    assert d.ending.record.tokens["output"] == 2
    assert d.ending.record.tokens["input"] > 0


def test_several_models_asked_at_once_are_held_for_together() -> None:
    def held(model: str) -> int:
        d = Drive(snapshot_of(SMALL))
        d.send(chat(model=model))
        d.over()
        return d.ending.held_nanousd or 0

    each = held("gpt-4o"), held("gpt-4o-mini")
    assert held("gpt-4o,gpt-4o-mini") == sum(each)
    assert held("gpt-4o-mini, gpt-4o-mini,gpt-4o") == sum(each) + each[1]


@pytest.mark.parametrize(
    ("answers", "charged_by"),
    [("o3", ChargedBy.HOLD), ("gpt-4o-2024-08-06", ChargedBy.COUNTED), ("srv-7", ChargedBy.COUNTED)],
)
def test_a_stream_that_is_left_is_charged_by_what_its_answerer_can_hide(
    answers: str, charged_by: ChargedBy
) -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat(stream=True))
    d.answer(content_type="text/event-stream")
    d.piece(SSE_HEAD.replace(b"gpt-4o", answers.encode()))
    d.piece(SSE_MORE)
    d.over()
    assert d.ending.record.charged_by is charged_by


def test_an_abort_after_the_usage_came_is_billed_by_the_usage() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat(stream=True))
    d.answer(content_type="text/event-stream")
    d.piece(SSE_HEAD + SSE_USAGE)
    d.over()
    assert d.ending.record.cost_nanousd == COST_10_5


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"<html>", "not_json"),
        (chat_answer()[:-10], "not_json"),
        (b"{}", "no_usage"),
        (b'{"usage": {"prompt_tokens": -1, "completion_tokens": 2}}', "bad_usage"),
        (b'{"usage": {"prompt_tokens": "nine", "completion_tokens": 2}}', "bad_usage"),
        (b'{"usage": {"prompt_tokens": 1e300, "completion_tokens": 2}}', "bad_usage"),
        (b'{"usage": {"prompt_tokens": 99999999999999999999, "completion_tokens": 2}}', "bad_usage"),
    ],
)
def test_what_can_not_be_metered_costs_the_estimate_and_says_why(body: bytes, reason: str) -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    d.answer()
    d.piece(body, end=True)
    assert d.ending.record.outcome is Outcome.UNMETERED
    assert d.ending.notes.unmetered == reason
    assert d.ending.record.cost_nanousd == d.ending.held_nanousd > 0


def test_an_exhausted_team_gets_429_in_the_dialect_and_nothing_is_held() -> None:
    d = Drive(snapshot_of(HARD), FakeLedger(ml=11 * USD))
    reject = d.send(chat())
    assert isinstance(reject, e.Reject)
    assert reject.status == 429
    assert header(reject, "x-should-retry") == "false"
    error = orjson.loads(reject.body)["error"]
    assert error["type"] == "budget_exceeded"
    assert error["code"] == "monthly_budget_exceeded"
    assert "ml" in error["message"]
    assert d.ending.settlement is None
    assert d.ending.record.outcome is Outcome.REFUSED
    assert d.ending.record.estimate_nanousd == d.ending.notes.refused_nanousd > 0
    assert d.ending.record.estimate_nanousd == d.ending.notes.refused_nanousd > 0


def test_anthropic_gets_its_own_error_shape() -> None:
    d = Drive(snapshot_of(HARD), FakeLedger(ml=11 * USD))
    body = {"model": "claude-sonnet", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    reject = d.send(body, path="/v1/messages")
    assert isinstance(reject, e.Reject)
    document = orjson.loads(reject.body)
    assert document["type"] == "error"
    assert document["error"]["code"] == "monthly_budget_exceeded"


def test_under_pressure_the_cheaper_model_is_sent_and_the_answer_says_so() -> None:
    d = Drive(snapshot_of(SMALL), FakeLedger(ml=9 * USD))
    forward = d.send(chat())
    assert isinstance(forward, e.Forward)
    assert forward.body is not None
    assert orjson.loads(forward.body)["model"] == "gpt-4o-mini"
    answer = d.answer()
    assert header(answer, "x-model-downgraded") == "true"
    assert header(answer, "x-spendgate-reason") == "budget_pressure"
    d.piece(chat_answer(model="gpt-4o-mini-2024-07-18"), end=True)
    assert d.ending.record.model == "gpt-4o-mini"
    assert d.ending.record.model_requested == "gpt-4o"
    assert d.ending.record.decision == "downgrade"
    saved = COST_10_5 - (10 * 150 + 5 * 600)  # gpt-4o-mini: 0.15 and 0.60
    assert d.ending.record.saved_nanousd == saved
    assert d.ending.settlement is not None
    assert d.ending.settlement.saved_nanousd == saved


def test_a_required_model_bypasses_routing() -> None:
    d = Drive(snapshot_of(ROUTED))
    d.send(chat(), headers={"x-require-model": "gpt-4o"})
    assert header(d.answer(), "x-spendgate-model") == "gpt-4o"
    other = Drive(snapshot_of(ROUTED), exchange_id="x2")
    other.send(chat())
    answer = other.answer()
    assert header(answer, "x-spendgate-model") == "gpt-4o-mini"
    assert header(answer, "x-spendgate-reason") == "simple_query"
    assert header(answer, "x-model-downgraded") is None


def test_audit_passes_all_and_reports_what_would_have_been() -> None:
    spec = "{team: ml, monthlyBudgetUSD: 10, mode: audit, defaultModel: gpt-4o-mini}"
    d = Drive(snapshot_of(spec), FakeLedger(ml=11 * USD))
    assert d.send(chat()) == e.Forward()
    answer = d.answer()
    assert header(answer, "x-spendgate-model") == "gpt-4o"
    assert header(answer, "x-spendgate-reason") == "audit:would_refuse"
    d.piece(chat_answer(), end=True)
    assert d.ending.record.cost_nanousd == COST_10_5


def test_audit_says_which_model_would_have_served_and_counts_on_the_one_that_does() -> None:
    spec = """
team: ml
monthlyBudgetUSD: 10
mode: audit
defaultModel: gpt-4o-mini
modelLimits: [{modelPattern: gpt-4o, maxMonthlyUSD: 9}, {modelPattern: gpt-4o-mini, maxMonthlyUSD: 9}]
"""
    d = Drive(snapshot_of(spec), FakeLedger(ml=9 * USD))
    d.send(chat())
    answer = d.answer()
    assert header(answer, "x-spendgate-model") == "gpt-4o"
    assert header(answer, "x-spendgate-reason") == "audit:budget_pressure"
    assert header(answer, "x-model-downgraded") is None
    d.piece(chat_answer(), end=True)
    assert d.ledger.committed["ml"]["model:gpt-4o"] == COST_10_5
    assert d.ledger.committed["ml"]["model:gpt-4o-mini"] == 0


def test_without_a_budget_it_is_metered_all_the_same() -> None:
    d = Drive(snapshot_of())
    d.send(chat())
    assert header(d.answer(), "x-spendgate-reason") == "no_budget_defined"
    d.piece(chat_answer(), end=True)
    assert d.ending.record.cost_nanousd == COST_10_5


def test_a_request_that_cannot_be_read_is_refused_and_says_what_is_wrong_where() -> None:
    d = Drive(snapshot_of(HARD))
    action = d.send(b'{"model": "gpt-4o",\n "messages": ?}')
    assert isinstance(action, e.Reject)
    assert (action.status, action.reason) == (400, "unreadable_request")
    error = orjson.loads(action.body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "unreadable_request")
    assert "line 2, column 14" in error["message"]
    assert ("x-should-retry", "false") in action.headers
    assert d.ending.settlement is None
    assert (d.ending.record.outcome, d.ending.record.reason) == (Outcome.REFUSED, "unreadable_request")


AUDITED = "{team: ml, monthlyBudgetUSD: 10, mode: audit}"


@pytest.mark.parametrize(
    ("policy", "settings"), [(AUDITED, {}), ("", {}), (HARD, {"unreadable": "estimate"})]
)
def test_what_passes_unread_is_held_at_a_bound_and_metered_by_its_answer(
    policy: str, settings: dict[str, str]
) -> None:
    d = Drive(snapshot_of(policy, **settings))
    assert d.send(b"{not json") == e.Forward()
    held = d.exchange.decided.held_nanousd
    assert held > 4096 * 10_000  # the default cap, at a price above gpt-4o's
    d.answer()
    d.piece(chat_answer(), end=True)
    assert d.ending.settlement is not None
    assert d.ending.settlement.cost_nanousd == COST_10_5
    assert "unreadable" in d.ending.record.flags


def test_what_passes_unread_and_is_not_metered_is_charged_its_hold() -> None:
    d = Drive(snapshot_of(AUDITED))
    d.send(b"{not json")
    held = d.exchange.decided.held_nanousd
    d.answer()
    d.piece(b'{"choices": []}', end=True)
    record = d.ending.record
    assert (record.cost_nanousd, record.outcome, record.unmetered) == (
        held,
        Outcome.UNMETERED,
        "unreadable",
    )


def test_an_unreadable_request_that_the_provider_refuses_costs_nothing() -> None:
    d = Drive(snapshot_of(AUDITED))
    d.send(b"")
    d.answer(400)
    assert d.ending.settlement is not None and d.ending.settlement.release
    assert (d.ending.record.outcome, d.ending.record.cost_nanousd) == (Outcome.FAILED, 0)


@pytest.mark.parametrize("admitted", [True, False])
def test_without_the_ledger_the_guard_decides(admitted: bool) -> None:
    d = Drive(snapshot_of(HARD))
    action = d.send(chat(), ledger_down=e.LedgerDown(admitted, 0, 0, 1_795_521_600_000))
    if not admitted:
        assert isinstance(action, e.Reject)
        assert action.reason == "ledger_unavailable"
        return
    d.answer()
    d.piece(chat_answer(), end=True)
    assert d.ending.notes.fail_open
    assert d.ending.settlement is not None
    assert ("month", "month") in d.ending.settlement.scopes


def test_an_exhausted_team_stays_refused_without_the_ledger() -> None:
    d = Drive(snapshot_of(HARD))
    action = d.send(chat(), ledger_down=e.LedgerDown(False, 10 * USD, 10 * USD, 1_795_521_600_000))
    assert isinstance(action, e.Reject)
    assert action.reason == "monthly_budget_exceeded"
    assert dict(action.headers)["x-should-retry"] == "false"


def test_a_team_whose_budget_was_only_held_hears_of_the_outage_and_may_ask_again() -> None:
    d = Drive(snapshot_of(HARD))
    action = d.send(chat(), ledger_down=e.LedgerDown(False, 1 * USD, 10 * USD, 1_795_521_600_000))
    assert isinstance(action, e.Reject)
    headers = dict(action.headers)
    assert (action.status, action.reason) == (429, "ledger_unavailable")
    assert (headers["x-should-retry"], headers["retry-after"]) == ("true", "1")


def test_a_fault_of_ours_settles_what_is_held_at_the_estimate_and_lets_traffic_pass() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    d.exchange.receive(e.InternalError("boom"))
    d._take()
    assert d.ending.notes.unmetered == "internal_error"
    assert d.ending.record.cost_nanousd == d.ending.held_nanousd
    assert d.answer() == e.PassResponse(e.BodyMode.NONE)
    assert d.piece(b"x", end=True) == e.PassChunk()
    d.over()
    assert len(d.endings) == 1


def test_a_call_that_ends_while_reserving_voids_the_reservation() -> None:
    d = Drive(snapshot_of(SMALL))
    d.exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", _caller()))
    action = d.exchange.receive(e.RequestBody(orjson.dumps(chat()), 1_795_521_600_000))
    assert isinstance(action, e.NeedReserve)
    d.over()
    assert d.ending.settlement is not None
    assert d.ending.settlement.release


def _caller() -> Caller:
    return Caller({"content-type": "application/json", "x-llm-team": "ml", "x-llm-app": "chat"})


def test_a_body_above_the_limit_gets_413_before_anything_is_reserved() -> None:
    d = Drive(snapshot_of(SMALL, max_body_bytes=2048))
    action = d.send(chat(), headers={"content-length": "4096"})
    assert isinstance(action, e.Reject)
    assert action.status == 413
    assert d.endings == []


@pytest.mark.parametrize(
    ("length", "words"),
    [("2000", "longer than the Envoy before"), ("", "above this gateway's limit of 2048 bytes")],
)
def test_a_413_of_envoys_own_does_not_name_our_limit_for_a_body_below_it(length: str, words: str) -> None:
    d = Drive(snapshot_of(SMALL, max_body_bytes=2048))
    headers = {"content-length": length} if length else {}
    d.exchange.receive(
        e.RequestHeaders("POST", "/v1/chat/completions", Caller({**_caller().headers, **headers}))
    )
    action = d.answer(413, local=True, details="request_payload_too_large")
    assert isinstance(action, e.Reject)
    assert (action.status, action.reason) == (413, "request_too_large")
    assert words in orjson.loads(action.body)["error"]["message"]
    assert d.endings == []


def test_the_output_cap_of_the_policy_is_written_into_the_request() -> None:
    d = Drive(snapshot_of("{team: ml, monthlyBudgetUSD: 10, outputTokenCap: 77}"))
    body = chat()
    del body["max_tokens"]
    forward = d.send(body)
    assert isinstance(forward, e.Forward)
    assert forward.body is not None
    assert 77 in orjson.loads(forward.body).values()


def test_an_event_out_of_order_is_named() -> None:
    d = Drive(snapshot_of())
    with pytest.raises(IllegalEvent, match="ResponseChunk is illegal in state start"):
        d.exchange.receive(e.ResponseChunk(b"", True))


def test_every_state_is_reached_and_every_verdict_leads_somewhere() -> None:
    rows = [
        (to, verdict)
        for moves in TRANSITIONS.values()
        for row in moves.values()
        for verdict, to in row.items()
    ]
    assert {to for to, _ in rows} == set(State) - {State.START}
    assert {verdict for _, verdict in rows} == set(Verdict)


def test_only_the_table_says_which_state_follows() -> None:
    for module in Path(states.__file__).parent.glob("*.py"):
        sets = [
            n
            for n in ast.walk(ast.parse(module.read_text()))
            if isinstance(n, ast.Assign)
            and any(isinstance(t, ast.Attribute) and t.attr == "state" for t in n.targets)
        ]
        assert len(sets) == (2 if module.name == "exchange.py" else 0), (
            module.name
        )  # the first state, and receive


def test_every_state_can_end_and_can_break() -> None:
    for state in State:
        moves = TRANSITIONS[state]
        assert e.StreamClosed in moves, state
        assert e.InternalError in moves, state


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(85, 100, "0.85"), (0, 7, "0.00"), (1, 3, "0.3333"), (3, 2, "1.50"), (1, 1, "1.00")],
)
def test_a_ratio_has_two_to_four_decimals(part: int, whole: int, text: str) -> None:
    assert ratio(part, whole) == text


PIECES = [SSE_HEAD, SSE_USAGE, SSE_DONE, chat_answer(), b"", b"\xff{"]
EVENTS = st.one_of(
    st.builds(e.ResponseHeaders, st.sampled_from([200, 400, 503]), st.sampled_from([
        {"content-type": "application/json"}, {"content-type": "text/event-stream"}, {},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ]), st.booleans(), st.booleans()),
    st.builds(e.ResponseChunk, st.sampled_from(PIECES), st.booleans()),
    st.just(e.StreamClosed()),
    st.just(e.InternalError("x")),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, max_size=8), st.booleans(), st.integers(0, 12))
def test_whatever_happens_a_hold_ends_exactly_once(
    events: list[e.Event], stream: bool, spent_usd: int
) -> None:
    d = Drive(snapshot_of(SMALL), FakeLedger(ml=spent_usd * USD))
    d.send(chat(stream=stream))
    for event in [*events, e.StreamClosed()]:
        try:
            d.exchange.receive(event)
        except IllegalEvent:
            d.exchange.receive(e.InternalError("illegal"))
        d._take()
    assert len(d.endings) == 1
    assert not d.ledger.held
    assert d.exchange.holds is None
