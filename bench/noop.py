"""An ext_proc server in Python that does nothing: what any Python processor costs at least."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from spendgate.exchange import events as e
from spendgate.gateway.adapters import codec
from spendgate.gateway.process.serving import grpcio_options


class Noop(external_processor_pb2_grpc.ExternalProcessorServicer):
    """Asks for both bodies, as spendgate does, and lets all pass."""

    async def Process(self, _: Any, context: Any) -> None:  # noqa: N802
        while True:
            message = await context.read()
            if message is grpc.aio.EOF:
                return
            match message.WhichOneof("request"):
                case "request_headers":
                    await context.write(codec.PASS_REQUEST_HEADERS)
                case "request_body":
                    await context.write(codec.PASS_REQUEST_BODY)
                case "response_headers":
                    kind = codec.header_map(message.response_headers.headers).get("content-type", "")
                    mode = e.BodyMode.STREAMED if "event-stream" in kind else e.BodyMode.BUFFERED
                    await context.write(codec.answer(e.PassResponse(mode)))
                case "response_body":
                    await context.write(codec.PASS_RESPONSE_BODY)


async def main(address: str) -> None:
    server = grpc.aio.server(options=grpcio_options(32 * 1024 * 1024))
    external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(Noop(), server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(address)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
