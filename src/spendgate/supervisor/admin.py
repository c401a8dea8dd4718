"""The admin pages: /metrics, /healthz, /readyz, /v1/budgets, and the console at /."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key, month_text, parse_month
from spendgate.views.budgets import budget_rows, group_rows
from spendgate.views.gauges import BudgetGauges
from spendgate.views.past import past_month

Ready = Callable[[], Awaitable[list[str]]]


def application(  # noqa: C901  # its endpoints, each simple
    gauges: BudgetGauges,
    metrics_dir: Path,
    not_ready: Ready,
    collectors: Iterable[Collector] = (),
    console: ASGIApp | None = None,
    before_scrape: Callable[[], Awaitable[None]] | None = None,
    ledger: RedisLedger | None = None,
) -> Starlette:
    """`not_ready` names what does not work; an empty list is ready. `collectors` are scraped too, after
    `before_scrape`; `console` serves every other path; `ledger` knows the months that are over."""

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    async def rows() -> list[dict[str, object]]:
        now = now_ms()
        await gauges.refresh(now)
        return gauges.rows(now)

    async def metrics(_: Request) -> Response:
        await gauges.refresh(now_ms())
        if before_scrape is not None:
            await before_scrape()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(metrics_dir))  # type: ignore[no-untyped-call]
        registry.register(gauges)
        for collector in collectors:
            registry.register(collector)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = await not_ready()
        if missing:
            return PlainTextResponse("not ready: " + ", ".join(missing) + "\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def budgets(request: Request) -> Response:
        try:
            month = parse_month(request.query_params.get("month") or month_text(month_key(now_ms())))
        except ValueError as problem:
            return PlainTextResponse(f"month: {problem}\n", status_code=400)
        if ledger is None or month >= month_key(now_ms()):
            return JSONResponse(await rows())
        try:
            past = await past_month(ledger, month, gauges.policy)
        except LedgerUnavailable as problem:
            return PlainTextResponse(f"{problem}\n", status_code=503)
        limits = past.limits
        return JSONResponse(budget_rows(past.months, limits.teams) + group_rows(past.groups, limits.groups))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/v1/budgets", budgets),
            *([Mount("/", console)] if console is not None else []),
        ]
    )
