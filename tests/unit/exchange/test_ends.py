"""The table of docs/reference/ends.md, each row against the exchange."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.exchange.driver import PRICES, Drive, chat, chat_answer, snapshot_of
from unit.exchange.test_exchange import SSE_DONE, SSE_HEAD, SSE_MORE, SSE_USAGE

from spendgate.exchange import events as e
from spendgate.exchange.law import LAW, Charge, Kind
from spendgate.identity.identity import Caller
from spendgate.pricing.cost import cost_nanousd
from spendgate.records.outcome import ChargedBy, Outcome

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "ends.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE)[2:]
]
PLAIN, HIDDEN, WHOLE, UNSENT = (kind.value for kind in Kind)
SPEC = "{team: ml, monthlyBudgetUSD: 10}"
FLOWED = "client left, `abortedAnswers: flowed`"
TRUNCATED = b'data: {"error":{"message":"overloaded"}}\n\n'


def model_of(kind: str) -> str:
    return "o3" if kind.startswith(HIDDEN) else "gpt-4o"


def begun(kind: str, spec: str = SPEC, *, answering: bool = True) -> Drive:
    """An exchange of this kind that was sent, and whose answer has begun."""
    d = Drive(snapshot_of(spec))
    stream = {} if kind == WHOLE else {"stream": True}
    d.send(chat(model=model_of(kind), **stream))
    if answering and kind == WHOLE:
        d.answer()
        d.piece(b'{"id": "c", "ch')
    elif answering:
        d.answer(content_type="text/event-stream")
        d.piece(SSE_HEAD.replace(b"gpt-4o", model_of(kind).encode()))
        d.piece(SSE_MORE)
    return d


def unsent(spec: str = SPEC) -> Drive:
    """An exchange whose reservation is on its way."""
    d = Drive(snapshot_of(spec))
    raw = b'{"model":"gpt-4o","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}'
    d.exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", Caller({"x-llm-team": "ml"})))
    assert isinstance(d.exchange.receive(e.RequestBody(raw, 1)), e.NeedReserve)
    return d


def over(d: Drive, by: e.EndedBy) -> Drive:
    d.exchange.receive(e.StreamClosed(by))
    d._take()
    return d


def whole(kind: str) -> Drive:
    d = Drive(snapshot_of(SPEC))
    d.send(chat(model=model_of(kind), **({} if kind == WHOLE else {"stream": True})))
    if kind == WHOLE:
        d.answer()
        d.piece(chat_answer(), end=True)
        return d
    d.answer(content_type="text/event-stream")
    for piece in (SSE_HEAD, SSE_MORE, SSE_USAGE, SSE_DONE):
        d.piece(piece)
    d.piece(b"", end=True)
    return d


def untold(kind: str) -> Drive:
    d = begun(kind.partition(",")[0], answering=not kind.startswith(WHOLE))
    if kind.startswith(WHOLE):
        d.answer()
        choice = b'{"message": {"content": "Hello there"}}' if kind.endswith("seen") else b""
        d.piece(b'{"id": "c", "choices": [%s]}' % choice, end=True)
    else:
        d.piece(SSE_DONE, end=True)
    return d


def called_success(kind: str) -> Drive:
    d = begun(kind, answering=False)
    d.answer()
    d.piece(b'{"error": {"message": "no credits", "code": 402}}', end=True)
    return d


def broken_off(kind: str) -> Drive:
    if kind == UNSENT:
        d = begun(WHOLE, answering=False)
        d.answer(503, local=True, details="upstream_reset_before_response_started{connection_failure}")
        return d
    d = begun(kind)
    if kind == WHOLE:
        return over(d, e.EndedBy.PROVIDER)
    d.piece(b"", end=True)
    return d


def error(kind: str) -> Drive:
    if kind == "before output":
        d = begun(PLAIN, answering=False)
        d.answer(500)
        return d
    d = begun(kind.partition(",")[0])
    d.piece(TRUNCATED, end=True)
    return d


def given_up(kind: str) -> Drive:
    d = begun(WHOLE if kind == UNSENT else kind, answering=False)
    details = "no_healthy_upstream" if kind == UNSENT else "response_timeout"
    d.answer(503 if kind == UNSENT else 504, local=True, details=details)
    return d


def broke(kind: str) -> Drive:
    d = unsent() if kind == UNSENT else begun(kind)
    d.exchange.receive(e.InternalError("boom"))
    d._take()
    return d


def left(by: e.EndedBy, spec: str = SPEC) -> Callable[[str], Drive]:
    return lambda kind: over(unsent(spec) if kind == UNSENT else begun(kind, spec), by)


ENDS: dict[str, Callable[[str], Drive]] = {
    "whole": whole,
    "whole, no usage told": untold,
    "whole, an error with a status of success": called_success,
    "client left": left(e.EndedBy.CLIENT),
    FLOWED: left(e.EndedBy.CLIENT, "{team: ml, monthlyBudgetUSD: 10, abortedAnswers: flowed}"),
    "provider broke off": broken_off,
    "provider answered an error": error,
    "Envoy gave up": given_up,
    "drained": left(e.EndedBy.DRAIN),
    "fault of ours": broke,
    "fault of ours, and it passes": broke,
    "late": left(e.EndedBy.LATE),
}


@pytest.mark.parametrize("row", ROWS, ids=[" / ".join(r[:2]) for r in ROWS])
def test_each_row_of_the_table_is_what_the_exchange_charges(row: tuple[str, ...]) -> None:
    end, kind, charge, outcome, charged_by, unmetered = row
    d = ENDS[end](kind)
    record, settlement = d.ending.record, d.ending.settlement
    assert settlement is not None
    assert settlement.cost_nanousd == record.cost_nanousd
    assert (record.outcome.value, record.charged_by.value, record.unmetered) == (
        outcome,
        charged_by,
        unmetered,
    )
    assert settlement.release == (charge == "nothing")
    held = d.ending.held_nanousd
    match charge:
        case "nothing":
            assert record.cost_nanousd == 0
        case "hold":
            assert record.cost_nanousd == held > 0
        case "flowed":
            price = PRICES.find(record.model)
            assert price is not None
            streamed = {} if kind == WHOLE else {"output": 2}
            assert record.tokens == {"input": record.tokens["input"], **streamed}
            assert record.cost_nanousd == cost_nanousd(price, record.tokens) > 0
        case "usage":
            assert record.tokens == {"input": 10, "output": 5}
        case _:
            raise AssertionError(f"the page knows a charge that nobody tests: {charge}")
    d.over()
    assert len(d.endings) == 1


def test_every_end_and_kind_of_the_law_has_its_row() -> None:
    names = {
        e.EndedBy.CLIENT: "client left",
        e.EndedBy.PROVIDER: "provider broke off",
        e.EndedBy.ENVOY: "Envoy gave up",
        e.EndedBy.DRAIN: "drained",
        e.EndedBy.FAULT: "fault of ours",
        e.EndedBy.LATE: "late",
    }
    rows = {(r[0].removesuffix(", and it passes"), r[1]): r[2:] for r in ROWS}
    for by, kinds in LAW.items():
        for kind, row in kinds.items():
            if (by, kind) == (e.EndedBy.DRAIN, Kind.UNSENT):
                continue  # refused with the connection; nobody waits for it
            charge, outcome, _, unmetered = rows[names[by], kind.value]
            assert (row.charge.value, row.outcome.value, row.unmetered) == (charge, outcome, unmetered)
    assert {r[0] for r in ROWS} == set(ENDS)


@pytest.mark.parametrize("by", [b for b in e.EndedBy if b is not e.EndedBy.FAULT])
@pytest.mark.parametrize("kind", [PLAIN, HIDDEN])
def test_a_usage_that_was_seen_is_the_charge_whoever_ended_it(kind: str, by: e.EndedBy) -> None:
    d = begun(kind)
    d.piece(SSE_USAGE)
    over(d, by)
    assert d.ending.record.tokens == {"input": 10, "output": 5}
    assert d.ending.record.outcome is Outcome.COMPLETE


def test_what_flowed_is_charged_where_it_is_more_than_the_hold() -> None:
    d = begun(HIDDEN)
    more = b'data: {"choices":[{"index":0,"delta":{"content":" budget"}}]}\n\n'
    d.piece(more * 500)
    over(d, e.EndedBy.DRAIN)
    record = d.ending.record
    assert (record.outcome.value, record.unmetered, record.charged_by.value) == (
        "unmetered",
        "drained",
        "counted",
    )
    assert record.cost_nanousd > d.ending.held_nanousd


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning_effort": "low"},
        {"reasoning": {"max_tokens": 100}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"enable_thinking": True},
        {"web_search_options": {}},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 99}}}},
    ],
)
def test_a_stream_that_asks_for_hidden_output_is_left_at_its_hold(more: dict[str, object]) -> None:
    d = Drive(snapshot_of(SPEC))
    d.send(chat(stream=True, **more))
    d.answer(content_type="text/event-stream")
    d.piece(SSE_HEAD)
    d.over()
    assert (d.ending.record.unmetered, d.ending.record.cost_nanousd) == ("aborted", d.ending.held_nanousd)


@pytest.mark.parametrize(
    "seen",
    [
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n',
    ],
)
def test_a_stream_that_shows_that_more_is_to_come_is_left_at_its_hold(seen: bytes) -> None:
    d = begun(PLAIN)
    d.piece(seen)
    d.over()
    assert (d.ending.record.unmetered, d.ending.record.cost_nanousd) == ("aborted", d.ending.held_nanousd)


def test_a_reasoning_model_that_is_told_not_to_reason_is_a_plain_stream() -> None:
    d = Drive(snapshot_of(SPEC))
    d.send(chat(model="gpt-5.2", stream=True, reasoning_effort="none"))
    d.answer(content_type="text/event-stream")
    d.piece(SSE_HEAD)
    d.over()
    assert (d.ending.record.unmetered, d.ending.record.charged_by.value) == ("", "counted")


def test_the_settings_word_for_those_that_left_yields_to_the_budgets() -> None:
    for spec, unmetered in (
        (SPEC, ""),
        ("{team: ml, monthlyBudgetUSD: 10, abortedAnswers: hold}", "aborted"),
    ):
        d = Drive(snapshot_of(spec, abortedAnswers="flowed"))
        d.send(chat())
        d.over()
        assert d.ending.record.unmetered == unmetered


def test_charges_are_named_as_the_page_names_them() -> None:
    assert {c.value for c in Charge} | {"usage"} == {r[2] for r in ROWS}


FOREIGN = b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hello there"}}\n\n'


@pytest.mark.parametrize("ended_by", [e.EndedBy.CLIENT, None])
def test_a_stream_of_another_api_costs_its_hold(ended_by: e.EndedBy | None) -> None:
    """A proxy answers in its own way: nothing of its text was counted."""
    d = begun(PLAIN, answering=False)
    d.answer(content_type="text/event-stream")
    d.piece(FOREIGN)
    if ended_by is None:
        d.piece(b"", end=True)
    else:
        over(d, ended_by)
    assert d.ending is not None
    record = d.ending.record
    assert record.charged_by is ChargedBy.HOLD
    assert record.cost_nanousd == d.ending.held_nanousd > 0
