"""Which refused requests are repetitions of one call."""

from __future__ import annotations

import pytest
from unit.exchange.driver import Drive, chat, snapshot_of

from spendgate.dialects.registry import by_name
from spendgate.exchange import events as e
from spendgate.exchange.sdk_retries import is_repeat, repeat_key

COHERE = by_name("cohere-chat")
EMPTY = "{team: ml, monthlyBudgetUSD: 0}"


@pytest.mark.parametrize(
    ("headers", "again"),
    [({}, False), ({"x-stainless-retry-count": "0"}, False), ({"x-stainless-retry-count": "2"}, True),
     ({"x-stainless-retry-count": "x"}, False), ({"amz-sdk-request": "attempt=1"}, False),
     ({"amz-sdk-request": "ttl=20261124T120000Z; attempt=2; max=3"}, True), ({"amz-sdk-request": "attempt="}, False)],
)  # fmt: skip
def test_sdks_that_number_their_tries_are_believed(headers: dict[str, str], again: bool) -> None:
    assert is_repeat(headers) is again


def test_an_unmarked_try_is_known_by_all_that_it_asks() -> None:
    first = repeat_key(COHERE, "ml", "app", "/v2/chat", b"body")
    assert first == repeat_key(COHERE, "ml", "app", "/v2/chat", b"body") != ""
    others = [
        repeat_key(COHERE, "other", "app", "/v2/chat", b"body"),
        repeat_key(COHERE, "ml", "app2", "/v2/chat", b"body"),
        repeat_key(COHERE, "ml", "app", "/v1/chat", b"body"),
        repeat_key(COHERE, "ml", "app", "/v2/chat", b"body2"),
    ]
    assert first not in others
    assert repeat_key(by_name("openai-chat"), "ml", "app", "/v1/chat/completions", b"body") == ""


def test_a_refusal_carries_its_money_unless_it_is_a_repetition() -> None:
    d = Drive(snapshot_of(EMPTY))
    assert isinstance(d.send(chat()), e.Reject)
    assert d.ending.notes.refused_nanousd > 0
    again = Drive(snapshot_of(EMPTY))
    again.send(chat(), headers={"x-stainless-retry-count": "1"})
    assert again.ending.notes.refused_nanousd == 0


def test_a_request_refused_by_its_own_cost_carries_its_estimate() -> None:
    d = Drive(snapshot_of("{team: ml, monthlyBudgetUSD: 10, maxUSDPerRequest: 0.000001}"))
    action = d.send(chat())
    assert isinstance(action, e.Reject)
    assert action.reason == "request_cost_exceeded"
    assert d.ending.notes.refused_nanousd > 1000
