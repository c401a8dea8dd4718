"""One HTTP exchange of the mock provider: the ASGI calls, and the ways to break them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from spendgate.mock.encoding import Encoder, encoder

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
NO_LINGER = struct.pack("ii", 1, 0)
EVENTS = b"text/event-stream; charset=utf-8"


class Gone(Exception):
    """The client is no longer there, or was thrown out by a reset."""


class Exchange:
    """The wire of one request."""

    def __init__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send, request_id: str
    ) -> None:
        self.method: str = scope["method"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.path: str = scope["raw_path"].decode("latin-1")
        query: bytes = scope["query_string"]
        self.query = query.decode("latin-1")
        self.target = f"{self.path}?{self.query}" if query else self.path
        self.request_id = request_id
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._encoder: Encoder | None = None

    async def body(self) -> bytes:
        """Read the whole request body. Raises Gone where the client leaves before its end."""
        pieces = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)

    @property
    def gone(self) -> bool:
        """Has the client closed the connection?"""
        return self._transport.is_closing()

    async def reset(self) -> None:
        """Cut the connection off with a TCP reset. Raises Gone."""
        open_socket = self._transport.get_extra_info("socket")
        open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._transport.abort()
        while (await self._receive())["type"] != "http.disconnect":
            continue
        raise Gone

    async def whole(self, status: int, body: bytes, content_type: bytes = JSON, encoding: str = "") -> None:
        """Answer with one body."""
        if encoding:
            packer = encoder(encoding)
            body = packer.feed(body) + packer.end()
        headers = self._head(content_type, encoding)
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, encoding: str, content_type: bytes = EVENTS) -> None:
        """Begin a stream, of events where nothing else is said."""
        self._encoder = encoder(encoding) if encoding else None
        headers = self._head(content_type, encoding)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def piece(self, raw: bytes) -> None:
        """Send a piece of the stream. Raises Gone where nobody is there to take it."""
        if self.gone:
            raise Gone
        packed = self._encoder.feed(raw) if self._encoder else raw
        await self._send({"type": "http.response.body", "body": packed, "more_body": True})
        await asyncio.sleep(0)

    async def end(self) -> None:
        """End the stream properly."""
        last = self._encoder.end() if self._encoder else b""
        await self._send({"type": "http.response.body", "body": last})

    def _head(self, content_type: bytes, encoding: str) -> list[tuple[bytes, bytes]]:
        request_id = self.request_id.encode()
        head = [(b"content-type", content_type), (b"x-request-id", request_id), (b"request-id", request_id)]
        return [*head, (b"content-encoding", encoding.encode())] if encoding else head
