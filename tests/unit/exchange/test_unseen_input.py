"""Input that only the provider has: held for by the context window, and never billed as if it were nothing."""

from __future__ import annotations

import orjson
from unit.exchange.driver import Drive, snapshot_of

from spendgate.exchange import events as e
from spendgate.records.outcome import Outcome

SMALL = "{team: ml, monthlyBudgetUSD: 10}"
BODY = {"model": "gpt-4o", "input": "hi", "max_output_tokens": 100}
STORED = BODY | {"previous_response_id": "resp_1"}
# gpt-4o: 2.50 and 10.00 USD a million tokens, a context of 128,000
CONTEXT = 128_000 * 2_500 + 100 * 10_000
OPEN = b'data: {"type":"response.output_text.delta","delta":"one"}\n\n'
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
DONE = b"data: %s\n\n" % orjson.dumps({"type": "response.completed", "response": {"usage": USAGE}})


def sent(body: dict[str, object]) -> Drive:
    d = Drive(snapshot_of(SMALL))
    d.send(body, path="/v1/responses")
    return d


def test_a_stored_conversation_is_held_by_the_context_window() -> None:
    d = sent(STORED)
    assert d.ledger.committed["ml"]["month"] == CONTEXT
    assert sent(BODY).ledger.committed["ml"]["month"] < CONTEXT // 100


def test_its_answer_is_billed_by_its_usage() -> None:
    d = sent(STORED)
    d.answer()
    d.piece(orjson.dumps({"model": "gpt-4o", "usage": USAGE}), end=True)
    assert d.ending.record.cost_nanousd == 10 * 2_500 + 5 * 10_000


def test_a_client_that_leaves_before_its_usage_came_pays_the_hold() -> None:
    d = sent(STORED)
    d.over()
    assert (d.ending.record.outcome, d.ending.record.cost_nanousd) == (Outcome.ABORTED, CONTEXT)
    d = sent(STORED)
    d.answer(content_type="text/event-stream")
    d.piece(OPEN)
    d.over()
    assert (d.ending.record.outcome, d.ending.record.cost_nanousd) == (Outcome.ABORTED, CONTEXT)


def test_a_client_that_leaves_after_its_usage_came_pays_that() -> None:
    d = sent(STORED | {"stream": True})
    d.answer(content_type="text/event-stream")
    d.piece(OPEN + DONE)
    d.over()
    assert (d.ending.record.outcome, d.ending.record.tokens) == (
        Outcome.COMPLETE,
        {"input": 10, "output": 5},
    )


def test_without_it_a_client_that_leaves_pays_what_flowed() -> None:
    d = sent(BODY)
    d.answer(content_type="text/event-stream")
    d.piece(OPEN)
    d.over()
    assert d.ending.record.outcome is Outcome.ABORTED
    assert d.ending.record.tokens["output"] == 1


CONVERSE = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"


def test_a_signed_request_is_held_and_metered_but_never_rewritten() -> None:
    policy = (
        "{team: ml, monthlyBudgetUSD: 100, outputTokenCap: 5, clampOutput: true, defaultModel: gpt-4o-mini}"
    )
    d = Drive(snapshot_of(policy))
    d.ledger.committed["ml"]["month"] = 90_000_000_000
    action = d.send({"messages": [{"content": [{"text": "hi"}]}]}, path=CONVERSE)
    assert action == e.Forward()
    held = d.ledger.committed["ml"]["month"] - 90_000_000_000
    d.answer()
    usage = {"inputTokens": 10, "outputTokens": 3000, "totalTokens": 3010}
    d.piece(orjson.dumps({"usage": usage}), end=True)
    assert d.ending.record.tokens == {"input": 10, "output": 3000}
    assert 0 < d.ending.record.cost_nanousd <= held


def test_a_refusal_of_bedrock_names_its_exception() -> None:
    d = Drive(snapshot_of(SMALL))
    d.ledger.committed["ml"]["month"] = 11_000_000_000
    action = d.send({"messages": [{"content": [{"text": "hi"}]}]}, path=CONVERSE)
    assert isinstance(action, e.Reject)
    assert ("x-amzn-errortype", "ThrottlingException") in action.headers


def test_a_model_in_the_path_is_changed_there() -> None:
    policy = """
team: ml
monthlyBudgetUSD: 10
costRouting: {enabled: true, cheapModel: gemini-cheap, expensiveModel: gemini-dear, complexityThreshold: 9}
"""
    d = Drive(snapshot_of(policy))
    body = orjson.dumps({"contents": [{"parts": [{"text": "hi"}]}]})
    action = d.send(body, path="/v1beta/models/gemini-dear:generateContent?alt=sse")
    target = "/v1beta/models/gemini-cheap:generateContent?alt=sse"
    assert action == e.Forward(body=None, set_headers=((":path", target),))
