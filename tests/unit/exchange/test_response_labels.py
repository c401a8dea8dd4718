"""What an answer is shows in its first bytes, whatever its label says; what is large flows."""

from __future__ import annotations

import json

import pytest
from unit.exchange.driver import Drive, chat, snapshot_of
from unit.exchange.test_exchange import SSE_DONE, SSE_HEAD, SSE_MORE, SSE_USAGE

from spendgate.exchange import events as e
from spendgate.records.outcome import Outcome

SPEC = "{team: ml, monthlyBudgetUSD: 10}"
METERED = {"input": 10, "output": 5}


def asked(**fields: object) -> Drive:
    d = Drive(snapshot_of(SPEC))
    d.send(chat(**fields))
    return d


@pytest.mark.parametrize("label", ["application/json", "text/plain", "", "application/octet-stream"])
def test_a_stream_under_another_label_flows_and_is_metered(label: str) -> None:
    d = asked(stream=True)
    answer = d.answer(content_type=label)
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.STREAMED
    for piece in (SSE_HEAD, SSE_MORE, SSE_USAGE, SSE_DONE):
        d.piece(piece)
    d.piece(b"", end=True)
    assert (d.ending.record.outcome, d.ending.record.tokens) == (Outcome.COMPLETE, METERED)


def test_its_first_bytes_may_come_one_by_one() -> None:
    d = asked(stream=True)
    d.answer(content_type="application/json")
    for piece in (b"", b"\n", b"da", SSE_HEAD[2:], SSE_MORE, SSE_USAGE, SSE_DONE):
        d.piece(piece)
    d.piece(b"", end=True)
    assert d.ending.record.outcome is Outcome.COMPLETE


def test_a_json_answer_to_a_request_for_a_stream_is_read_at_its_end() -> None:
    d = asked(stream=True)
    d.answer(content_type="application/json")
    body = json.dumps({"model": "gpt-4o", "usage": {"prompt_tokens": 10, "completion_tokens": 5}}).encode()
    d.piece(body[:20])
    d.piece(body[20:], end=True)
    assert (d.ending.record.outcome, d.ending.record.tokens) == (Outcome.COMPLETE, METERED)


def test_a_stream_that_nobody_asked_for_is_metered() -> None:
    d = asked()
    d.answer(content_type="application/json")
    d.piece(SSE_HEAD + SSE_MORE + SSE_USAGE + SSE_DONE, end=True)
    assert d.ending.record.tokens == METERED


def test_an_answer_above_the_limit_flows_and_its_usage_is_read() -> None:
    d = asked()
    headers = {"content-length": str(64 * 1024 * 1024)}
    answer = d.exchange.receive(e.ResponseHeaders(200, {"content-type": "application/json", **headers}))
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.STREAMED
    d.piece(b'{"choices": [{"message": {"content": "')
    for _ in range(100):
        d.piece(b"A" * 65_536)
    d.piece(b'"}}], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}', end=True)
    assert (d.ending.record.outcome, d.ending.record.tokens) == (Outcome.COMPLETE, METERED)


@pytest.mark.parametrize("label", ["image/png", "audio/mpeg"])
def test_what_is_no_text_at_all_passes_unread(label: str) -> None:
    d = asked(stream=True)
    answer = d.answer(content_type=label)
    assert isinstance(answer, e.PassResponse)
    assert answer.mode is e.BodyMode.NONE
    assert d.ending.record.unmetered == "content_type"
