"""An upstream of raw bytes, for what no decent provider does: each test says what the next answers are."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

KEPT_BYTES = 4 * 1024 * 1024


@dataclass
class Request:
    """One request as it arrived. `body` is empty where it was longer than 4 MiB."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    size: int = 0
    sha256: str = ""

    def header(self, name: str) -> str | None:
        """A header's value, None where it did not come."""
        found = [v for k, v in self.headers if k.lower() == name]
        return ", ".join(found) if found else None


Reply = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def fixed(
    body: bytes, *headers: str, status: str = "200 OK", length: int | None = None, pause_s: float = 0
) -> Reply:
    """Answer these bytes, `content-length` included (or falsified by `length`), and close after a pause."""
    size = len(body) if length is None else length
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {size}", "connection: close", *headers])

    async def reply(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + b"\r\n\r\n" + body)
        if pause_s:
            await writer.drain()
            await asyncio.sleep(pause_s)

    return reply


def pieces(
    parts: Iterable[bytes], *headers: str, end: bool = True, pause_s: float = 0.002, reset: bool = False
) -> Reply:
    """Answer a chunked stream of these pieces; without `end` it is cut, with `reset` by a TCP reset."""
    head = "\r\n".join(["HTTP/1.1 200 OK", "transfer-encoding: chunked", "connection: close", *headers])

    async def reply(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + b"\r\n\r\n")
        for part in parts:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(pause_s)
        if end:
            writer.write(b"0\r\n\r\n")
        elif reset:
            await asyncio.sleep(0.05)
            cut_off(writer)

    return reply


def cut_off(writer: asyncio.StreamWriter) -> None:
    """End the connection by a TCP reset."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def reset_at_once(_: Request, writer: asyncio.StreamWriter) -> None:
    """Answer nothing: reset."""
    cut_off(writer)


SSE = "content-type: text/event-stream"
JSON = "content-type: application/json"


class Threaded:
    """A server on a port of its own in a thread of its own; a context manager. Subclasses answer in `_client`."""

    url: str = ""

    def __enter__(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{started.result(10)}"
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=1 << 20, backlog=4096)
        started.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        raise TypeError(f"{type(self).__name__} answers nothing")


@dataclass
class RawUpstream(Threaded):
    """Runs in a thread of its own; a context manager. Set `reply`, look at `requests`."""

    reply: Reply = field(default_factory=lambda: fixed(b"{}", JSON))
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    @property
    def last(self) -> Request:
        """The last request."""
        return self.requests[-1]

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await _read(reader)
            self.requests.append(request)
            await self.reply(request, writer)
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = [(k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in head[1:] if line)]
    request = Request(method, target, headers)
    digest, kept = hashlib.sha256(), []
    async for piece in _body(reader, request):
        digest.update(piece)
        request.size += len(piece)
        if request.size <= KEPT_BYTES:
            kept.append(piece)
    request.sha256 = digest.hexdigest()
    request.body = b"".join(kept) if request.size <= KEPT_BYTES else b""
    return request


async def _body(reader: asyncio.StreamReader, request: Request):  # type: ignore[no-untyped-def]
    if "chunked" in (request.header("transfer-encoding") or ""):
        while size := int((await reader.readline()).strip(), 16):
            yield await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return
    left = int(request.header("content-length") or 0)
    while left:
        piece = await reader.read(min(left, 1 << 16))
        if not piece:
            raise ConnectionError
        left -= len(piece)
        yield piece
