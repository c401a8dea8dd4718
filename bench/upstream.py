"""The provider of the bench: a fixed JSON answer with usage, or an event stream of N chunks every D ms."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

ANSWER = (
    b'{"id":"b","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"ok"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}'
)
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(data: bytes) -> bytes:
    """One chunk of an event stream."""
    line = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


DELTA = event(
    b'{"id":"b","model":"gpt-4o","choices":[{"index":0,"delta":{"content":" token"}}],"usage":null}'
)
USAGE = event(
    b'{"id":"b","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":300,"total_tokens":309}}'
)
END = event(b"[DONE]") + b"0\r\n\r\n"
STREAMED = b'"stream":true'
ENDS = 200
"""Bytes at either end of a body in which a stream is asked for."""


class Provider(asyncio.Protocol):
    """One connection: requests one after the other. It takes little of the machine that is measured: of a long body
    only the ends are kept."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = -1
        """Bytes of the body that have not come; below zero: its head has not."""
        self._first = self._last = b""
        self._streaming: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head.lower() if end else head
            if not end:
                return
            at = self._head.find(b"content-length:")
            self._missing = int(self._head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._first = self._last = b""
        self._missing -= len(data)
        if len(self._first) < ENDS:
            self._first += data[:ENDS]
        self._last = (self._last + data[-ENDS:])[-ENDS:]
        if self._missing <= 0:
            self._answer()
            self._head, self._missing = b"", -1

    def _answer(self) -> None:
        if STREAMED in self._first or STREAMED in self._last:
            self._streaming = asyncio.get_running_loop().create_task(self._stream(self._head))
        else:
            self._transport.write(JSON)

    async def _stream(self, head: bytes) -> None:
        at = head.find(b"x-bench-chunks:")
        chunks, delay_ms = 300, 5.0
        if at >= 0:
            first, _, second = head[at + 15 :].split(b"\r\n", 1)[0].partition(b"/")
            chunks, delay_ms = int(first), float(second or 0)
        write = self._transport.write
        write(HEAD)
        for _ in range(chunks):
            if self._transport.is_closing():
                return
            write(DELTA)
            await self._writable.wait()
            if delay_ms:
                await asyncio.sleep(delay_ms / 1000)
        write(USAGE + END)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
