"""Sends attacks as bytes over HTTP/1.1 and HTTP/2, many at once, and cares for no answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from support.attack.attacks import Attack, attack

ANSWER_S = 20.0
FRAME = 16_384


@dataclass
class Attacker:
    """Attacks `url` as `team` with so many connections at once, the attacks numbered from `first`."""

    url: str
    team: str
    first: int = 0
    connections: int = 12
    numbered: int = 0
    sent: int = 0
    """Attacks that the other side took a connection for."""
    answers: Counter[str] = field(default_factory=Counter)

    async def run(self, until: Callable[[], bool]) -> None:
        """Attack until told to stop; the calls under way are ended."""
        numbers = itertools.count(self.first + self.numbered)

        async def one_after_the_other() -> None:
            while not until():
                self.numbered += 1
                await self.send(attack(next(numbers)))

        await asyncio.gather(*(one_after_the_other() for _ in range(self.connections)))

    async def send(self, what: Attack) -> None:
        """Send one attack; what the other side does is only counted."""
        try:
            async with asyncio.timeout(ANSWER_S):
                self.answers[await (self._http2 if what.http2 else self._http1)(what)] += 1
        except ConnectionRefusedError:  # it is being started
            await asyncio.sleep(0.05)
            return
        except TimeoutError:
            self.answers["no answer"] += 1
        except (OSError, asyncio.IncompleteReadError, h2.exceptions.ProtocolError, ValueError) as problem:
            self.answers[type(problem).__name__] += 1
        self.sent += 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = urlsplit(self.url)
        return await asyncio.open_connection(address.hostname, address.port)

    def _named(self, what: Attack) -> list[tuple[str, str]]:
        fixed = [("x-llm-team", self.team), ("x-attack", what.label)]
        if not any(k == "x-llm-app" for k, _ in what.headers):
            fixed.append(("x-llm-app", "attacker"))
        return [*fixed, *what.headers]

    async def _http1(self, what: Attack) -> str:
        reader, writer = await self._connect()
        try:
            size = sum(map(len, what.pieces))
            lines = [f"{what.method} {what.target} HTTP/1.1", "host: api.example"]
            lines += [f"{k}: {v}" for k, v in self._named(what)]
            if not any(k == "connection" for k, _ in what.headers):
                lines.append("connection: close")
            lines.append("transfer-encoding: chunked" if what.chunked else f"content-length: {size}")
            writer.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n")
            if not await self._body(what, writer, size):
                return "left"
            if what.chunked:
                ends = "".join(f"{k}: {v}\r\n" for k, v in what.trailers)
                writer.write(f"0\r\n{ends}\r\n".encode())
                await writer.drain()
            if what.leave is not None:
                return "left"
            line = (await reader.readline()).split(b" ")
            await reader.read(1 << 20)
            return line[1].decode() if len(line) > 1 else "closed"
        finally:
            writer.close()

    async def _body(self, what: Attack, writer: asyncio.StreamWriter, size: int) -> bool:
        written = 0
        for piece in what.pieces:
            if what.leave is not None and what.leave < 1 and written >= size * what.leave:
                return False
            if piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if what.chunked else piece)
                written += len(piece)
                await writer.drain()
            if what.pause_s:
                await asyncio.sleep(what.pause_s)
        return what.leave is None or what.leave >= 1

    async def _http2(self, what: Attack) -> str:  # noqa: C901  # a loop over one connection's state
        reader, writer = await self._connect()
        session = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        session.initiate_connection()
        try:
            dropped = ("connection", "upgrade", "expect")
            head = [
                (":method", what.method), (":path", what.target), (":scheme", "http"), (":authority", "api.example"),
                *((k, v) for k, v in self._named(what) if k not in dropped),
            ]  # fmt: skip
            if not what.chunked:
                head.append(("content-length", str(sum(map(len, what.pieces)))))
            session.send_headers(1, head)
            writer.write(session.data_to_send())
            body = memoryview(b"".join(what.pieces))
            stop = None if what.leave is None else int(len(body) * what.leave)
            status, sent, done = "closed", 0, False
            while True:
                while not done:
                    room = min(session.local_flow_control_window(1), FRAME, len(body) - sent)
                    if stop is not None and sent >= stop:
                        session.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
                        writer.write(session.data_to_send())
                        with contextlib.suppress(ConnectionError):
                            await writer.drain()
                        return "left"
                    if sent < len(body) and room <= 0:
                        break
                    last = sent + max(0, room) >= len(body)
                    session.send_data(
                        1, bytes(body[sent : sent + room]), end_stream=last and not what.trailers
                    )
                    sent += max(0, room)
                    if last:
                        if what.trailers:
                            session.send_headers(1, what.trailers, end_stream=True)
                        done = True
                    if what.pause_s:
                        await asyncio.sleep(what.pause_s)
                writer.write(session.data_to_send())
                await writer.drain()
                data = await reader.read(65_536)
                if not data:
                    return status
                for event in session.receive_data(data):
                    match event:
                        case h2.events.ResponseReceived():
                            headers: dict[Any, Any] = dict(event.headers)
                            status = str(headers.get(":status", status))
                        case h2.events.DataReceived():
                            session.acknowledge_received_data(event.flow_controlled_length, 1)
                        case h2.events.StreamEnded() | h2.events.ConnectionTerminated():
                            return status
                        case h2.events.StreamReset():
                            return f"reset {event.error_code}" if status == "closed" else status
        finally:
            writer.close()
