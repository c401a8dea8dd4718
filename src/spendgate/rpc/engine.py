"""The port to an HTTP/2 library: bytes in, calls of a `Sink`; orders in, bytes out. Sans-io.

`ngh2` binds libnghttp2 (measured: 36 µs of CPU for an exchange of four messages, of which grpc.aio takes 390); `h2` is
pure Python (about 180) and runs where `ngh2` has no wheel.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from spendgate.rpc.limits import Limits

Headers = Sequence[tuple[bytes, bytes]]
Name = Literal["ngh2", "h2"]

NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x7, 0x8, 0xB
"""Error codes of HTTP/2: RFC 9113, section 7."""
LAST_STREAM = 2**31 - 1
MAX_WINDOW = 2**31 - 1


class Broken(Exception):
    """The peer broke the protocol, or a limit: the connection is over once the output is written."""


class Sink(Protocol):
    """What an engine tells of its peer."""

    def on_headers(self, stream_id: int, headers: Headers, ended: bool) -> None:
        """A call begins."""

    def on_data(self, stream_id: int, data: bytes, owed: int, ended: bool) -> None:
        """A piece; `owed` bytes are to be acknowledged, or the window stays closed by them."""

    def on_end(self, stream_id: int) -> None:
        """The peer's half is over (by trailers)."""

    def on_closed(self, stream_id: int) -> None:
        """The stream is over: both halves ended, or one side reset it. Told once at most."""


class Engine(Protocol):
    """One connection. Orders about a stream that is over are left aside: it may have been reset in the same read."""

    is_over: bool
    """Nothing more comes or goes: by a GOAWAY of either side, and the last stream's end."""

    def receive(self, data: bytes) -> None:
        """Take what came. Raises Broken."""
        ...

    def output(self) -> bytes:
        """What is to be written now; b"" where nothing is. Raises Broken."""
        ...

    def respond(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """Send the headers of the answer."""
        ...

    def send(self, stream_id: int, data: bytes) -> None:
        """Send a piece of the answer as soon as the peer takes it."""
        ...

    def trailers(self, stream_id: int, headers: Headers) -> None:
        """End the answer after what is still to be sent."""
        ...

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream at once."""
        ...

    def acknowledge(self, stream_id: int, owed: int) -> None:
        """So many bytes of the stream are dealt with: its window opens again by them."""
        ...

    def unsent(self, stream_id: int) -> int:
        """Bytes of replies that the peer did not take yet."""
        ...

    def ping(self) -> None:
        """Ask for a sign of life: any answer comes as bytes."""
        ...

    def notice(self) -> None:
        """Say that the connection is going to end, with calls that are on their way still taken (GOAWAY)."""
        ...

    def go_away(self, code: int = NO_ERROR) -> None:
        """Say that no further call is taken; those that were go on."""
        ...


Factory = Callable[[Sink, Limits], Engine]


def has_ngh2() -> bool:
    """Is libnghttp2 to be had here?"""
    return importlib.util.find_spec("ngh2") is not None


def factory(name: Name) -> Factory:
    """The engine of this name. Raises ImportError where its library is not installed."""
    if name == "ngh2":
        from spendgate.rpc.ngh2_engine import Ngh2Engine

        return Ngh2Engine
    from spendgate.rpc.h2_engine import H2Engine

    return H2Engine
