"""Loads that keep a worker busy, and what came of them: plain sockets, since a client of its own weight would be
what is measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

import psutil

from support.gateway import Gateway
from support.processes import WORKER

PATH = "/v1/chat/completions"
REFUSALS = frozenset({400, 413, 429, 503})
"""What a request may get that is not let pass; 503 only as `too_busy`."""
_WORDS = (
    "the",
    "budget",
    "of",
    "a",
    "team",
    "is",
    "held",
    "while",
    "its",
    "request",
    "flows",
    "and",
    "settles",
)


def prompt(size: int, seed: int = 1) -> str:
    """English-like words of so many bytes."""
    choose = random.Random(seed).choice
    lot = " ".join(choose(_WORDS) for _ in range(20_000))
    return (lot * (size // len(lot) + 1))[:size]


def chat(content: str, **fields: object) -> bytes:
    """A chat request with one message."""
    body = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": content}]}
    return json.dumps({**body, **fields}).encode()


def junk(size: int) -> bytes:
    """A body of so many bytes that is all empty objects."""
    return b'{"model":"gpt-4o","messages":[' + b",".join([b"{}"] * (size // 3)) + b"]}"


@dataclass
class Seen:
    """What clients got: how often each status, and the code of each refusal; the slowest answer in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    without_retry_after: int = 0

    @property
    def passed(self) -> int:
        """Requests that were not refused."""
        return sum(n for status, n in self.statuses.items() if status not in REFUSALS)

    def add(self, status: int, head: bytes, body: bytes, took_s: float) -> None:
        """One answer."""
        self.statuses[status] += 1
        self.slowest_s = max(self.slowest_s, took_s)
        if status in REFUSALS:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self.codes[json.loads(body)["error"]["code"]] += 1
        if status == 503 and b"\r\nretry-after:" not in head.lower():
            self.without_retry_after += 1


class Client:
    """Sends requests of one team to a gateway's port."""

    def __init__(self, url: str, team: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._team = team

    def _head(self, size: int, close: bool) -> bytes:
        lines = [f"POST {PATH} HTTP/1.1", f"host: {self._host}", f"x-llm-team: {self._team}"]
        lines += ["content-type: application/json"]
        lines += [f"content-length: {size}" if size else "transfer-encoding: chunked"]
        return "\r\n".join([*lines, *(["connection: close"] if close else []), "", ""]).encode()

    async def once(self, body: bytes, seen: Seen) -> None:
        """One request on a connection of its own."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        try:
            await self._ask(reader, writer, self._head(len(body), True), body, seen)
        finally:
            writer.close()

    async def untold(self, body: bytes, seen: Seen) -> None:
        """The same without a content-length."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        try:
            chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            await self._ask(reader, writer, self._head(0, True), chunked, seen)
        finally:
            writer.close()

    async def loop(self, body: bytes, seen: Seen, until: float) -> None:
        """The next request as soon as the answer is there, until a time of the loop's clock."""
        clock = asyncio.get_running_loop().time
        while clock() < until:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while clock() < until:
                    await self._ask(reader, writer, self._head(len(body), False), body, seen)
            writer.close()

    async def small(self, seen: Seen, every_s: float, stop: asyncio.Event) -> None:
        """A small request each so often."""
        asked: list[asyncio.Task[None]] = []
        while not stop.is_set():
            asked.append(asyncio.create_task(self.once(chat("hello there"), seen)))
            await asyncio.sleep(every_s)
        await asyncio.gather(*asked)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes, seen: Seen
    ) -> None:
        began = time.perf_counter()
        writer.write(head + body)
        top = await reader.readuntil(b"\r\n\r\n")  # a refusal by the head comes while the rest is still sent
        status = int(top[9:12])
        fields = dict(x.split(b": ", 1) for x in top.lower().split(b"\r\n")[1:] if b": " in x)
        if b"content-length" in fields:
            content = await reader.readexactly(int(fields[b"content-length"]))
        else:
            content = b""
            while size := int((await reader.readline()).strip() or b"0", 16):
                content = (content + await reader.readexactly(size))[-4096:]
                await reader.readline()
            await reader.readline()
        seen.add(status, top, content, time.perf_counter() - began)


class Watched:
    """The most memory that a worker of a gateway had (bytes) while this context lasted."""

    def __init__(self, gateway: Gateway) -> None:
        self._command = gateway.command
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most_bytes = 0

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        workers = self._command.children(WORKER)
        while True:
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.most_bytes = max(self.most_bytes, worker.memory_info().rss)
            if self._stop.wait(0.02):
                return


ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
).encode()


def events(n: int) -> Iterator[bytes]:
    """A stream of so many events of one token, in pieces of a thousand."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o-2024-08-06"}
    one = json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": " a"}}]})
    lot = f"data: {one}\n\n".encode() * 1000
    for _ in range(n // 1000):
        yield lot
    end = json.dumps({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 9, "completion_tokens": n, "total_tokens": n + 9}
    last = json.dumps({**chunk, "choices": [], "usage": usage})
    yield f"data: {end}\n\ndata: {last}\n\ndata: [DONE]\n\n".encode()


class Upstream:
    """A provider in a thread: it reads bodies of any size, counts them, and answers at once: `stream` events as fast
    as they are taken, `raw` as it is, else a short answer."""

    def __init__(self) -> None:
        self.reached = 0
        self.stream = 0
        self.raw = b""
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self.url = ""

    def __enter__(self) -> Upstream:
        ready = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._server = self._loop.run_until_complete(
                asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
            )
            self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
            ready.set()
            self._loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(10)
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                fields = dict(x.split(b": ", 1) for x in head.split(b"\r\n")[1:] if b": " in x)
                if b"content-length" in fields:
                    await self._skip(reader, int(fields[b"content-length"]))
                else:
                    while size := int((await reader.readline()).strip() or b"0", 16):
                        await self._skip(reader, size + 2)
                    await reader.readline()
                self.reached += 1
                await self._answer(writer)

    @staticmethod
    async def _skip(reader: asyncio.StreamReader, left: int) -> None:
        while left:
            piece = await reader.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("the request was cut")
            left -= len(piece)

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.raw:
            writer.write(self.raw)
        elif self.stream:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            for lot in events(self.stream):
                writer.write(b"%x\r\n%s\r\n" % (len(lot), lot))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
            writer.write(head.encode() + b"%d\r\n\r\n%s" % (len(ANSWER), ANSWER))
        await writer.drain()
