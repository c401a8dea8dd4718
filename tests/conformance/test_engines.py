"""Each gRPC engine behind a real Envoy: what is promised of the gateway holds whichever serves it.

    SPENDGATE_ENVOY=PATH .venv/bin/python -m pytest tests/conformance/test_engines.py     (make matrix)

runs it on another Envoy.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import aiohttp
import psutil
import pytest
from support.calls import who
from support.gateway import Gateway
from support.http2 import post
from support.policy import budget, policy
from support.processes import WORKER, until
from support.raw_http import JSON, send
from support.raw_upstream import JSON as JSON_TYPE
from support.raw_upstream import SSE, RawUpstream, Request, fixed, pieces

from spendgate.supervisor.front import envoy_binary

CHAT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
COST = Decimal("0.0000625")
DELTA = b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" budget"}}],"usage":null}\n\n'
FINISH = (
    b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
)
EXTRA = b"data: " + json.dumps({"model": "gpt-4o", "choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
TEN_MB = 10_000_000
STREAMS = 200
SILENT_S = 2.5
TEAMS = ("plain", "large", "crowd", "left", "silent", "trailers", "stops", "frozen", "late")


def answer(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "model": "gpt-4o", "choices": [choice], "usage": USAGE}).encode()


async def provider(request: Request, writer: Any) -> None:
    """Answers as the request's header `x-case` says."""
    case = request.header("x-case") or ""
    if case.startswith("stream"):
        pause_s = float(case.partition(" ")[2] or 0)
        await pieces([DELTA, DELTA, DELTA, FINISH, EXTRA, DONE], SSE, pause_s=pause_s)(request, writer)
        return
    await asyncio.sleep(SILENT_S if case == "silent" else 0)
    await fixed(answer("x" * TEN_MB if case == "large" else "hi"), JSON_TYPE)(request, writer)


@pytest.fixture(scope="module", params=["ngh2", "h2", "grpcio"])
def engine_gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Before the provider, with a budget that refuses for team `zero`."""
    rules = policy(budget("zero", 0), *(budget(team, 1000) for team in TEAMS))
    config = {"grpc_engine": request.param, "failure_mode": "closed"}
    with (
        RawUpstream(provider) as upstream,
        Gateway(tmp_path_factory.mktemp("engine"), upstream.url, rules, config=config) as running,
    ):
        served = running.logged("serving")
        assert served
        if envoy := os.environ.get("SPENDGATE_ENVOY"):
            children = psutil.Process(running.command.process.pid).children(recursive=True)
            assert envoy in [c.exe() for c in children]
        running.requests = upstream.requests  # type: ignore[attr-defined]
        assert all(f'"engine": "{request.param}"' in line for line in served)
        yield running


def headers(team: str, case: str = "") -> dict[str, str]:
    return {**JSON, **who(team), **({"x-case": case} if case else {})}


def body(*, stream: bool = False, size: int = 0) -> bytes:
    messages = [{"role": "user", "content": "hi there" + " budget" * (size // 7)}]
    return json.dumps({"model": "gpt-4o", "max_tokens": 100, "stream": stream, "messages": messages}).encode()


def test_answers_and_streams_are_whole_and_billed_to_the_nano_dollar(engine_gateway: Gateway) -> None:
    for _ in range(5):
        got = send(engine_gateway.url, "POST", CHAT, headers("plain"), body())
        assert (got.status, got.body) == (200, answer("hi"))
        assert got.header("x-spendgate-cost-usd") == str(COST)
        got = send(engine_gateway.url, "POST", CHAT, headers("plain", "stream"), body(stream=True))
        assert (got.status, got.body) == (200, DELTA * 3 + FINISH + DONE)
    refused = send(engine_gateway.url, "POST", CHAT, headers("zero"), body())
    assert refused.status == 429
    assert json.loads(refused.body)["error"]["code"] == "monthly_budget_exceeded"
    assert engine_gateway.spent("plain", 10) == 10 * COST


def prompt_bytes() -> int:
    """Envoy 1.36 answers 413 above 1 MiB by itself, whatever `request_body_buffer_limit` says."""
    version = subprocess.check_output([envoy_binary(), "--version"], text=True)
    return 900_000 if "/1.36." in version else TEN_MB


def test_ten_megabytes_pass_both_ways(engine_gateway: Gateway) -> None:
    got = send(engine_gateway.url, "POST", CHAT, headers("large", "large"), body(size=prompt_bytes()))
    assert got.status == 200
    assert got.body == answer("x" * TEN_MB)
    assert engine_gateway.spent("large", 1) == COST


def test_many_streams_at_once_and_clients_that_leave_in_any_state(engine_gateway: Gateway) -> None:
    whole = [0]

    async def one(session: aiohttp.ClientSession, i: int) -> None:
        team, leaves_after_s = ("crowd", None) if i % 2 else ("left", 0.01 * (i % 40))
        timeout = aiohttp.ClientTimeout(total=leaves_after_s or 120)
        try:
            sent = headers(team, "stream 0.1")
            async with session.post(
                engine_gateway.url + CHAT, data=body(stream=True), headers=sent, timeout=timeout
            ) as got:
                text = await got.read()
        except TimeoutError:
            assert leaves_after_s is not None
            return
        if team == "crowd":
            assert (got.status, text) == (200, DELTA * 3 + FINISH + DONE)
            whole[0] += 1

    async def crowd() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(one(session, i) for i in range(STREAMS)))

    asyncio.run(crowd())
    assert whole[0] == STREAMS // 2
    assert engine_gateway.spent("crowd", STREAMS // 2) == STREAMS // 2 * COST
    engine_gateway.quiet("left")
    assert engine_gateway.metric("spendgate_internal_errors_total") == 0


def test_a_provider_that_thinks_for_long_is_waited_for_under_envoys_pings(engine_gateway: Gateway) -> None:
    assert send(engine_gateway.url, "POST", CHAT, headers("silent", "silent"), body()).status == 200
    assert engine_gateway.spent("silent", 1) == COST


def test_a_request_that_ends_by_trailers_is_decided_and_charged(engine_gateway: Gateway) -> None:
    got = post(engine_gateway.url, CHAT, headers("trailers").items(), body(), [("x-t", "1")])
    assert got.headers[":status"] == "200"
    assert engine_gateway.spent("trailers", 1) == COST


def test_a_worker_that_stands_still_keeps_nobody_waiting_for_long(engine_gateway: Gateway) -> None:
    frozen = engine_gateway.command.child(WORKER)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        statuses = [
            send(engine_gateway.url, "POST", CHAT, headers("frozen"), body()).status for _ in range(8)
        ]
    finally:
        if frozen.is_running():
            os.kill(frozen.pid, signal.SIGCONT)
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    reached = [x for x in statuses if x == 200]
    assert engine_gateway.spent("frozen", len(reached)) == len(reached) * COST
    until(
        lambda: {send(engine_gateway.url, "POST", CHAT, headers("late"), body()).status for _ in range(12)},
        lambda seen: seen == {200},
        "both workers again",
    )


def test_a_worker_that_stops_lets_its_streams_end(engine_gateway: Gateway) -> None:
    """Both are told to; each serves to its end what it has, and others are there for what comes."""
    ended: list[tuple[int, bytes]] = []

    def stream() -> None:
        got = send(engine_gateway.url, "POST", CHAT, headers("stops", "stream 0.4"), body(stream=True))
        ended.append((got.status, got.body))

    streams = [threading.Thread(target=stream) for _ in range(6)]
    for one in streams:
        one.start()
    seen: list[Request] = engine_gateway.requests  # type: ignore[attr-defined]
    until(
        lambda: [r for r in seen if r.header("x-case") == "stream 0.4"], lambda r: len(r) == 6, "six streams"
    )
    stopped = engine_gateway.command.children(WORKER)
    for worker in stopped[:1]:
        worker.send_signal(signal.SIGTERM)
    for one in streams:
        one.join()
    assert ended == [(200, DELTA * 3 + FINISH + DONE)] * 6
    assert engine_gateway.spent("stops", 6) == 6 * COST
    until(lambda: [w for w in stopped[:1] if w.is_running()], lambda left: not left, "the end of the worker")
    assert send(engine_gateway.url, "POST", CHAT, headers("stops"), body()).status == 200
