"""Framing of server-sent events over byte pieces of any size, by their exact bytes.

The format is the WHATWG HTML standard's `text/event-stream` (section "Server-sent events"): lines end with
CR, LF or CRLF, an empty line ends an event, a leading byte order mark is skipped, `:` starts a comment.
The stream is cut into segments that together are the stream, byte for byte, however it came in pieces; so a
reader may pass or drop an event and leave all else as it was.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from spendgate.dialects.wire.elide import Elider

EVENT_BYTES_MAX = 8 * 1024 * 1024
"""A longer event is passed on as it flows, and read without what fills it (`elide`), so that memory stays bounded."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n?|\n")


class Segment(NamedTuple):
    """A run of the stream's bytes: one event, or bytes between events (then `data` is None)."""

    raw: bytes
    data: bytes | None = None
    """The event's data, its lines joined by LF."""
    name: bytes = b""
    tail: bool = False
    """The LF of a CRLF that was split across pieces: it shares the fate of the segment before it."""
    oversize: bool = False
    """Part of an event above the limit; its last part has what is kept of the data, unless that is above it, too."""
    lost: bool = False
    """It ends an oversize event of which not even an outline could be kept."""
    unterminated: bool = False
    """The stream ended inside this event; a client that keeps to the standard never sees it."""


class Framer:
    """Cuts one stream into segments. `feed` pieces, then `close` once."""

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._held = bytearray()
        self._line_start = 0
        self._scanned = 0
        self._after_cr = False
        self._first_line = True
        self._skipping = False
        self._line_has_bytes = False
        self._elider: Elider | None = None
        self._outline = bytearray()

    @property
    def held(self) -> int:
        """How many bytes of an unfinished event are held."""
        return len(self._held)

    def looks_whole(self) -> bytes:
        """What is held, where only the line's end or the blank line may be missing of it; else b""."""
        return bytes(self._held) if self._held[-4:].rstrip().endswith((b"}", b"]")) else b""

    def feed(self, piece: bytes) -> list[Segment]:
        """Take a piece. Returns the segments that are whole now."""
        segments: list[Segment] = []
        if not piece:
            return segments
        if self._plain() and b"\r" not in piece:
            *parts, rest = piece.split(b"\n\n")
            for part in parts:
                raw = part + b"\n\n"
                data, name = _quick_fields(part)
                if data is not None and len(part) < self._event_bytes_max:
                    segments.append(Segment(raw, data, name))
                else:
                    self._scan(raw, segments)
            if rest:
                self._scan(rest, segments)
            return segments
        if self._after_cr:
            self._after_cr = False
            if piece[:1] == b"\n":
                piece = piece[1:]
                self._take_split_lf(segments)
        self._scan(piece, segments)
        return segments

    def close(self) -> list[Segment]:
        """End the stream. Returns what was held, as an unterminated event."""
        if self._skipping:  # the end of the stream ends an oversize event, too
            self._skipping = False
            return [self._outlined(b"")]
        if not self._held:
            return []
        raw = bytes(self._held)
        self._reset()
        data, name = _fields(raw, self._first_line)
        return [Segment(raw, data, name, unterminated=True)]

    def _plain(self) -> bool:
        """Nothing is held and the next byte starts a line."""
        return not (self._held or self._after_cr or self._first_line or self._skipping)

    def _take_split_lf(self, segments: list[Segment]) -> None:
        if self._held:
            self._held += b"\n"
            self._line_start = self._scanned = len(self._held)
        else:
            segments.append(Segment(b"\n", tail=True, oversize=self._skipping))

    def _scan(self, piece: bytes, segments: list[Segment]) -> None:
        """Add bytes and cut off every segment that became whole."""
        if self._skipping:
            piece = self._skip(piece, segments)
            if not piece:
                return
        held = self._held
        held += piece
        start = 0
        while (end := _LINE_END.search(held, self._scanned)) is not None:
            line_start, line_end = self._line_start, end.start()
            self._line_start = self._scanned = end.end()
            whole = line_end == line_start or (self._first_line and held[:line_end] == _BOM)
            comment = line_start == start and held[line_start : line_start + 1] == b":"
            if whole or comment:
                raw = bytes(memoryview(held)[start : end.end()])
                segments.append(self._segment(raw, line_start - start))
                start = end.end()
            if end.end() == len(held) and held[-1] == 0x0D:
                self._after_cr = True
            if start == end.end():
                self._first_line = False
        if start:
            del held[:start]
            self._line_start -= start
        self._scanned = len(held)
        if len(held) > self._event_bytes_max:
            self._line_has_bytes = len(held) > self._line_start
            self._elider = Elider()
            self._keep(bytes(held))
            segments.append(Segment(bytes(held), oversize=True))
            self._reset()
            self._skipping = True

    def _segment(self, raw: bytes, size: int) -> Segment:
        """`size` leaves out the last line, whose CRLF may still be on its way."""
        if size > self._event_bytes_max:
            return Segment(raw, oversize=True)
        data, name = _fields(raw, self._first_line)
        return Segment(raw, data, name)

    def _skip(self, piece: bytes, segments: list[Segment]) -> bytes:
        """Pass the rest of an oversize event. Returns what comes after it."""
        position = 0
        for end in _LINE_END.finditer(piece):
            if end.start() > position:
                self._line_has_bytes = True
            blank = not self._line_has_bytes
            position = end.end()
            self._line_has_bytes = False
            self._after_cr = position == len(piece) and piece[-1] == 0x0D
            if blank:
                self._skipping = False
                self._keep(piece[:position])
                segments.append(self._outlined(piece[:position]))
                return piece[position:]
        if position < len(piece):
            self._line_has_bytes = True
        self._keep(piece)
        segments.append(Segment(piece, oversize=True))
        return b""

    def _keep(self, piece: bytes) -> None:
        """Keep the outline of an oversize event."""
        if self._elider is not None:
            self._outline += self._elider.feed(piece)
            if len(self._outline) > self._event_bytes_max:
                self._elider, self._outline = None, bytearray()

    def _outlined(self, raw: bytes) -> Segment:
        """The last part of an oversize event, with what was kept of its data."""
        kept = self._elider is not None
        data, name = _fields(bytes(self._outline), first=False) if kept else (None, b"")
        self._elider, self._outline = None, bytearray()
        return Segment(raw, data, name, oversize=True, lost=not kept)

    def _reset(self) -> None:
        self._held = bytearray()
        self._line_start = self._scanned = 0


def data_of(unfinished: bytes) -> bytes:
    """The data of an event whose end has not come."""
    return _fields(unfinished, True)[0] or b""


def _quick_fields(part: bytes) -> tuple[bytes | None, bytes]:
    """Read the two usual shapes, `data: …` and `event: …` LF `data: …`; data is None for any other."""
    name = b""
    if part.startswith(b"event:"):
        line_end = part.find(b"\n")
        name = part[6:line_end].removeprefix(b" ")
        part = part[line_end + 1 :] if line_end > 0 else b""
    if not part.startswith(b"data:") or b"\n" in part:
        return None, b""
    return part[5:].removeprefix(b" "), name


def _fields(raw: bytes, first: bool) -> tuple[bytes | None, bytes]:
    """Read data and event name of a segment. Other fields (`id`, `retry`) are not needed here."""
    name = b""
    data: list[bytes] = []
    if first:
        raw = raw.removeprefix(_BOM)
    for line in raw.splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return (b"\n".join(data) if data else None), name


def boundary(piece: bytes) -> int:
    """Where the last event that ends within this piece ends; -1 where none does."""
    return max((piece.rfind(end) + len(end) for end in (b"\n\n", b"\r\n\r\n") if end in piece), default=-1)
