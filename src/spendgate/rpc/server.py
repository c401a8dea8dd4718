"""The server on asyncio: sockets, timers, the end. All else is in `connection.py`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import structlog

from spendgate.rpc.call import Call, Handler, Method
from spendgate.rpc.connection import Connection
from spendgate.rpc.engine import Name, factory
from spendgate.rpc.limits import Limits
from spendgate.rpc.load import Load
from spendgate.rpc.servicer import ServicerCall
from spendgate.tasks import cancel_and_wait

log = structlog.get_logger()

LOOK_S = 1.0
NOTICE_S = 0.1
"""Between the notice of an end and the end of new calls: those that were on their way have come by then."""
BACKLOG = 1024
"""Connections that wait to be accepted."""
UNWRITTEN_BYTES = 1024 * 1024
"""Above so many bytes that the peer does not read, nothing of its own is read either."""


class _Peer(asyncio.Protocol):
    """One connection's socket."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self._is_paused = self._is_stirred = False
        self._timer: tuple[float, asyncio.TimerHandle] | None = None
        self.connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of it
        if not self._server.admit(self):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(UNWRITTEN_BYTES)
        self.connection = self._server.connect(self._stir)
        self._flush()

    def data_received(self, data: bytes) -> None:
        connection = self.connection
        if connection is not None:
            connection.receive(data)
            self._stir()  # what other events of this turn make is written with it: a system call is dear

    def eof_received(self) -> bool:
        return False  # Envoy never closes its half alone

    def pause_writing(self) -> None:
        self._is_paused = True
        assert self._transport is not None
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_paused = False
        assert self._transport is not None
        self._transport.resume_reading()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer[1].cancel()
        if self.connection is not None:
            self.connection.lost()
        self._server.leave(self)

    def _stir(self) -> None:
        if not self._is_stirred:
            self._is_stirred = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_stirred = False
        connection, transport = self.connection, self._transport
        assert connection is not None and transport is not None
        if self._is_paused or transport.is_closing():
            return
        while out := connection.output():
            transport.write(out)
            if self._is_paused:  # set by write
                return
        if connection.is_over:
            if connection.broken is not None:
                log.info("connection_broken", why=str(connection.broken))
            transport.close()
            return
        at = connection.next_deadline()
        if at is not None:
            self._arm(connection, at)

    def _arm(self, connection: Connection, at: float) -> None:
        if self._timer is not None:
            if self._timer[0] <= at:
                return
            self._timer[1].cancel()
        self._timer = (at, self._loop.call_later(at - time.monotonic(), self._expire, connection))

    def _expire(self, connection: Connection) -> None:
        self._timer = None
        connection.expire(time.monotonic())
        self._flush()

    def look(self, now_s: float) -> None:
        """Is the peer there? One that is not, or that does not read what it is told, is let go."""
        if self.connection is None or self._transport is None:
            return
        self.connection.look(now_s)
        if self.connection.broken is not None:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def sockets_of(address: str) -> list[socket.socket]:
    """Bound sockets of HOST:PORT (all addresses of the host) or unix:PATH. Raises OSError."""
    if address.startswith("unix:"):
        one = socket.socket(socket.AF_UNIX)
        one.bind(address.removeprefix("unix:"))
        return [one]
    host, _, port = address.rpartition(":")
    places = socket.getaddrinfo(
        host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in dict.fromkeys(places):
            bound.append(socket.socket(family, kind, protocol))
            bound[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # `::` is all addresses, those of IPv4 too
                bound[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place[0] != "::"))
            bound[-1].bind(place)
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


class Server:
    """Services on one or more addresses; used as grpc.aio's server is."""

    def __init__(self, engine: Name, limits: Limits | None = None) -> None:
        """To be made in a running loop. Raises ImportError where the engine's library is not installed."""
        self.loop = asyncio.get_running_loop()
        self.load = Load(time.monotonic, self._wake)
        self.limits = limits or Limits()
        self._engine = factory(engine)
        self._lenient = factory("h2") if engine == "ngh2" else None
        self._methods: dict[bytes, Method] = {}
        self._sockets: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []
        self._peers: set[_Peer] = set()
        self._looking: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    # -- services -------------------------------------------------------------------------------------------

    def add_method(self, path: str, method: Method) -> None:
        """Calls of this path (`/package.Service/Method`) go there."""
        self._methods[path.encode()] = method

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """For generated code, which names all methods by `add_registered_method_handlers`, too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """For generated code (`add_…Servicer_to_server`): services written for grpc.aio."""
        for name, handler in handlers.items():
            self.add_method(f"/{service}/{name}", partial(self._servicer, handler))

    def _servicer(self, method: Any, call: Call) -> Handler:
        return ServicerCall(call, method, self.loop)

    # -- sockets --------------------------------------------------------------------------------------------

    def bind(self, address: str) -> None:
        """Take HOST:PORT or unix:PATH; nobody is answered before `start`. Raises OSError."""
        self._sockets += sockets_of(address)

    async def start(self) -> None:
        """Accept connections."""
        for one in self._sockets:
            make = self.loop.create_unix_server if one.family == socket.AF_UNIX else self.loop.create_server
            self._listeners.append(await make(lambda: _Peer(self), sock=one, backlog=BACKLOG))
        self._looking = self.loop.create_task(self._look_forever())

    @property
    def ports(self) -> list[int]:
        """The TCP ports that are listened on."""
        return [s.getsockname()[1] for s in self._sockets if s.family != socket.AF_UNIX]

    def admit(self, peer: _Peer) -> bool:
        """A connection came. False: there are too many."""
        self._peers.add(peer)
        self._idle.clear()
        return len(self._peers) <= self.limits.connections

    def connect(self, wake: Any) -> Connection:
        """The protocol of a new connection."""
        return Connection(self._methods, self._engine, self.limits, self.load, wake, self._lenient)

    def leave(self, peer: _Peer) -> None:
        """A connection is gone."""
        self._peers.discard(peer)
        if not self._peers:
            self._idle.set()

    def _wake(self) -> None:
        self.loop.call_soon(self.load.work)

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = time.monotonic()
            for peer in list(self._peers):
                peer.look(now_s)

    # -- the end --------------------------------------------------------------------------------------------

    async def stop(self, grace_s: float | None) -> None:
        """Take no new calls, let those that are open live for so long, then cancel them. Without a grace: now, also
        where another `stop` waits."""
        for listener in self._listeners:
            listener.close()
        if grace_s:
            self._each(Connection.notice)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await asyncio.sleep(NOTICE_S)
                    self._each(Connection.go_away)
                    await self._idle.wait()
        self._each(Connection.cancel)
        await asyncio.sleep(0)  # handlers hear of it, and what is to be said is written
        for peer in list(self._peers):
            peer.abort()
        await self._idle.wait()
        if self._looking is not None:
            await cancel_and_wait(self._looking)

    def _each(self, order: Any) -> None:
        for peer in list(self._peers):
            if peer.connection is not None:
                order(peer.connection)
