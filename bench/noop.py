"""An ext_proc server in Python that does nothing, on one of the gRPC engines: what any Python processor costs at least.

.venv/bin/python bench/noop.py grpcio|ngh2|h2 unix:PATH
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from spendgate.gateway.adapters import codec
from spendgate.gateway.adapters.ext_proc import PATH
from spendgate.gateway.process.serving import grpcio_options
from spendgate.rpc.call import Call, Message
from spendgate.rpc.server import Server

PASS_REQUEST_HEADERS = pb.ProcessingResponse(request_headers=pb.HeadersResponse())
PASS_REQUEST_BODY = pb.ProcessingResponse(request_body=pb.BodyResponse())
PASS_RESPONSE_BODY = pb.ProcessingResponse(response_body=pb.BodyResponse())
_Mode = processing_mode_pb2.ProcessingMode


def showing(streamed: bool) -> Any:
    """Passes the answer's headers, and asks for its body."""
    answer = pb.ProcessingResponse()
    answer.response_headers.SetInParent()
    mode = answer.mode_override
    mode.request_header_mode = _Mode.SEND
    mode.response_header_mode = _Mode.SEND
    mode.request_body_mode = _Mode.BUFFERED
    mode.response_body_mode = _Mode.STREAMED if streamed else _Mode.BUFFERED
    mode.response_trailer_mode = _Mode.SEND
    return answer


def reply(message: Any) -> Any:
    """Asks for both bodies, as spendgate does, and lets all pass."""
    match message.WhichOneof("request"):
        case "request_headers":
            return PASS_REQUEST_HEADERS
        case "request_body":
            return PASS_REQUEST_BODY
        case "response_headers":
            kind = codec.header_map(message.response_headers.headers).get("content-type", "")
            return showing("event-stream" in kind)
    return PASS_RESPONSE_BODY


class Noop(external_processor_pb2_grpc.ExternalProcessorServicer):
    """On grpc.aio."""

    async def Process(self, _: Any, context: Any) -> None:  # noqa: N802
        while True:
            message = await context.read()
            if message is grpc.aio.EOF:
                return
            await context.write(reply(message))


class NoopCall:
    """On our own server."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def message(self, message: Message) -> bool:
        self._call.send(reply(pb.ProcessingRequest.FromString(message)).SerializeToString())
        return False

    def half_closed(self) -> None:
        self._call.finish()

    def lost(self) -> None:
        return


async def main(engine: str, address: str) -> None:
    healthy = health.HealthServicer()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    server: Any
    if engine == "grpcio":
        server = grpc.aio.server(options=grpcio_options(32 * 1024 * 1024))
        external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(Noop(), server)
        server.add_insecure_port(address)
    else:
        server = Server("ngh2" if engine == "ngh2" else "h2")
        server.add_method(PATH, NoopCall)
        server.bind(address)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
