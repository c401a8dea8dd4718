"""HTTP/2 by libnghttp2: https://ngh2.readthedocs.io, https://nghttp2.org/documentation/."""

from __future__ import annotations

from collections.abc import Callable

from ngh2 import Configuration, Connection, Role
from ngh2.events import (
    ConnectionClosed,
    DataReceived,
    RequestReceived,
    StreamClosed,
    TrailersReceived,
)
from ngh2.exceptions import NGH2Error, StreamProtocolError

from spendgate.rpc.engine import MAX_WINDOW, NO_ERROR, Broken, Headers, Sink
from spendgate.rpc.limits import Limits

_STREAMS, _WINDOW, _FRAME, _HEADERS = 0x3, 0x4, 0x5, 0x6


class Ngh2Engine:
    """One connection by libnghttp2, which itself bounds headers, continuations, resets, acknowledgements and frames
    without sense."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self._sink = sink
        self.is_over = False
        self._h2 = Connection(
            Role.SERVER,
            Configuration(
                auto_window_update=False,
                max_outbound_ack=limits.acknowledgements,
                max_continuations=limits.continuations,
                max_inbound_header_list_size=limits.header_bytes,
                max_inbound_header_count=limits.header_count,
                # the default of 1,000 and then 33 a second is passed by an Envoy that resets each call at its end
                stream_reset_rate_limit=limits.resets,
                glitch_rate_limit=limits.glitches,
            ),
        )
        self._h2.initiate_connection(
            {
                _STREAMS: limits.streams,
                _WINDOW: limits.window_bytes,
                _FRAME: limits.frame_bytes,
                _HEADERS: limits.header_bytes,
            }
        )
        self._h2.set_local_window_size(MAX_WINDOW)

    def receive(self, data: bytes) -> None:
        """See Engine."""
        try:
            self._h2.receive_data(data)
        except NGH2Error as problem:
            self._tell()  # what came before it
            raise Broken(str(problem)) from problem
        self._tell()

    def _tell(self) -> None:
        sink = self._sink
        for event in self._h2.events():
            if isinstance(event, DataReceived):
                data = event.data
                sink.on_data(event.stream_id, data, len(data), event.end_stream)
            elif isinstance(event, RequestReceived):
                sink.on_headers(event.stream_id, event.headers, event.end_stream)
            elif isinstance(event, StreamClosed):
                sink.on_closed(event.stream_id)
            elif isinstance(event, TrailersReceived):
                sink.on_end(event.stream_id)
            elif isinstance(event, ConnectionClosed):
                self.is_over = True

    def output(self) -> bytes:
        """See Engine."""
        try:
            out: bytes = self._h2.data_to_send()
        except NGH2Error as problem:
            raise Broken(str(problem)) from problem
        self._tell()
        return out

    def respond(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """See Engine."""
        try:
            self._h2.send_response(stream_id, headers, end_stream=end)
        except NGH2Error as problem:
            self._bear(problem)

    def send(self, stream_id: int, data: bytes) -> None:
        """See Engine."""
        try:
            self._h2.send_data(stream_id, data)
        except NGH2Error as problem:
            self._bear(problem)

    def trailers(self, stream_id: int, headers: Headers) -> None:
        """See Engine."""
        try:
            self._h2.send_trailers(stream_id, headers)
        except NGH2Error as problem:
            self._bear(problem)

    def reset(self, stream_id: int, code: int) -> None:
        """See Engine."""
        try:
            self._h2.reset_stream(stream_id, code)
        except NGH2Error as problem:
            self._bear(problem)

    def acknowledge(self, stream_id: int, owed: int) -> None:
        """See Engine."""
        try:
            self._h2.acknowledge_received_data(owed, stream_id)
        except NGH2Error as problem:
            self._bear(problem)

    def _bear(self, problem: NGH2Error) -> None:
        """A stream that is over takes no order; all of a connection that is over are."""
        if not isinstance(problem, StreamProtocolError):
            self.is_over = True

    def unsent(self, stream_id: int) -> int:
        """See Engine."""
        size: int = self._h2.queued_body_size(stream_id)
        return size

    def ping(self) -> None:
        """See Engine."""
        self._order(self._h2.ping)

    def notice(self) -> None:
        """See Engine."""
        self._order(self._h2.send_shutdown_notice)

    def go_away(self, code: int = NO_ERROR) -> None:
        """See Engine."""
        self._order(lambda: self._h2.send_goaway(code))

    def _order(self, order: Callable[[], None]) -> None:
        try:
            order()
        except NGH2Error as problem:
            self._bear(problem)
