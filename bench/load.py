"""A small closed-loop HTTP/1.1 load client: N connections, each sends its next request when the answer is
whole. Light enough to share two cores with what it measures.

    .venv/bin/python bench/load.py PORT BYTES CONNECTIONS SECONDS     a load of its own; prints what came as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import uvloop

WORDS = "the quick brown fox jumps over the lazy dog and thinks about budgets in the mesh "


@dataclass
class Result:
    """Latencies in seconds of complete answers, and what else came."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, p: float) -> float:
        """A latency percentile in seconds."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], result: Result, until: float) -> None:
        self.requests = requests
        self.result = result
        self.until = until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.need = -1
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._next()

    def _next(self) -> None:
        self.began = time.perf_counter()
        if self.began >= self.until:
            self._finish()
            return
        self.transport.write(next(self.requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.need < 0:
            head, sep, rest = self.buffer.partition(b"\r\n\r\n")
            if not sep:
                return
            lower = head.lower()
            status = int(lower[9:12])
            self.result.statuses[status] = self.result.statuses.get(status, 0) + 1
            at = lower.find(b"content-length:")
            self.need = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -2
            self.buffer = rest
        if (self.need >= 0 and len(self.buffer) >= self.need) or (
            self.need == -2 and self.buffer.endswith(b"0\r\n\r\n")
        ):
            self.result.latencies.append(time.perf_counter() - self.began)
            self.buffer, self.need = b"", -1
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.result.errors += 1
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()


def body(size: int, stream: bool = False) -> bytes:
    """A chat request of about `size` bytes."""
    text = (WORDS * (size // len(WORDS) + 1))[: max(size - 120, 1)]
    document = {"model": "gpt-4o", "max_tokens": 300, "messages": [{"role": "user", "content": text}]}
    if stream:
        document = {"stream": True, **document}
    return json.dumps(document, separators=(",", ":")).encode()


def request_bytes(path: str, body: bytes, team: str = "bench", more: str = "") -> bytes:
    """A POST of a chat request. `more`: headers, each with its line's end."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-llm-team: {team}\r\n"
        f"x-llm-app: bench\r\n{more}content-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def closed_loop(
    port: int, request: bytes | Sequence[bytes], connections: int, seconds: float
) -> Result:
    """Load one port for a while, with one request or several that take turns."""
    requests = cycle([request] if isinstance(request, bytes) else request)
    result = Result()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    until = began + seconds
    protocols = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(
            lambda: _Connection(requests, result, until), "127.0.0.1", port
        )
        protocols.append(protocol)
    await asyncio.wait([p.done for p in protocols], timeout=seconds + 30)
    result.seconds = time.perf_counter() - began
    return result


async def stream_chunks(port: int, request: bytes) -> list[float]:
    """The arrival times (seconds since the request) of each chunk of one streamed answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(request)
    times: list[float] = []
    await reader.readuntil(b"\r\n\r\n")
    while True:
        size = int((await reader.readline()).strip() or b"0", 16)
        if size == 0:
            break
        await reader.readexactly(size + 2)
        times.append(time.perf_counter() - began)
    writer.close()
    return times


def main() -> None:
    port, size, connections = map(int, sys.argv[1:4])
    request = request_bytes("/v1/chat/completions", body(size))
    result = uvloop.run(closed_loop(port, request, connections, float(sys.argv[4])))
    print(json.dumps({"answers": len(result.latencies), "statuses": result.statuses}))


if __name__ == "__main__":
    main()
