"""HTTP/2 by h2, in pure Python: https://python-hyper.org/projects/h2/. For platforms without a wheel of ngh2.

h2 neither queues what the peer's windows keep back, nor bounds a peer that resets, pings or sends frames without sense;
both are here.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

from spendgate.rpc.engine import LAST_STREAM, MAX_WINDOW, NO_ERROR, Broken, Headers, Sink
from spendgate.rpc.limits import Limits
from spendgate.token_bucket import TokenBucket

PING = b"spendgat"
_FIRST_WINDOW = 65_535


class _Sending:
    """What is still to be sent on one stream."""

    __slots__ = ("pieces", "size", "trailers")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.trailers: Headers | None = None


class _Connection(H2Connection):
    """For h2 a GOAWAY of the peer ends all that is open; RFC 9113, section 6.8: the peer only begins no more calls."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        return [], [ConnectionTerminated()]


class H2Engine:
    """One connection by h2."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self.is_over = False
        self._sink = sink
        self._limits = limits
        now_s = time.monotonic()
        self._resets = TokenBucket(*limits.resets, now_s)
        self._glitches = TokenBucket(*limits.glitches, now_s)
        self._answers = 0
        self._leaving = False
        self._last_seen = 0
        self._sending: dict[int, _Sending] = {}
        self._ready: dict[int, None] = {}
        """Streams with something to send."""
        self._h2 = _Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.window_bytes,
                SettingCodes.MAX_FRAME_SIZE: limits.frame_bytes,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            },
        )
        self._h2.max_inbound_frame_size = limits.frame_bytes
        self._h2.decoder.max_header_list_size = limits.header_bytes
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(MAX_WINDOW - _FIRST_WINDOW)

    def receive(self, data: bytes) -> None:
        """See Engine."""
        try:
            events = self._h2.receive_data(data)
        except (
            ProtocolError,
            ValueError,
            IndexError,
            KeyError,
        ) as problem:  # h2 lets some of its parsers' faults out
            raise Broken(f"{type(problem).__name__}: {problem}") from problem
        for event in events:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        sink = self._sink
        match event:
            case DataReceived():
                assert event.stream_id is not None
                if not event.data and event.stream_ended is None:
                    self._bear(self._glitches, "empty frames")
                owed = event.flow_controlled_length or 0
                sink.on_data(event.stream_id, event.data or b"", owed, event.stream_ended is not None)
            case RequestReceived():
                assert event.stream_id is not None
                self._begun(event.stream_id, event.headers or [], event.stream_ended is not None)
            case StreamReset():
                assert event.stream_id is not None
                self._bear(self._resets, "resets")
                self._closed(event.stream_id)
            case TrailersReceived():
                assert event.stream_id is not None
                sink.on_end(event.stream_id)
            case StreamEnded():
                self._maybe_closed(event.stream_id)
            case WindowUpdated():
                self._ready.update(dict.fromkeys([event.stream_id] if event.stream_id else self._sending))
            case RemoteSettingsChanged():
                self._answer("SETTINGS")
                self._ready.update(dict.fromkeys(self._sending))
            case PingReceived():
                self._answer("PING")
            case PriorityUpdated():
                self._bear(self._glitches, "priorities")
            case ConnectionTerminated():
                self._leaving = True

    def _begun(self, stream_id: int, headers: Headers, ended: bool) -> None:
        self._last_seen = max(self._last_seen, stream_id)
        if len(headers) > self._limits.header_count:
            raise Broken(f"{len(headers)} headers")
        self._sending[stream_id] = _Sending()
        self._sink.on_headers(stream_id, headers, ended)

    def _bear(self, bucket: TokenBucket, what: str) -> None:
        if not bucket.take(time.monotonic()):
            raise Broken(f"too many {what}")

    def _answer(self, what: str) -> None:
        self._answers += 1
        if self._answers > self._limits.acknowledgements:
            raise Broken(f"too many {what} frames that wait for their answer")

    def output(self) -> bytes:
        """See Engine."""
        while self._ready:
            stream_id, _ = self._ready.popitem()
            self._push(stream_id)
        out = self._h2.data_to_send()
        self._answers = 0
        if self._leaving and not self._sending:
            self.is_over = True
        return out

    def _push(self, stream_id: int) -> None:
        """Send of a stream what its windows let through."""
        sending = self._sending.get(stream_id)
        if sending is None:
            return
        h2 = self._h2
        try:
            while sending.pieces:
                room = min(h2.local_flow_control_window(stream_id), h2.max_outbound_frame_size)
                if room <= 0:
                    return
                piece = sending.pieces.popleft()
                if len(piece) > room:
                    sending.pieces.appendleft(piece[room:])
                    piece = piece[:room]
                h2.send_data(stream_id, piece)
                sending.size -= len(piece)
            if sending.trailers is not None:
                h2.send_headers(stream_id, sending.trailers, end_stream=True)
                sending.trailers = None
                self._maybe_closed(stream_id)
        except H2Error:
            self._closed(stream_id)  # the peer reset it

    def respond(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """See Engine."""
        if stream_id not in self._sending:
            return
        try:
            self._h2.send_headers(stream_id, headers, end_stream=end)
        except H2Error:
            return
        if end:
            self._maybe_closed(stream_id)

    def send(self, stream_id: int, data: bytes) -> None:
        """See Engine."""
        sending = self._sending.get(stream_id)
        if sending is not None:
            sending.pieces.append(data)
            sending.size += len(data)
            self._ready[stream_id] = None

    def trailers(self, stream_id: int, headers: Headers) -> None:
        """See Engine."""
        sending = self._sending.get(stream_id)
        if sending is not None:
            sending.trailers = headers
            self._ready[stream_id] = None

    def reset(self, stream_id: int, code: int) -> None:
        """See Engine."""
        if stream_id not in self._sending:
            return
        with contextlib.suppress(H2Error):
            self._h2.reset_stream(stream_id, code)
        self._closed(stream_id)

    def acknowledge(self, stream_id: int, owed: int) -> None:
        """See Engine."""
        try:
            self._h2.acknowledge_received_data(owed, stream_id)
        except H2Error:
            return

    def unsent(self, stream_id: int) -> int:
        """See Engine."""
        sending = self._sending.get(stream_id)
        return sending.size if sending is not None else 0

    def ping(self) -> None:
        """See Engine."""
        self._h2.ping(PING)

    def notice(self) -> None:
        """See Engine. h2's own GOAWAY would end its connection at once, with all calls."""
        self._write(GoAwayFrame(0, last_stream_id=LAST_STREAM, error_code=NO_ERROR))

    def go_away(self, code: int = NO_ERROR) -> None:
        """See Engine."""
        self._leaving = True
        self._write(GoAwayFrame(0, last_stream_id=self._last_seen, error_code=code))

    def _write(self, frame: GoAwayFrame) -> None:
        self._h2._data_to_send += frame.serialize()

    def _maybe_closed(self, stream_id: int | None) -> None:
        """Is the stream over by both halves' ends?"""
        if stream_id is None:
            return
        stream = self._h2.streams.get(stream_id)
        if stream is None or stream.closed:
            self._closed(stream_id)

    def _closed(self, stream_id: int) -> None:
        if self._sending.pop(stream_id, None) is not None:
            self._ready.pop(stream_id, None)
            self._sink.on_closed(stream_id)
