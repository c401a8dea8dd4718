"""The adapter: what Envoy says in several ways, ends that are told apart, calls that are left behind."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from unit.exchange.desk import Desk, Stream, body, response_headers, trailers, was_refused
from unit.exchange.driver import chat, chat_answer
from unit.exchange.test_exchange import COST_10_5, SSE_DONE, SSE_HEAD, SSE_MORE, SSE_USAGE

from spendgate.gateway.process import leaving
from spendgate.pricing.load import table

SPECS = "{team: ml, monthlyBudgetUSD: 10}\n---\n{team: zero, monthlyBudgetUSD: 0}"
SSE = "text/event-stream"


def ask(**more: object) -> bytes:
    return orjson.dumps(chat(**more))


async def sent(desk: Desk, raw: bytes | None = None, team: str = "ml") -> Stream:
    """A call whose request went on."""
    call = desk.call()
    await call.say(desk.request_headers(team))
    assert not was_refused([await call.say(body(ask() if raw is None else raw))])
    return call


@pytest.mark.parametrize("end", ["trailers", "an empty end", "nothing"])
async def test_a_request_whose_body_does_not_say_that_it_ends_is_whole(end: str) -> None:
    desk = Desk(SPECS)
    for team in ("ml", "zero"):
        call = desk.call()
        await call.say(desk.request_headers(team))
        replies = [await call.say(body(ask(), end=False))]
        assert was_refused(replies) == (team == "zero")
        if team == "zero":
            await call.end()
            continue
        assert [held for _, held, _ in desk.ledger.held.values()] != []
        if end == "trailers":
            assert (await call.say(trailers("request_trailers"))).HasField("request_trailers")
        elif end == "an empty end":
            assert (await call.say(body(b""))).HasField("request_body")
        await call.say(response_headers())
        await call.say(body(chat_answer(), kind="response_body"))
        await call.end()
    assert desk.ledger.charged == COST_10_5
    assert desk.errors() == 0


async def test_a_body_that_goes_on_after_its_end_is_refused_and_charged() -> None:
    desk = Desk(SPECS)
    call = desk.call()
    await call.say(desk.request_headers("ml"))
    await call.say(body(ask(), end=False))
    assert was_refused([await call.say(body(b'{"more": 1}'))])
    await call.end()
    [ending] = desk.settler.endings
    assert (ending.record.unmetered, ending.record.cost_nanousd) == ("internal_error", ending.held_nanousd)


async def test_trailers_without_a_body_are_shown_and_decided() -> None:
    desk = Desk(SPECS)
    call = desk.call()
    reply = await call.say(desk.request_headers("zero"))
    assert reply.mode_override.request_trailer_mode == 1, "SEND: they may be all that comes"
    reply = await call.say(trailers("request_trailers"))
    await call.end()
    assert was_refused([reply]) or desk.ledger.charged > 0
    announced: dict[str, Any] = {"content-length": "90"}
    long = await desk.call().say(desk.request_headers("ml", **announced))
    assert not long.HasField("mode_override"), "no bytes for what cannot be"


async def test_a_json_answer_that_ends_with_trailers_is_metered_and_says_its_cost() -> None:
    desk = Desk(SPECS)
    call = await sent(desk)
    await call.say(response_headers())
    reply = await call.say(body(chat_answer(), end=False, kind="response_body"))
    names = [x.header.key for x in reply.response_body.response.header_mutation.set_headers]
    assert "x-spendgate-cost-usd" in names
    await call.say(trailers("response_trailers"))
    await call.end()
    [ending] = desk.settler.endings
    assert (ending.record.outcome.value, ending.record.cost_nanousd) == ("complete", COST_10_5)


def shown(replies: list[tuple[bytes, Any]]) -> bytes:
    """What the client gets of these pieces."""
    out = b""
    for data, reply in replies:
        mutation = reply.response_body.response.body_mutation
        out += data if mutation.WhichOneof("mutation") is None else mutation.body
    return out


@pytest.mark.parametrize("cut", [1, 7, 13, 15, 100])
@pytest.mark.parametrize("last", [b"data: [DONE]", b"data: [DONE]\n", SSE_DONE, b"data: [DONE]\r\n", b""])
async def test_a_stream_that_ends_with_trailers_is_metered_and_loses_no_byte(last: bytes, cut: int) -> None:
    desk = Desk(SPECS)
    call = await sent(desk, ask(stream=True))
    await call.say(response_headers(kind=SSE))
    pieces = [SSE_HEAD, SSE_MORE, SSE_USAGE, last[:cut], last[cut:]]
    said = [(p, await call.say(body(p, end=False, kind="response_body"))) for p in pieces if p]
    await call.say(trailers("response_trailers"))
    await call.end()
    assert shown(said) == SSE_HEAD + SSE_MORE + last
    [ending] = desk.settler.endings
    assert (ending.record.outcome.value, ending.record.cost_nanousd) == ("complete", COST_10_5)


async def test_a_last_event_without_its_blank_line_is_no_usage_and_passes() -> None:
    desk = Desk(SPECS)
    call = await sent(desk, ask(stream=True))
    await call.say(response_headers(kind=SSE))
    pieces = [SSE_HEAD, SSE_USAGE[:40], SSE_USAGE[40:-2], b"\n\n", SSE_MORE[:-2]]
    said = [(p, await call.say(body(p, end=False, kind="response_body"))) for p in pieces]
    await call.say(trailers("response_trailers"))
    await call.end()
    assert shown(said) == SSE_HEAD + SSE_MORE[:-2]


async def test_calls_that_outlive_the_drain_are_left_in_good_order_and_charged() -> None:
    desk = Desk(SPECS)
    plain = await sent(desk, ask(stream=True, stream_options={"include_usage": True}))
    await plain.say(response_headers(kind=SSE))
    await plain.say(body(SSE_HEAD, end=False, kind="response_body"))
    whole = await sent(desk)
    hiding = await sent(desk, ask(stream=True))
    await hiding.say(response_headers(kind=SSE))
    undecided = desk.call()
    await undecided.say(desk.request_headers("ml"))
    leaving.leave(desk.runtime, last=False)
    for call in (plain, whole):
        assert call.task is not None
        await asyncio.wait_for(call.task, 5)
        assert not call.task.cancelled(), "an end in good order: Envoy lets the rest of the answer pass"
    assert {(x.record.unmetered, x.record.cost_nanousd == x.held_nanousd) for x in desk.settler.endings} == {
        ("drained", True)
    }
    # where a usage is to be taken out of the rest, or the request was not decided, it goes on
    said = [
        (p, await hiding.say(body(p, end=False, kind="response_body")))
        for p in (SSE_HEAD, SSE_USAGE, SSE_DONE)
    ]
    await hiding.say(body(b"", kind="response_body"))
    await hiding.end()
    assert shown(said) == SSE_HEAD + SSE_DONE
    assert desk.settler.endings[-1].record.outcome.value == "complete"
    assert not was_refused([await undecided.say(body(ask()))])
    leaving.leave(desk.runtime, last=True)
    assert undecided.task is not None
    await asyncio.wait_for(undecided.task, 5)
    assert desk.settler.endings[-1].record.unmetered == "drained"
    assert not desk.runtime.open


@pytest.mark.parametrize(("mode", "unmetered"), [("open", "late"), ("closed", "")])
async def test_a_loop_that_stood_still_does_not_take_the_end_of_a_call_for_the_clients(
    mode: str, unmetered: str
) -> None:
    now = 0.0
    desk = Desk(SPECS, failure_mode=mode)
    lag = desk.runtime.lag
    lag._clock = lambda: now
    lag._came = lag._since = 0.0
    call = await sent(desk, ask(stream=True, stream_options={"include_usage": True}))
    await call.say(response_headers(kind=SSE))
    await call.say(body(SSE_HEAD, end=False, kind="response_body"))
    now = 40.0
    await call.end()
    record = desk.settler.endings[-1].record
    assert (record.unmetered, math.isclose(record.cost_nanousd, desk.settler.endings[-1].held_nanousd)) == (
        unmetered, mode == "open",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "details", "unmetered"),
    [
        (504, "response_timeout", "attempts"),
        (503, "upstream_reset_before_response_started{connection_termination}", "attempts"),
        (503, "upstream_reset_before_response_started{connection_failure}", ""),
        (503, "no_healthy_upstream", ""),
        (403, "rbac_access_denied_matched_policy[none]", ""),
        (504, "via_upstream", ""),
    ],
)
async def test_envoys_own_answers_are_free_only_where_nothing_was_sent(
    status: int, details: str, unmetered: str
) -> None:
    desk = Desk(SPECS)
    call = await sent(desk)
    await call.say(response_headers(status, details=details))
    await call.end()
    [ending] = desk.settler.endings
    assert ending.record.unmetered == unmetered
    assert (ending.record.cost_nanousd > 0) == bool(unmetered)


@pytest.mark.parametrize("team", ["ml", "zero"])
async def test_an_estimate_that_fits_no_ledger_is_refused(team: str) -> None:
    desk = Desk(SPECS)
    call = desk.call()
    await call.say(desk.request_headers(team))
    reply = await call.say(body(ask(model="gpt-9-ultra", max_tokens=10**12)))
    assert reply.immediate_response.status.code == 429
    await call.end()
    assert (desk.ledger.charged, desk.errors()) == (0, 0)


async def test_without_a_budget_an_estimate_that_fits_no_ledger_is_held_capped_and_flagged() -> None:
    desk = Desk(SPECS)
    call = await sent(desk, ask(model="gpt-9-ultra", max_tokens=10**12), team="free")
    await call.end()
    desk.runtime.left.flush()
    [ending] = desk.settler.endings
    assert ending.record.flags == ("estimate_capped",)
    assert 9_000 * 10**9 < ending.record.cost_nanousd < 9_100 * 10**9
    assert desk.errors() == 0


@pytest.mark.parametrize(("tools", "passes"), [(["free"], 1), (["web", "free"], 1), (["web"], 0)])
async def test_a_tool_without_a_price_is_counted_once_as_an_unknown_api(
    tmp_path: Path, tools: list[str], passes: int
) -> None:
    (tmp_path / "prices.yaml").write_text("tools:\n  x/web: {requests: 0.01}\n")
    desk = Desk(
        "{team: ml, monthlyBudgetUSD: 10}\n---\n{team: strict, monthlyBudgetUSD: 10, unknownApis: reject}"
    )
    desk.runtime.snapshot = replace(desk.runtime.snapshot, prices=table([tmp_path / "prices.yaml"]))
    calls = [
        {"jsonrpc": "2.0", "id": i, "method": "tools/call", "params": {"name": name}}
        for i, name in enumerate(tools)
    ]
    place: dict[str, Any] = {":path": "/mcp", ":authority": "x"}
    for team in ("ml", "strict"):
        call = desk.call()
        await call.say(desk.request_headers(team, **place))
        replies = [await call.say(body(orjson.dumps(calls)))]
        assert was_refused(replies) is (team == "strict" and passes == 1)
        await call.end()
    counter = desk.runtime.metrics.unknown_api
    assert counter.labels("ml", "pass")._value.get() == passes
    assert counter.labels("strict", "reject")._value.get() == passes
