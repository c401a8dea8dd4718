"""One call on the wire, as its service sees it, and what a service makes of it. Sans-io."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from spendgate.rpc.engine import Headers
from spendgate.rpc.limits import Limits
from spendgate.rpc.load import Load
from spendgate.rpc.messages import Messages, framed
from spendgate.rpc.status import Code, Fault, percent_encoded

log = structlog.get_logger()

Message = bytes | memoryview
_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_OK = [(b"grpc-status", b"0")]


class Handler(Protocol):
    """A service's side of one call. Messages come one after the other."""

    def message(self, message: Message) -> bool:
        """The peer's next message; a view is to be read before this returns. True: it is answered later, and
        `Call.ready` then says so; the next message waits until then."""
        ...

    def half_closed(self) -> None:
        """The peer sends no more, and all of its messages had their turn."""
        ...

    def lost(self) -> None:
        """The call ended, and not by `finish` of this service: nobody hears an answer any more. Told once at most."""
        ...


class Wire(Protocol):
    """What a call needs of its connection."""

    limits: Limits
    load: Load

    def respond(self, call: Call, headers: Headers, *, end: bool = False) -> None: ...

    def send(self, call: Call, piece: bytes) -> None: ...

    def trailers(self, call: Call, headers: Headers) -> None: ...

    def unsent(self, call: Call) -> int: ...

    def block(self, call: Call) -> None:
        """Call `pump` when the peer has taken replies."""

    def acknowledge(self, call: Call) -> None:
        """The peer may send what `owed` says."""


class Call:
    """One call. What its service fails at ends it, and no other."""

    __slots__ = (
        "_began", "_busy", "_held", "_is_postponed", "_messages", "_queue", "_sent", "_told", "_waiting", "_wire",
        "handler", "has_failed", "headers", "id", "is_over", "owed", "peer_ended",
    )  # fmt: skip

    def __init__(self, wire: Wire, stream_id: int, headers: Headers, ended: bool) -> None:
        """`ended`: the peer's half is over with its headers."""
        self._wire = wire
        self._messages = Messages(wire.limits.message_bytes)
        self._queue: deque[tuple[Message, float]] = deque()
        """Messages that wait, and since when."""
        self._waiting = self._held = self._sent = 0
        self._began = self._busy = self._told = self._is_postponed = False
        self.id = stream_id
        self.headers = headers
        self.handler: Handler | None = None
        self.is_over = False
        """Finished by us, or lost."""
        self.has_failed = False
        """Finished by us with an error: the peer has no answer to what it waits with."""
        self.peer_ended = ended
        self.owed = 0
        """Bytes that are not acknowledged yet."""

    @property
    def metadata(self) -> Iterator[tuple[str, str]]:
        """The call's headers as text, HTTP/2's own left out."""
        for key, value in self.headers:
            if not key.startswith(b":"):
                yield key.decode("ascii", "replace"), value.decode("utf-8", "replace")

    def metadata_of(self, names: frozenset[bytes]) -> tuple[tuple[str, str], ...]:
        """The headers of these names alone."""
        found = [(key, value) for key, value in self.headers if key in names]
        return tuple([(k.decode("ascii", "replace"), v.decode("utf-8", "replace")) for k, v in found])

    # -- what the service orders ----------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message; nothing where the call is over."""
        if self.is_over:
            return
        wire = self._wire
        if not self._began:
            self._began = True
            wire.respond(self, _HEAD)
        for piece in framed(message):
            self._sent += len(piece)
            wire.send(self, piece)

    def finish(self, code: int = Code.OK, message: str = "") -> None:
        """End the call with a status; nothing where it is over."""
        if self.is_over:
            return
        self._end()
        self.has_failed = code != Code.OK
        status = _OK
        if code != Code.OK or message:
            status = [(b"grpc-status", b"%d" % code)]
            if message:
                status.append((b"grpc-message", percent_encoded(message)))
        if self._began:
            self._wire.trailers(self, status)
        else:
            self._wire.respond(self, [*_HEAD, *status], end=True)

    def broke(self, problem: BaseException) -> None:
        """End the call after a fault of the service's own."""
        log.error("call_failed", error=f"{type(problem).__name__}: {problem}", exc_info=problem)
        self.finish(Code.UNKNOWN, "internal fault")

    def ready(self) -> None:
        """The last message is dealt with: the next, please."""
        self._busy = False
        self.pump()

    # -- what the connection tells --------------------------------------------------------------------------

    def begin(self, method: Method) -> None:
        """The service takes the call."""
        try:
            self.handler = method(self)
        except Exception as problem:  # noqa: BLE001  one call's fault is no other's
            self.broke(problem)
        if self.peer_ended:
            self.pump()

    def data(self, data: bytes) -> None:
        """A piece of the peer's messages."""
        messages, load = self._messages, self._wire.load
        try:
            found = messages.feed(data)
        except Fault as fault:
            self.fail(fault.code, fault.message)
            return
        for message in found:
            if self._busy or self._queue or load.is_spent or self._is_clogged:
                self._queue.append((bytes(message), load.clock()))
                self._waiting += len(message)
                continue
            self._give(message)
            if self.is_over:
                return
        if self._queue and not self._busy and not self._is_postponed:
            self._is_postponed = True
            load.postpone(self)
        if (messages.held or self._waiting or self._held) and not self._hold(messages.held + self._waiting):
            self.fail(Code.RESOURCE_EXHAUSTED, "too many bytes of messages wait here")

    def resume(self) -> None:
        """See Waiting."""
        self._is_postponed = False
        self.pump()

    def ended(self) -> None:
        """The peer sends no more."""
        self.peer_ended = True
        if self.is_over:
            return
        if self._messages.held:
            self.fail(Code.INTERNAL, "the call ended within a message")
        elif not self._is_postponed:
            self.pump()

    def fail(self, code: int, message: str) -> None:
        """End the call for the peer's sake."""
        if not self.is_over:
            handler = self.handler
            self.finish(code, message)
            self._tell_lost(handler)

    def lost(self) -> None:
        """The stream is over. Its service, which knows it, is let go: no cycle is left to the collector."""
        if not self.is_over:
            self._end()
            self._tell_lost(self.handler)
        self.handler = None

    def pump(self) -> None:
        """Give the service what waits for it."""
        queue, wire = self._queue, self._wire
        while queue and not self._busy and not self.is_over:
            if self._is_clogged:
                wire.block(self)
                break
            message, since = queue.popleft()
            self._waiting -= len(message)
            wire.load.waited(wire.load.clock() - since)
            self._give(message)
        if self.is_over:
            return
        if self._held:
            self._hold(self._messages.held + self._waiting)
        if self.owed and self.is_light:
            wire.acknowledge(self)
        if self.peer_ended and not queue and not self._busy and not self._told:
            self._told = True
            assert self.handler is not None
            self._guarded(self.handler.half_closed)

    @property
    def _is_clogged(self) -> bool:
        """Does the peer leave so much of what was sent lie that it is told no more?"""
        most = self._wire.limits.unsent_bytes
        return self._sent > most and self._wire.unsent(self) > most

    @property
    def is_light(self) -> bool:
        """Do so few bytes wait for their turn that the peer may send more?"""
        return self._waiting <= self._wire.limits.backlog_bytes

    def _give(self, message: Message) -> None:
        handler = self.handler
        assert handler is not None
        try:
            self._busy = handler.message(message)
        except Exception as problem:  # noqa: BLE001  one call's fault is no other's
            self._busy = False
            self._failed(problem)

    def _guarded(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as problem:  # noqa: BLE001  as above
            self._failed(problem)

    def _failed(self, problem: Exception) -> None:
        """The service failed: it is told that its call is lost, if it was not over."""
        is_open, handler = not self.is_over, self.handler
        self.broke(problem)
        if is_open:
            self._tell_lost(handler)

    # -- the end --------------------------------------------------------------------------------------------

    def _hold(self, size: int) -> bool:
        load = self._wire.load
        load.held_bytes += size - self._held
        self._held = size
        return load.held_bytes <= self._wire.limits.buffered_bytes

    def _end(self) -> None:
        self.is_over = True
        self._queue.clear()
        self._waiting = 0
        if self._held:
            self._messages = Messages(0)
            self._hold(0)

    def _tell_lost(self, handler: Handler | None) -> None:
        """`handler`: whose call it was; with the end of its stream it is let go."""
        if handler is not None:
            self._guarded(handler.lost)


Method = Callable[[Call], Handler]
"""Takes a call of one path."""
