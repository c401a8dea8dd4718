"""A worker that has more to do than it can: nobody passes undecided, and what Envoy sent on all the same is charged.

    SPENDGATE_TEST_OVERLOAD=10 .venv/bin/python -m pytest tests/faults/test_late.py      (make overload)

runs the loads at their full size, ten times what they are by default.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.gateway import Gateway
from support.overload import PATH, Client, Seen, Upstream, Watched, chat, junk, prompt
from support.policy import budget, policy
from support.processes import WORKER, until

POLICY = policy(budget("poor", 0), budget("rich", 100_000))
SCALE = int(os.environ.get("SPENDGATE_TEST_OVERLOAD", "1"))
"""1: in half a minute; 10: the loads in full."""
WORKER_BYTES_MAX = 768 * 1024 * 1024
"""What docs and manifests say of a worker."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Default settings."""
    with Gateway(tmp_path_factory.mktemp("busy"), upstream.url, POLICY) as running:
        yield running


@pytest.fixture
def poor(gateway: Gateway, upstream: Upstream) -> Client:
    upstream.reached, upstream.stream, upstream.raw = 0, 0, b""
    return Client(gateway.url, "poor")


def _under(gateway: Gateway, load: Coroutine[Any, Any, Any]) -> None:
    """Run a load, and look at the workers' memory meanwhile."""
    with Watched(gateway) as watched:
        asyncio.run(load)
    assert 0 < watched.most_bytes < WORKER_BYTES_MAX


def _refused(seen: Seen, upstream: Upstream, at_least: int = 1) -> None:
    """All were refused, and told when to come again where there was no room."""
    assert upstream.reached == 0 and seen.passed == 0, seen
    assert sum(seen.statuses.values()) >= at_least, seen
    assert seen.without_retry_after == 0
    assert seen.codes["too_busy"] == seen.statuses[503], seen


@pytest.mark.parametrize(
    ("size", "at_once"), [(4_000_000, 16), (1_000_000, 4 * SCALE), (30_000_000, max(8, 3 * SCALE))]
)
def test_long_prompts_at_once_do_not_pass_a_budget_of_nothing(
    gateway: Gateway, upstream: Upstream, poor: Client, size: int, at_once: int
) -> None:
    seen, body = Seen(), chat(prompt(size))

    async def load() -> None:
        await asyncio.gather(*(poor.once(body, seen) for _ in range(at_once)))

    _under(gateway, load())
    _refused(seen, upstream, at_once)


def test_bodies_without_a_length_have_bounded_room_too(
    gateway: Gateway, upstream: Upstream, poor: Client
) -> None:
    seen, body = Seen(), chat(prompt(8_000_000))

    async def load() -> None:
        await asyncio.gather(*(poor.untold(body, seen) for _ in range(2 * SCALE + 4)))

    _under(gateway, load())
    _refused(seen, upstream, 2 * SCALE + 4)


def test_two_bodies_of_empty_objects_blind_no_worker(
    gateway: Gateway, upstream: Upstream, poor: Client
) -> None:
    seen, asides = Seen(), Seen()

    async def load() -> None:
        stop = asyncio.Event()
        small = asyncio.create_task(poor.small(asides, 0.1, stop))
        body = junk(31_000_000)
        await asyncio.gather(*(poor.once(body, seen) for _ in range(2)))
        await asyncio.sleep(1)
        stop.set()
        await small

    _under(gateway, load())
    assert asides.passed == 0 and sum(asides.statuses.values()) > 5, asides
    _refused(seen, upstream, 2)


def test_a_loop_of_many_connections_gets_a_decision_each(
    gateway: Gateway, upstream: Upstream, poor: Client
) -> None:
    seen, body = Seen(), chat(prompt(50_000))

    async def load() -> None:
        stop_at = asyncio.get_running_loop().time() + 2 + SCALE * 0.6
        await asyncio.gather(*(poor.loop(body, seen, stop_at) for _ in range(300 if SCALE == 1 else 600)))

    _under(gateway, load())
    _refused(seen, upstream, 300)


def test_fast_streams_leave_other_requests_their_turn(
    gateway: Gateway, upstream: Upstream, poor: Client
) -> None:
    asides, streams, n = Seen(), Seen(), 40_000 * SCALE
    upstream.stream = n
    rich, before = Client(gateway.url, "rich"), gateway.row("rich")["requests"]

    async def load() -> None:
        stop = asyncio.Event()
        small = asyncio.create_task(poor.small(asides, 0.1, stop))
        await asyncio.gather(*(rich.once(chat("hi", stream=True), streams) for _ in range(4)))
        stop.set()
        await small

    _under(gateway, load())
    assert asides.passed == 0, asides
    gateway.settled("rich", before + 4)
    lines = gateway.usage("rich")[-4:]
    assert [(x["outcome"], x["tokens"]["output"]) for x in lines] == [("complete", n)] * 4


def test_an_answer_that_inflates_to_millions_of_objects_costs_its_hold(
    gateway: Gateway, upstream: Upstream, poor: Client
) -> None:
    asides, answers = Seen(), Seen()
    bomb = gzip.compress(b"[" + b"{}," * 20_000_000 + b"{}]")
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}"
    upstream.raw = head.encode() + b"\r\n\r\n" + bomb
    rich, before = Client(gateway.url, "rich"), gateway.row("rich")["requests"]

    async def load() -> None:
        stop = asyncio.Event()
        small = asyncio.create_task(poor.small(asides, 0.1, stop))
        await asyncio.gather(*(rich.once(chat("hi"), answers) for _ in range(2)))
        await asyncio.sleep(0.5)
        stop.set()
        await small

    _under(gateway, load())
    assert answers.statuses == {200: 2} and asides.passed == 0, (answers, asides)
    gateway.settled("rich", before + 2)
    for line in gateway.usage("rich")[-2:]:
        assert line["outcome"] == "unmetered" and Decimal(line["cost_usd"]) > 0


# -- what Envoy sends on -------------------------------------------------------------------------------------


def test_a_decision_that_takes_longer_than_the_timeout_is_waited_for(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Redis stands still for twice the message timeout: Envoy was asked for more."""
    config = {"message_timeout": "1s", "ledger_timeout": "5s"}
    upstream.reached, upstream.stream, upstream.raw = 0, 0, b""
    with Gateway(tmp_path, upstream.url, POLICY, config=config, workers=1) as running:
        seen, client, redis = Seen(), Client(running.url, "poor"), running.command.child("redis-server")

        async def load() -> None:
            await client.once(chat("hi"), seen)
            redis.send_signal(signal.SIGSTOP)
            asked = asyncio.create_task(client.once(chat("hi"), seen))
            await asyncio.sleep(2)
            redis.send_signal(signal.SIGCONT)
            await asked

        asyncio.run(load())
        assert seen.statuses == {429: 2} and upstream.reached == 0
        assert seen.slowest_s > 1.5


def _stands_still_over_a_body(gateway: Gateway, still_s: float) -> bytes:
    """Send a request of which the worker sees the head, and the body only when Envoy has long given it up; returns
    what the client got first."""
    worker, body = gateway.command.child(WORKER), chat("hello there")
    where = urlsplit(gateway.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as client:
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-llm-team: poor\r\ncontent-type: application/json\r\n"
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:20])
        time.sleep(0.3)
        worker.send_signal(signal.SIGSTOP)
        try:
            client.sendall(body[20:])
            time.sleep(still_s)
        finally:
            worker.send_signal(signal.SIGCONT)
        return client.recv(4096)


@pytest.mark.parametrize("mode", ["open", "closed"])
def test_what_envoy_sent_on_without_us_is_charged_as_late_and_nothing_else_is(
    upstream: Upstream, tmp_path: Path, mode: str
) -> None:
    config = {"message_timeout": "1s", "failure_mode": mode}
    upstream.reached, upstream.stream, upstream.raw = 0, 0, b""
    with Gateway(tmp_path, upstream.url, POLICY, config=config, workers=1) as running:
        first = _stands_still_over_a_body(running, 1.6)
        if mode == "closed":
            assert first.startswith(b"HTTP/1.1 50") and upstream.reached == 0
            asyncio.run(Client(running.url, "poor").once(chat("hi"), Seen()))
            assert running.settled("poor", 0)["settled_usd"] == "0.00"
            return
        assert first.startswith(b"HTTP/1.1 200") and upstream.reached == 1
        spent = Decimal(running.settled("poor", 1)["settled_usd"])
        [line] = [
            x for x in until(lambda: running.usage("poor"), bool, "a usage line") if x["outcome"] != "refused"
        ]
        assert (line["unmetered"], line["outcome"]) == ("late", "unmetered")
        assert Decimal(line["cost_usd"]) == spent > Decimal("0.00006")
        # a gateway that stands still is no client that leaves
        assert running.metric("spendgate_unmetered_total", reason="late") == 1
