"""Faults of ours at every step of a call: it is refused, or charged at least the bill, and the handler never fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from support.grpc_peer import Pair
from unit.exchange.desk import Desk, body, response_headers, trailers, was_refused
from unit.exchange.driver import chat, chat_answer
from unit.exchange.test_exchange import COST_10_5, SSE_DONE, SSE_HEAD, SSE_MORE, SSE_USAGE

from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.dialects.openai.stream import OpenAIStreamMeter
from spendgate.exchange import admission, billing, exchange, untold_cost
from spendgate.exchange.admission import Admission
from spendgate.exchange.billing import Bill
from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.ticket import SettlementTicket
from spendgate.gateway.adapters import codec
from spendgate.gateway.adapters.ext_proc import Processor, ProcessTurns
from spendgate.gateway.adapters.lenient import lenient
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.runtime import Runtime
from spendgate.records.outcome import Outcome
from spendgate.rpc.limits import Limits
from spendgate.rpc.messages import Messages, framed

SPECS = """
{team: ml, monthlyBudgetUSD: 10, defaultModel: gpt-4o-mini}
---
{team: zero, monthlyBudgetUSD: 0}
---
{team: open, monthlyBudgetUSD: 10, failurePolicy: open}
---
{team: audited, monthlyBudgetUSD: 0, mode: audit}
"""
TEAMS = ("ml", "zero", "open", "audited", "nobody")
STEPS: tuple[tuple[Any, str], ...] = (
    (codec, "header_map"), (codec, "attributes"), (codec, "await_body"), (codec, "forward"), (codec, "answer"),
    (codec, "piece"), (codec, "reject"), (Runtime, "caller"), (Runtime, "reserve"), (Runtime, "take"),
    (Admission, "headers"), (Admission, "body"), (Admission, "plan"), (Admission, "reserved"),
    (Admission, "_forward"), (Admission, "_refuse"), (admission, "read_facts"), (admission, "measure"),
    (admission, "gather"), (OpenAIChat, "rewrite"), (OpenAIChat, "read_answer"), (OpenAIChat, "stream_meter"),
    (OpenAIStreamMeter, "feed"), (OpenAIStreamMeter, "partial"), (OpenAIStreamMeter, "result"),
    (exchange, "open_response"), (Exchange, "_finish"), (Exchange, "receive"),
    (billing, "whole_answer"), (billing, "metered"), (billing, "flowed"), (untold_cost, "ended"),
    (ExchangeContext, "ticket"),
    (ExchangeContext, "tariff"), (ExchangeContext, "answer_headers"), (SettlementTicket, "ending"),
    (Metrics, "count_unclaimed"), (Metrics, "count_unknown"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracebacks with all locals take seconds each."""
    monkeypatch.setattr(
        "spendgate.gateway.adapters.faults.log", structlog.wrap_logger(None, processors=[_drop])
    )


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


class Planted(Exception):
    """A fault that a test planted."""


def plant(patch: pytest.MonkeyPatch, where: Any, name: str, first: int, times: int) -> None:
    """Let calls `first` to `first + times` of it fail."""
    real = getattr(where, name)
    calls = 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if first <= calls < first + times:
            raise Planted(f"{name}, call {calls}")
        return real(*args, **kwargs)

    patch.setattr(where, name, broken)


def messages(desk: Desk, team: str, stream: bool, ends: str) -> list[Any]:
    """What Envoy says of one call, whose provider bills `COST_10_5` from the request's end on."""
    raw = orjson.dumps(chat(**({"stream": True} if stream else {})))
    said = [desk.request_headers(team), body(raw)]
    if ends == "left":
        return said
    if stream:
        pieces = [SSE_HEAD, SSE_MORE, SSE_USAGE, SSE_DONE][: 2 if ends == "mid" else 4]
        said += [response_headers(kind="text/event-stream")]
        said += [body(p, end=False, kind="response_body") for p in pieces]
    else:
        said += [response_headers(), body(chat_answer(), end=ends != "trailers", kind="response_body")]
    if ends == "mid":
        return said
    if ends == "trailers":
        return [*said, trailers("response_trailers")]
    return [*said, body(b"", kind="response_body")] if stream else said


async def play(desk: Desk, team: str, said: list[Any]) -> bool:
    """Say it all. True: the provider got the request."""
    call = desk.call()
    replies: list[Any] = []
    for message in said:
        kind = message.WhichOneof("request")
        if kind.startswith("response") and len(replies) < 2:
            break  # not ours, as we said: Envoy asks no more
        reply = await call.say(message)
        if was_refused([reply]):
            await call.end()
            return kind.startswith("response")
        replies.append(reply)
        if kind == "request_headers" and reply.mode_override.response_header_mode == 2:  # SKIP
            break
    await call.end()
    return True


@pytest.mark.parametrize(("where", "name"), STEPS, ids=[f"{w.__name__}.{n}" for w, n in STEPS])
async def test_a_fault_at_any_step_is_refused_or_charged(
    where: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = 0
    for team in TEAMS:
        for stream in (False, True):
            for ends in ("end", "trailers", "mid", "left") if stream else ("end", "trailers", "left"):
                for first, times in ((1, 1), (2, 1), (1, 10**6)):
                    desk = Desk(SPECS)
                    said = messages(desk, team, stream, ends)
                    with monkeypatch.context() as patch:
                        plant(patch, where, name, first, times)
                        passed = await play(desk, team, said)
                    met += desk.errors() > 0
                    case = f"{team}, stream={stream}, {ends}, calls {first}+{times}"
                    assert not (passed and team == "zero"), case
                    # a client that leaves a plain stream owes what flowed; else the bill, or the hold
                    bill = 1 if stream and ends in ("left", "mid") else COST_10_5
                    assert not passed or desk.ledger.charged >= bill, case
    assert met, "the fault was never met: the step is gone"


BREAKS: tuple[tuple[str, Callable[[pytest.MonkeyPatch], None]], ...] = (
    (
        "a fault before the decision passes uncharged",
        lambda p: p.setattr(Exchange, "_sent_as_it_was", _nothing),
    ),
    (
        "a fault after it is free",
        lambda p: p.setattr(untold_cost, "ended", lambda *_: Bill({}, 0, Outcome.FAILED)),
    ),
    (
        "a $0 team passes after a fault",
        lambda p: p.setattr("spendgate.gateway.adapters.faults.broken", _nothing),
    ),
)


def _nothing(*_: Any, **__: Any) -> None:
    return None


@pytest.mark.parametrize(("what", "mutate"), BREAKS, ids=[b[0] for b in BREAKS])
async def test_the_fuzz_sees_each_guard_fall(
    what: str, mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    seen = 0
    for where, name in ((admission, "gather"), (exchange, "open_response"), (codec, "forward")):
        try:
            with monkeypatch.context() as patch:
                await test_a_fault_at_any_step_is_refused_or_charged(where, name, patch)
        except AssertionError:
            seen += 1
    assert seen, f"nobody noticed that {what}"


UNREADABLE = b"\xff"


class Own:
    """A call on our own server."""

    def __init__(self, desk: Desk) -> None:
        service = Processor(desk.runtime, asyncio.get_running_loop())
        self._wire = Pair("ngh2", service=service.begin)
        self._stream = self._wire.call()

    async def hear(self, data: bytes) -> list[Any]:
        self._wire.say(self._stream, data)
        self._wire.exchange()
        answer = self._wire.answers[self._stream]
        found, answer.data = Messages(2**20).feed(answer.data), b""
        return [pb.ProcessingResponse.FromString(m) for m in found]

    async def end(self) -> None:
        self._wire.client.end_stream(self._stream)
        self._wire.exchange()
        assert self._wire.answers[self._stream].status == "0"


class Grpcio:
    """A call on grpc.aio."""

    def __init__(self, desk: Desk) -> None:
        self._call = desk.call()

    async def hear(self, data: bytes) -> list[Any]:
        return await self._call.hear(lenient(pb.ProcessingRequest.FromString)(data))

    async def end(self) -> None:
        await self._call.end()


@pytest.mark.parametrize("server", [Own, Grpcio])
async def test_a_message_that_cannot_be_read_is_refused_or_charged(server: type[Own] | type[Grpcio]) -> None:
    for team in TEAMS:
        for stream in (False, True):
            for ends in ("end", "trailers", "mid", "left") if stream else ("end", "trailers", "left"):
                for at in range(len(messages(Desk(SPECS), team, stream, ends))):
                    desk = Desk(SPECS)
                    call, refused = server(desk), False
                    for i, message in enumerate(messages(desk, team, stream, ends)):
                        replies = await call.hear(UNREADABLE if i == at else message.SerializeToString())
                        refused = was_refused(replies)
                        if refused or not replies:
                            break  # in good order: Envoy lets the rest pass
                    await call.end()
                    case = f"{team}, stream={stream}, {ends}, message {at}"
                    assert refused is (at == 0 or team == "zero" or (at == 1 and team == "ml")), case
                    assert desk.errors() == (team != "zero" or at < 2), case
                    bill = 1 if stream and ends in ("left", "mid") else COST_10_5
                    assert refused or desk.ledger.charged >= bill, case
                    assert not desk.runtime.open, case


@pytest.mark.parametrize(("mode", "charged"), [("open", True), ("closed", False)])
@pytest.mark.parametrize("why", ["mute", "crowded"])
async def test_a_call_that_we_end_without_a_reply_is_charged_where_envoy_sends_the_request_on(
    why: str, mode: str, charged: bool
) -> None:
    desk = Desk(SPECS, failure_mode=mode)
    [first, second] = messages(desk, "ml", stream=False, ends="left")

    class Mute(ProcessTurns):
        def encode(self, reply: Any) -> bytes:
            if why == "mute":
                raise Planted
            return super().encode(reply)

    loop = asyncio.get_running_loop()
    wire = Pair("ngh2", Limits(buffered_bytes=16), service=lambda call: Mute(desk.runtime, call, loop))
    stream = wire.call()
    wire.say(stream, first.SerializeToString())
    wire.exchange()
    if why == "crowded":
        wire.client.send_data(stream, b"".join(framed(second.SerializeToString()))[:60])
        wire.exchange()
    assert wire.answers[stream].status == ("2" if why == "mute" else "8")
    assert desk.ledger.charged >= (COST_10_5 if charged else 0)
    assert bool(desk.ledger.charged) is charged
    assert not desk.runtime.open
