"""A gateway that serves for long: its memory is flat, and every exchange is in the books to the nano-dollar.

`make soak` serves a million exchanges; here some thousands show a leak of an exchange's own things.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from support.gateway import Gateway
from support.policy import budget, policy
from support.ports import free_port

EXCHANGES = int(os.environ.get("SPENDGATE_EXCHANGES") or 12_000)
PROVIDER = Path(__file__).parents[3] / "bench" / "upstream.py"
CLIENTS = 16
TEAMS = 20
JSON_USD = Decimal("0.00035")
"""100 tokens in, 10 out, of gpt-4o."""
STREAM_USD = Decimal("0.0030225")
"""9 tokens in, 300 out."""
WARM = 0.25
"""The part of the exchanges in which caches fill."""
SPARE_BYTES = 24_000_000
"""The heaps of two workers breathe: so much may come and go."""
KEPT_BYTES = 400
"""Of each exchange for a minute: what is sent again should Redis lose it, and its line on the way to the log."""
KEPT_S = 60
MARK_BYTES = 150
"""Of each exchange for seven days in Redis: that it has ended. (Ten on later days of a team: its sets are few on the
first.)"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    port = free_port()
    provider = subprocess.Popen([sys.executable, str(PROVIDER), str(port)])
    budgets = [budget(f"team-{n}", 1_000_000) for n in range(TEAMS)]
    rules = policy(*budgets, budget("leaves", 1_000_000), budget("broke", 0))
    try:
        with Gateway(tmp_path, f"http://127.0.0.1:{port}", rules) as made:
            yield made
    finally:
        provider.terminate()
        provider.wait(20)


def request(team: str, user: int, chunks: int = 0) -> bytes:
    """A chat request; of a stream of so many chunks, where there are any."""
    stream = b',"stream":true,"stream_options":{"include_usage":true}' if chunks else b""
    body = b'{"model":"gpt-4o","max_tokens":300,"messages":[{"role":"user","content":"Hi."}]%s}' % stream
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-llm-team: {team}\r\n"
        f"x-llm-app: app-{user % 7}\r\nx-llm-user: user-{user % 5000}\r\nx-bench-chunks: {chunks}/1\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of an answer that was read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        at = head.index(b"content-length:")
        await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
    return int(head[9:12])


class Clients:
    """Many clients that share so many requests: nine of ten want JSON, the rest a stream, a refusal, or leave."""

    def __init__(self, port: int, requests: int) -> None:
        self._port = port
        self._numbers = iter(range(requests))
        self.sent: Counter[str] = Counter()
        self.cost: Counter[str] = Counter()
        self.done = 0
        self._warm_at = requests * WARM
        self.are_warm = asyncio.Event()

    async def run(self) -> None:
        """Until all are served."""
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for number in self._numbers:
            team, kind = f"team-{number % TEAMS}", number % 100
            if kind == 97:  # leaves in the middle of its answer
                self.sent["leaves"] += 1
                gone, there = await asyncio.open_connection("127.0.0.1", self._port)
                there.write(request("leaves", number, chunks=200))
                await gone.readuntil(b"\r\n\r\n")
                there.close()
            elif kind in (98, 99):
                self.sent["broke"] += 1
                writer.write(request("broke", number))
                assert await answer(reader) == 429
            else:
                chunks = 10 if kind >= 90 else 0
                self.sent[team] += 1
                self.cost[team] += int((STREAM_USD if chunks else JSON_USD) * 10**9)
                writer.write(request(team, number, chunks))
                assert await answer(reader) == 200
            self.done += 1
            if self.done >= self._warm_at:
                self.are_warm.set()
        writer.close()


def memory(gateway: Gateway) -> dict[str, int]:
    """Resident bytes by kind of process."""
    parent = psutil.Process(gateway.command.process.pid)
    found: Counter[str] = Counter({"up": parent.memory_info().rss})
    for child in parent.children(recursive=True):
        line = " ".join(child.cmdline())
        kind = "redis" if "redis" in child.name() else "workers" if "worker" in line else child.name()
        found[kind] += child.memory_info().rss
    return dict(found)


async def test_memory_is_flat_and_the_books_are_exact_over_many_exchanges(gateway: Gateway) -> None:
    clients = Clients(gateway.port, EXCHANGES)
    began = time.monotonic()
    serving = asyncio.create_task(clients.run())
    await asyncio.wait(
        [serving, warm_up := asyncio.create_task(clients.are_warm.wait())], return_when="FIRST_COMPLETED"
    )
    warm_up.cancel()
    warm, since, at = memory(gateway), clients.done, time.monotonic()
    await serving
    after, more = memory(gateway), clients.done - since
    rate = clients.done / (time.monotonic() - began)
    print(f"{clients.done} exchanges, {rate:.0f}/s; MB after {since}: {_mb(warm)}, at the end: {_mb(after)}")

    for team in (f"team-{n}" for n in range(TEAMS)):
        row = gateway.settled(team, clients.sent[team])
        assert row["requests"] == clients.sent[team]
        assert int(Decimal(row["settled_usd"]) * 10**9) == clients.cost[team], team
    assert gateway.row("broke")["settled_usd"] in ("0", "0.00")
    assert gateway.settled("leaves", clients.sent["leaves"])["requests"] == clients.sent["leaves"]

    kept = KEPT_BYTES * more if at - began < KEPT_S else 0  # what a minute keeps was there already
    for kind, was in warm.items():
        allowed = SPARE_BYTES + (MARK_BYTES * more if kind == "redis" else kept)
        assert after[kind] - was <= allowed, (kind, _mb(warm), _mb(after))


def _mb(found: dict[str, int]) -> dict[str, float]:
    return {kind: round(size / 1e6, 1) for kind, size in sorted(found.items())}
