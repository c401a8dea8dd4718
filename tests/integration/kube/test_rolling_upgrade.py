"""A rolling upgrade under load, by processes: gateways, controllers and Redis in turn, while streams stay open.

`make soak` runs it with streams of a minute for ten minutes (SPENDGATE_ROLL_STREAM_S, SPENDGATE_ROLL_MINUTES)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.billing import usd
from support.calls import who
from support.kube import Cluster
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.provider import Provider
from support.redis import server_of
from support.topologies import Node

from spendgate.supervisor.front import envoy_binary

from .conftest import Start, await_status, budget

STREAMS = 50
STREAM_S = float(os.environ.get("SPENDGATE_ROLL_STREAM_S", "3"))
MINUTES = float(os.environ.get("SPENDGATE_ROLL_MINUTES", "0"))
CHUNKS = 25
MODEL = "gpt-4o-mini"
ASK = {"model": MODEL, "stream": True, "max_tokens": CHUNKS, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Load:
    """So many streams open at any time, each until its own end; what came of them."""

    url: str
    ended: Counter[str] = field(default_factory=Counter)
    open: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()
        until(lambda: self.open, lambda n: n >= STREAMS, "open streams", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(STREAM_S + 60)

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=STREAMS, max_keepalive_connections=0)
        async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:
            await asyncio.gather(*(self._one(client, i) for i in range(STREAMS)))

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(number * STREAM_S / STREAMS)  # at no moment do all begin or end
        while not self._stop.is_set():
            self.ended[await self._stream(client)] += 1

    async def _stream(self, client: httpx.AsyncClient) -> str:
        pace = int(STREAM_S * 1000 / CHUNKS)
        headers = who("roll", output_tokens=CHUNKS, chunk_ms=pace)
        self.open += 1
        try:
            async with client.stream(
                "POST", f"{self.url}/v1/chat/completions", json=ASK, headers=headers
            ) as r:
                if r.status_code != 200:
                    return f"status {r.status_code}: {(await r.aread())[:200]!r}"
                if "x-spendgate-reason" not in r.headers:
                    return "passed undecided"
                last = [line async for line in r.aiter_lines() if line]
                return "whole" if last[-1:] == ["data: [DONE]"] else f"cut after {last[-1:]}"
        except httpx.HTTPError as e:
            return f"{type(e).__name__}: {e}"
        finally:
            self.open -= 1


@dataclass
class Fleet:
    """Gateways on two of three ports that Envoy knows: the third is the surge's."""

    folder: Path
    redis: str
    ports: list[int]
    running: list[tuple[int, Command]] = field(default_factory=list)
    started: int = 0

    def start(self) -> None:
        port = next(p for p in self.ports if p not in [used for used, _ in self.running])
        self.started += 1
        folder = self.folder / f"gateway-{self.started}"
        gateway = Command(
            folder,
            ["serve", "--grpc", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{free_port()}",
             "--redis", self.redis, "--data-dir", str(folder / "data")],
            {"SPENDGATE_DRAIN_TIMEOUT": f"{int(STREAM_S * 3 + 10)}s"},
        )  # fmt: skip
        gateway.ready()
        self.running.append((port, gateway))

    def roll(self) -> None:
        """One after the other, the new one first, as `maxSurge: 1, maxUnavailable: 0` does."""
        for _ in range(len(self.running)):
            self.start()
            time.sleep(1)  # minReadySeconds, in short: Envoy has seen it
            _, old = self.running.pop(0)
            old.process.terminate()
            assert old.process.wait(STREAM_S * 3 + 60) == 0, old.stderr

    def stop(self) -> None:
        for _, gateway in self.running:
            assert gateway.stop() == 0, gateway.stderr


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Node]:
    node = Node(server_of("redis-7.0"), tmp_path / "redis", {"appendonly": "yes", "appendfsync": "everysec"})
    yield node.start()
    node.stop()


def spent(redis: str) -> dict[str, Any]:
    argv = [SPENDGATE, "spend", "--redis", redis, "--team", "roll", "-o", "json"]
    rows = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    row: dict[str, Any] = rows[0] if rows else {"reserved_usd": "0", "settled_usd": "0", "requests": 0}
    return row


@pytest.mark.timeout(1800)
def test_gateways_controllers_and_redis_are_rolled_under_streams_without_an_error_and_the_books_are_exact(
    cluster: Cluster, start: Start, ledger: Node, tmp_path: Path
) -> None:
    redis = f"redis://127.0.0.1:{ledger.port}/0"
    controllers = [start("ctl-1", url=redis), start("ctl-2", url=redis)]
    cluster.apply(budget("roll", 100_000, failOpenLimitUSD=10_000))
    fleet = Fleet(tmp_path, redis, [free_port() for _ in range(3)])
    listen = f"127.0.0.1:{free_port()}"
    until(lambda: controllers[0].metric("spendgate_policy_generation"), bool, "the policy", 60)
    fleet.start()
    fleet.start()
    with Provider(tmp_path / "provider") as provider:
        argv = [SPENDGATE, "render", "bootstrap", "--listen", listen, "--upstream", provider.url]
        argv += [x for port in fleet.ports for x in ("--grpc", f"127.0.0.1:{port}")]
        rendered = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        (tmp_path / "envoy.yaml").write_text(rendered)
        with (tmp_path / "envoy.log").open("wb") as log:
            envoy = subprocess.Popen(
                [envoy_binary(), "-c", str(tmp_path / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            url = f"http://{listen}"
            until(lambda: _answers(url), bool, "Envoy", 60)
            before, bill = spent(redis), provider.billed()
            began, rounds = time.monotonic(), 0
            with Load(url) as load:
                while rounds == 0 or time.monotonic() - began < MINUTES * 60:
                    rounds += 1
                    fleet.roll()
                    controllers.append(start(f"ctl-{len(controllers) + 1}", url=redis))
                    controllers[-2].stop()
                    controllers[-3].stop()
                    controllers.append(start(f"ctl-{len(controllers) + 1}", url=redis))
                    _roll_redis(ledger)
                    cluster.apply(budget("roll", 100_000 + rounds, failOpenLimitUSD=10_000))
                    time.sleep(STREAM_S / 2)
                counted = dict(load.ended)
            assert dict(load.ended).keys() == {"whole"}, load.ended
            generation = 1 + rounds
            await_status(cluster, "roll", lambda s: s.get("enforcedGeneration") == generation, "the edits")
            row = until(lambda: spent(redis), lambda r: Decimal(r["reserved_usd"]) == 0, "all settled", 60)
            whole = load.ended["whole"]
            assert (
                row["requests"] - before["requests"] == bill.requests() == whole >= counted["whole"] > STREAMS
            )
            cost = Decimal(row["settled_usd"]) - Decimal(before["settled_usd"])
            assert cost == usd(MODEL, bill.tokens(MODEL))
            print(
                f"{rounds} rounds, {whole} streams of {STREAM_S:.0f} s in {time.monotonic() - began:.0f} s, {cost} USD"
            )
        finally:
            envoy.terminate()
            envoy.wait(60)
            fleet.stop()


def _roll_redis(ledger: Node) -> None:
    """As a StatefulSet's pod is replaced: it writes its file to the end, and comes back on it."""
    assert ledger.process is not None
    ledger.process.terminate()
    ledger.process.wait(60)
    time.sleep(1)
    ledger.start()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models", trust_env=False, timeout=10).status_code < 500
    except httpx.TransportError:
        return False
