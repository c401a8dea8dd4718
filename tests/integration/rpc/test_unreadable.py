"""A message that cannot be parsed, on real sockets and each engine: its call is answered as the policy says, and all
others go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import orjson
import pytest
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
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
