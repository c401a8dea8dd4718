"""The admin pages: /metrics, /healthz, /readyz, /v1/budgets and a plain page of budgets at /."""

from __future__ import annotations

import html
import time
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from spendgate.ledger.gauges import BudgetGauges
from spendgate.ledger.report import budget_rows

Ready = Callable[[], Awaitable[list[str]]]


def application(
    gauges: BudgetGauges, metrics_dir: str, not_ready: Ready, collectors: Iterable[Collector] = ()
) -> Starlette:
    """`not_ready` names what does not work; an empty list is ready. `collectors` are scraped too."""

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    async def rows() -> list[dict[str, object]]:
        now = now_ms()
        months = await gauges.refresh(now)
        limits = {t: gauges.policy.budget(t) for t in gauges.policy.teams}
        return budget_rows(months, {t: b.limit_nanousd(now) for t, b in limits.items() if b is not None})

    async def metrics(_: Request) -> Response:
        await gauges.refresh(now_ms())
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=metrics_dir)  # type: ignore[no-untyped-call]
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

    async def budgets(_: Request) -> Response:
        return JSONResponse(await rows())

    async def page(_: Request) -> Response:
        return HTMLResponse(_page(await rows()))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/v1/budgets", budgets),
            Route("/", page),
        ]
    )


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}th,td{padding:.4rem .6rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}.bar{background:#eee;height:.6rem;width:8rem;display:inline-block}
.bar i{display:block;height:100%;background:#3a7}.bar i.high{background:#d90}.bar i.full{background:#c33}
"""


def _page(rows: list[dict[str, object]]) -> str:
    body = "".join(_row(row) for row in rows) or "<tr><td colspan=6>No request yet, and no budget.</td></tr>"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>spendgate</title>"
        f"<style>{_STYLE}</style><h1>LLM budgets this month</h1>"
        "<table><tr><th>Team<th>Budget USD<th>Spent USD<th>Held USD<th>Used<th>Requests</tr>"
        f"{body}</table><p><a href=/metrics>metrics</a> · <a href=/v1/budgets>JSON</a></p></html>"
    )


def _row(row: dict[str, object]) -> str:
    used = row.get("utilization")
    percent = float(str(used)) * 100 if used is not None else None
    level = "" if percent is None or percent < 80 else "high" if percent < 100 else "full"
    bar = (
        "no budget"
        if percent is None
        else f'{percent:.1f} % <span class=bar><i class="{level}" style="width:{min(percent, 100):.0f}%"></i></span>'
    )
    cells = [row["team"], row["budget_usd"] or "–", row["settled_usd"], row["reserved_usd"]]
    text = "".join(f"<td>{html.escape(str(c))}" for c in cells)
    return f"<tr>{text}<td>{bar}<td>{row['requests']}</tr>"
