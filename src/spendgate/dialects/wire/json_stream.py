"""Framing of streams of JSON objects over byte pieces of any size: one a line (NDJSON), or the elements of one
array, as Gemini streams them without `alt=sse`.

Objects are cut out wherever they stand on the top level; what lies between (brackets, commas, whitespace)
carries nothing. Strings are skipped by patterns, so that size costs no Python step a character.
"""

from __future__ import annotations

import re

from spendgate.dialects.wire.elide import Elider

OBJECT_BYTES_MAX = 8 * 1024 * 1024
"""A longer object is read without what fills it (`elide`), so that memory stays bounded."""

_QUOTE, _OPEN = 0x22, 0x7B
_MARK = re.compile(rb'[{}"]')
_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class Framer:
    """Cuts the objects out of one stream."""

    def __init__(self, object_bytes_max: int = OBJECT_BYTES_MAX) -> None:
        self._object_bytes_max = object_bytes_max
        self._held = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._elider: Elider | None = None
        """Keeps the outline of an object that is too long."""
        self._outline = bytearray()

    def feed(self, piece: bytes) -> list[bytes | None]:
        """Take a piece. Returns the objects that are whole now, without what fills the long ones; None for each of
        which not even that could be kept."""
        out: list[bytes | None] = []
        held = self._held
        held += piece
        start = 0
        position = self._scanned
        while True:
            if self._in_string:
                end = _STRING_END.match(held, position)
                if end is None:  # it goes on; a last half escape is looked at again
                    position = max(position, len(held) - _half_escape(held))
                    break
                self._in_string = False
                position = end.end()
            mark = _MARK.search(held, position)
            if mark is None:
                position = len(held)
                break
            byte = held[mark.start()]
            position = mark.end()
            if byte == _QUOTE:
                self._in_string = self._depth > 0
            elif byte == _OPEN:
                if self._depth == 0:
                    start = mark.start()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    out.append(self._whole(bytes(memoryview(held)[start:position])))
                    start = position
        if self._depth == 0:
            start = position
        elif self._elider is not None or len(held) - start > self._object_bytes_max:
            self._keep(bytes(memoryview(held)[start:position]))
            start = position
        del held[:start]
        self._scanned = position - start
        return out

    def _keep(self, part: bytes) -> None:
        """Keep the outline of an object that goes on."""
        if self._elider is None:
            self._elider = Elider()
        if len(self._outline) <= self._object_bytes_max:
            self._outline += self._elider.feed(part)

    def _whole(self, last: bytes) -> bytes | None:
        """An object by its last part."""
        if self._elider is None:
            return last
        self._keep(last)
        outline, self._elider, self._outline = bytes(self._outline), None, bytearray()
        return outline if len(outline) <= self._object_bytes_max else None


def _half_escape(held: bytearray) -> int:
    """1 where the bytes end in the first half of an escape, else 0."""
    return (len(held) - len(held.rstrip(b"\\"))) % 2
