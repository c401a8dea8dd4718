"""Our gRPC server on real sockets, with gRPC's own client on the other side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from support.ports import free_port

from spendgate.rpc.engine import Name
from spendgate.rpc.first_call import PREFACE
from spendgate.rpc.limits import Limits
from spendgate.rpc.server import UNWRITTEN_BYTES, Server

LIMITS = Limits(connections=8)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SERVING = health_pb2.HealthCheckResponse.SERVING


class Echo(external_processor_pb2_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """Written for grpc.aio: gives each body back, and ends with a status where asked to."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def Process(self, _: Any, context: Any) -> None:  # noqa: N802
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                if message.request_body.body == b"abort":
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "as asked: 100 %")
                reply = pb.ProcessingResponse()
                reply.immediate_response.body = message.request_body.body
                await context.write(reply)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Running:
    """A server with its services."""

    def __init__(self, server: Server, echo: Echo, healthy: Any) -> None:
        self.server, self.echo, self.healthy = server, echo, healthy

    def channel(self) -> grpc.aio.Channel:
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.server.ports[0]}", options=options)


@pytest.fixture(params=["ngh2", "h2"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    engine: Name = request.param
    server, echo, healthy = Server(engine, LIMITS), Echo(), health.HealthServicer()
    external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(echo, server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.bind("127.0.0.1:0")
    await server.start()
    yield Running(server, echo, healthy)
    await server.stop(None)


def said(text: bytes) -> Any:
    message = pb.ProcessingRequest()
    message.request_body.body = text
    return message


async def test_grpcs_own_client_is_served_and_told_each_status(running: Running) -> None:
    async with running.channel() as channel:
        stub = external_processor_pb2_grpc.ExternalProcessorStub(channel)
        call = stub.Process()
        for text in (b"", b"hello", b"x" * 5_000_000):
            await call.write(said(text))
            assert (await call.read()).immediate_response.body == text
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

        aborted = stub.Process()
        await aborted.write(said(b"abort"))
        assert await aborted.code() is grpc.StatusCode.UNAVAILABLE
        assert await aborted.details() == "as asked: 100 %"

        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await channel.unary_unary("/no.Such/Method")(b"")
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_checked_and_watched_on_the_same_port(running: Running) -> None:
    async with running.channel() as channel:
        stub, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service="")
        assert (await stub.Check(request, timeout=5)).status == SERVING
        watched = stub.Watch(request)
        assert (await watched.read()).status == SERVING
        await running.healthy.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watched.cancel()


async def test_a_deadline_of_the_client_ends_its_call_here(running: Running) -> None:
    async with running.channel() as channel:
        call = external_processor_pb2_grpc.ExternalProcessorStub(channel).Process(timeout=0.3)
        await call.write(said(b"hello"))
        await call.read()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(running.echo.cancelled.wait(), 5)


async def test_a_stop_lets_open_calls_end_and_takes_no_new_ones(running: Running) -> None:
    async with running.channel() as channel:
        stub = external_processor_pb2_grpc.ExternalProcessorStub(channel)
        call = stub.Process()
        await call.write(said(b"before"))
        await call.read()
        stopping = asyncio.create_task(running.server.stop(30))
        await asyncio.sleep(0.3)
        late = stub.Process()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await late.write(said(b"late"))
            await late.read()
            await late.code()
            raise AssertionError("a new call was taken")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await call.write(said(b"after"))
        assert (await call.read()).immediate_response.body == b"after"
        assert not stopping.done()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await asyncio.wait_for(stopping, 5)
        assert not running.echo.cancelled.is_set()


async def test_a_stop_in_a_hurry_ends_what_another_stop_waits_for(running: Running) -> None:
    async with running.channel() as channel:
        call = external_processor_pb2_grpc.ExternalProcessorStub(channel).Process()
        await call.write(said(b"hello"))
        await call.read()
        stopping = asyncio.create_task(running.server.stop(30))
        await asyncio.sleep(0.2)
        await running.server.stop(None)
        await asyncio.wait_for(stopping, 5)
        assert await call.code() is not grpc.StatusCode.OK
        assert running.echo.cancelled.is_set()


async def test_a_peer_that_reads_nothing_is_not_read_from_either(running: Running) -> None:
    """What it asks for does not pile up here."""
    port = running.server.ports[0]
    loop = asyncio.get_running_loop()
    pings = (b"\0\0\x08\6\0\0\0\0\0" + b"12345678") * 10_000
    with socket.socket() as peer:
        peer.setblocking(False)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(peer, ("127.0.0.1", port))
        await loop.sock_sendall(peer, PREFACE + b"\0\0\0\4\0\0\0\0\0")
        sent = 0
        with pytest.raises((TimeoutError, ConnectionError)):
            async with asyncio.timeout(3):
                while sent < 200 * len(pings):
                    await loop.sock_sendall(peer, pings)
                    sent += len(pings)
    assert sent < 20 * UNWRITTEN_BYTES


async def test_one_connection_too_many_is_closed_and_the_others_live(running: Running) -> None:
    port = running.server.ports[0]
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(LIMITS.connections)]
    try:
        for reader, _ in pairs:
            assert await reader.read(9)  # its SETTINGS
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionError):
            if not await reader.read(9):
                raise ConnectionResetError
        writer.close()
    finally:
        for _, writer in pairs:
            writer.close()


async def test_an_address_is_a_path_or_a_port_and_a_taken_one_is_said(tmp_path: Path) -> None:
    server = Server("h2")
    server.bind(f"unix:{tmp_path / 'a.sock'}")
    port = free_port()
    server.bind(f"127.0.0.1:{port}")
    await server.start()
    with pytest.raises(OSError, match="in use"):
        Server("h2").bind(f"127.0.0.1:{port}")
    for address in (f"unix:{tmp_path / 'a.sock'}", f"127.0.0.1:{port}"):
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await channel.unary_unary("/no.Such/Method")(b"")
            assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(None)
