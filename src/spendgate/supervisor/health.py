"""Asks workers for their gRPC health as Envoy does: https://grpc.io/docs/guides/health-checking/."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from spendgate.supervisor.addresses import to_connect

TIMEOUT_S = 2.0


class GrpcHealth:
    """The health of some endpoints (HOST:PORT or unix:PATH), for the empty service name. Connects when first
    asked; `close` when done."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = tuple(endpoints)
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def unhealthy(self) -> list[str]:
        """The endpoints that do not say SERVING within two seconds."""
        good = await asyncio.gather(*map(self._serves, self._endpoints))
        return [e for e, ok in zip(self._endpoints, good, strict=True) if not ok]

    async def _serves(self, endpoint: str) -> bool:
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = grpc.aio.insecure_channel(
                to_connect(endpoint),
                options=[("grpc.max_reconnect_backoff_ms", 1000), ("grpc.enable_http_proxy", 0)],
            )
        request = health_pb2.HealthCheckRequest(service="")
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Give the connections back."""
        await asyncio.gather(*(c.close() for c in self._channels.values()))
