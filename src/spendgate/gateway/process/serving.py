"""A worker's gRPC server: all of Envoy's services and health on one endpoint, on the engine that the settings name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import grpc
from envoy.service.accesslog.v3 import als_pb2_grpc
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from grpc_health.v1 import health_pb2_grpc

from spendgate.errors import ConfigurationError
from spendgate.gateway.adapters.access_log import AccessLog
from spendgate.gateway.adapters.ext_authz import Authorization
from spendgate.gateway.adapters.ext_proc import PATH, ExternalProcessor, Processor
from spendgate.gateway.adapters.lenient import Lenient
from spendgate.gateway.runtime import Runtime
from spendgate.rpc.engine import has_ngh2
from spendgate.rpc.limits import MIB, Limits
from spendgate.rpc.server import Server
from spendgate.settings.config import Settings

Engine = Literal["ngh2", "h2", "grpcio"]
MESSAGE_SLACK = 32 * MIB


def engine_of(settings: Settings) -> Engine:
    """The engine that serves. Raises ConfigurationError where the one that is named is not installed."""
    if settings.grpc_engine == "auto":
        return "ngh2" if has_ngh2() else "h2"
    if settings.grpc_engine == "ngh2" and not has_ngh2():
        raise ConfigurationError("grpc_engine: ngh2 is not installed here; pip install ngh2, or write `auto`")
    return settings.grpc_engine


def limits_of(settings: Settings) -> Limits:
    """What our own server bears. A buffered body is one message, and all that a worker lets in may be on their way at
    once, with as much again of answers."""
    held = max(1024 * MIB, 2 * settings.max_inflight_bytes)
    return Limits(message_bytes=settings.max_body_bytes + MESSAGE_SLACK, buffered_bytes=held)


def grpcio_options(max_body_bytes: int) -> list[tuple[str, int]]:
    """grpc.aio's limits: a buffered body is one message; by default it sheds load above 1000 pending calls, and ends
    a connection (and every call on it) whose peer pings more than twice within five minutes of silence, which is
    what an Envoy with keepalive does while a provider thinks:
    https://grpc.github.io/grpc/core/md_doc_keepalive.html."""
    limit = max_body_bytes + MESSAGE_SLACK
    return [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.max_ping_strikes", 0),  # any number of pings
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_metadata_size", 64 * 1024),
    ]


class Serving:
    """The server of one worker: `bind`, `start`, then `server.stop`."""

    def __init__(self, settings: Settings, runtime: Runtime, access_log: AccessLog, healthy: Any) -> None:
        """Raises ConfigurationError."""
        self.engine = engine_of(settings)
        self.server: Any
        if self.engine == "grpcio":
            self.server = grpc.aio.server(options=grpcio_options(settings.max_body_bytes))
            processor = ExternalProcessor(runtime)
            external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(
                processor, Lenient(self.server)
            )
        else:
            self.server = Server(self.engine, limits_of(settings))
            self.server.load.waited = runtime.lag.queued
            self.server.add_method(PATH, Processor(runtime, asyncio.get_running_loop()).begin)
        lenient = Lenient(self.server)
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Authorization(runtime), lenient)
        als_pb2_grpc.add_AccessLogServiceServicer_to_server(access_log, lenient)
        health_pb2_grpc.add_HealthServicer_to_server(healthy, self.server)

    def bind(self, address: str) -> None:
        """Take the address, HOST:PORT or unix:PATH. Raises ConfigurationError where it cannot be had."""
        if address.startswith("unix:"):
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)
        try:
            if isinstance(self.server, Server):
                self.server.bind(address)
            elif not self.server.add_insecure_port(address):
                raise RuntimeError("is the port taken?")
        except (OSError, RuntimeError) as e:
            raise ConfigurationError(f"cannot listen on {address}: {e}") from e

    async def start(self) -> None:
        """Serve."""
        await self.server.start()
