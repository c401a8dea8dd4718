"""Framing of streams of JSON objects over byte pieces of any size: one a line (NDJSON), or the elements of one
array, as Gemini streams them without `alt=sse`.

Objects are cut out wherever they stand on the top level; what lies between (brackets, commas, whitespace)
carries nothing. Strings are skipped by patterns, so that size costs no Python step a character.
"""

from __future__ import annotations

import re

OBJECT_BYTES_MAX = 8 * 1024 * 1024
"""A longer object is passed on unparsed, so that memory stays bounded."""

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
        self._skipping = False

    def feed(self, piece: bytes) -> list[bytes | None]:
        """Take a piece. Returns the objects that are whole now; None for each that was too long."""
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
                    out.append(None if self._skipping else bytes(memoryview(held)[start:position]))
                    self._skipping = False
                    start = position
        if self._depth == 0 or len(held) - start > self._object_bytes_max:
            self._skipping = self._depth > 0
            start = position
        del held[:start]
        self._scanned = position - start
        return out


def _half_escape(held: bytearray) -> int:
    """1 where the bytes end in the first half of an escape, else 0."""
    return (len(held) - len(held.rstrip(b"\\"))) % 2
