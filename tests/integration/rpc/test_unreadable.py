"""A message that cannot be parsed, on real sockets and each engine: its call is answered as the policy says, and all
others go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from support.calls import who
from support.raw_http import JSON, send
from support.raw_upstream import JSON as JSON_TYPE
from support.raw_upstream import RawUpstream, fixed
from support.second_envoy import before
from unit.exchange.desk import Desk, body
from unit.exchange.driver import chat

from spendgate.gateway.adapters.access_log import AccessLog
from spendgate.gateway.process.serving import Serving

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/envoy.service.auth.v3.Authorization/Check"
LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
HEALTH = "/grpc.health.v1.Health/Check"
UNREADABLE = b"\xff"
SPECS = "{team: ml, monthlyBudgetUSD: 10}"


class Running:
    """A worker's server, its desk, and one connection to it."""

    def __init__(self, desk: Desk, channel: grpc.aio.Channel) -> None:
        self.desk, self.channel = desk, channel


@pytest.fixture(params=["ngh2", "h2", "grpcio"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    desk = Desk(SPECS, grpc_engine=request.param)
    settings = desk.runtime.snapshot.settings
    serving = Serving(settings, desk.runtime, AccessLog(desk.runtime), health.HealthServicer())
    if request.param == "grpcio":
        port = serving.server.add_insecure_port("127.0.0.1:0")
    else:
        serving.bind("127.0.0.1:0")
        [port] = serving.server.ports
    await serving.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(desk, channel)
    await serving.server.stop(None)


async def say(call: Any, message: Any) -> Any:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    await call.write(data)
    return pb.ProcessingResponse.FromString(await call.read())


async def test_a_message_that_cannot_be_read_ends_its_call_and_no_other(running: Running) -> None:
    desk, channel = running.desk, running.channel
    good, bad = channel.stream_stream(PROCESS)(), channel.stream_stream(PROCESS)()
    assert (await say(good, desk.request_headers("ml"))).HasField("request_headers")
    assert (await say(bad, UNREADABLE)).immediate_response.status.code == 503
    undecided = channel.stream_stream(PROCESS)()
    await say(undecided, desk.request_headers("ml"))
    assert (await say(undecided, UNREADABLE)).HasField("immediate_response")
    assert (await say(good, body(orjson.dumps(chat())))).HasField("request_body")
    await good.write(UNREADABLE)
    assert await good.read() is grpc.aio.EOF
    assert await good.code() is grpc.StatusCode.OK  # Envoy lets the answer pass
    [ending] = [x for x in desk.settler.endings if x.record.cost_nanousd]
    assert ending.record.unmetered == "internal_error"


async def test_a_check_or_a_log_that_cannot_be_read_ends_nothing_else(running: Running) -> None:
    desk, channel = running.desk, running.channel
    logs = channel.stream_unary(LOGS)()
    await logs.write(UNREADABLE)
    answer = external_auth_pb2.CheckResponse.FromString(
        await channel.unary_unary(CHECK)(UNREADABLE, timeout=30)
    )
    assert answer.denied_response.status.code == 503
    await logs.write(als_pb2.StreamAccessLogsMessage().SerializeToString())
    await logs.done_writing()
    als_pb2.StreamAccessLogsResponse.FromString(await logs)
    assert desk.errors() == 2
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(HEALTH)(UNREADABLE, timeout=30)
    alive = await channel.unary_unary(HEALTH)(health_pb2.HealthCheckRequest().SerializeToString(), timeout=30)
    assert health_pb2.HealthCheckResponse.FromString(alive).status == health_pb2.HealthCheckResponse.SERVING


MARK = "unreadable"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
ANSWER = json.dumps({"model": "gpt-4o", "choices": [], "usage": USAGE}).encode()


@pytest.mark.parametrize("mode", ["open", "closed"])
@pytest.mark.parametrize("engine", ["ngh2", "grpcio"])
async def test_envoy_lets_pass_what_it_gets_no_reply_for_and_it_is_charged(
    engine: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy's own messages cannot be made unreadable: here those are that carry the mark."""

    def lenient(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda data: DecodeError("planted") if MARK.encode() in bytes(data) else parse(data)

    parse = lenient(pb.ProcessingRequest.FromString)
    monkeypatch.setattr("spendgate.gateway.adapters.lenient.lenient", lenient)
    monkeypatch.setattr("spendgate.gateway.adapters.ext_proc._parse", parse)
    given = {"failure_mode": mode, "message_timeout": "10s"}
    desk = Desk(
        f"{SPECS}\n---\n{{team: audited, monthlyBudgetUSD: 0, mode: audit}}", grpc_engine=engine, **given
    )
    settings = desk.runtime.snapshot.settings
    serving = Serving(settings, desk.runtime, AccessLog(desk.runtime), health.HealthServicer())
    grpc_at, config = f"unix:{tmp_path}/w", tmp_path / "config.yaml"
    serving.bind(grpc_at)
    await serving.start()
    config.write_text(json.dumps(given))

    def ask(url: str, upstream: RawUpstream, team: str, text: str, **headers: str) -> tuple[int, int]:
        """The answer's status, and how often the provider was asked."""
        before_it = len(upstream.requests)
        sent = json.dumps(chat(messages=[{"role": "user", "content": text}])).encode()
        status = send(url, "POST", "/v1/chat/completions", {**JSON, **who(team), **headers}, sent).status
        return status, len(upstream.requests) - before_it

    def ask_all() -> None:
        with (
            RawUpstream(fixed(ANSWER, JSON_TYPE)) as upstream,
            before(grpc_at, upstream.url, tmp_path, lambda _: None, "--config", str(config)) as url,
        ):
            assert ask(url, upstream, "ml", "hi") == (200, 1)
            assert ask(url, upstream, "ml", MARK) == (429, 0)
            assert ask(url, upstream, "audited", MARK) == (200, 1)
            assert ask(url, upstream, "audited", "hi", **{"x-a": MARK}) == (503, 0)
            upstream.reply = fixed(ANSWER.replace(b"gpt-4o", MARK.encode()), JSON_TYPE)
            assert ask(url, upstream, "ml", "hi") == (200, 1)

    await asyncio.to_thread(ask_all)
    await serving.server.stop(None)
    told = [(x.record.team, x.record.unmetered) for x in desk.settler.endings if x.record.cost_nanousd]
    assert told == [("ml", ""), ("audited", "internal_error"), ("ml", "internal_error")]
    assert desk.errors() == 4
