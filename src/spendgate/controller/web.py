"""The controller's two ports: health for the kubelet, metrics for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

Missing = Callable[[], list[str]]


def health_pages(not_alive: Missing, not_ready: Missing, console: ASGIApp | None = None) -> Starlette:
    """/healthz and /readyz: 200, or 503 with what is missing; `console` serves every other path."""

    def page(word: str, missing: Missing) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            faults = missing()
            if faults:
                return PlainTextResponse(f"not {word}: {', '.join(faults)}\n", status_code=503)
            return PlainTextResponse(f"{word}\n")

        return answer

    return Starlette(
        routes=[
            Route("/healthz", page("ok", not_alive)),
            Route("/readyz", page("ready", not_ready)),
            *([Mount("/", console)] if console is not None else []),
        ]
    )


def metrics_pages(text: Callable[[], Awaitable[bytes]]) -> Starlette:
    """/metrics, asked for at the scrape."""

    async def metrics(_: Request) -> Response:
        return Response(await text(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", metrics)])


def server(app: Starlette, address: tuple[str, int]) -> uvicorn.Server:
    """A server whose signals are ours, not uvicorn's."""
    config = uvicorn.Config(
        app, host=address[0], port=address[1], log_level="error", lifespan="off", ws="none", access_log=False
    )
    made = uvicorn.Server(config)
    made.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return made
