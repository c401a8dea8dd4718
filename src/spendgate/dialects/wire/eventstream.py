"""Framing of Amazon's binary event streams (`application/vnd.amazon.eventstream`) over pieces of any size.

A message is: its length and that of its headers (4 bytes each, big-endian), a CRC-32 of those 8 bytes, the
headers, the payload, and a CRC-32 of all before it (AWS, "Event stream encoding"). The first CRC is checked,
since a wrong length would misread all that follows; the payload's is the client's to check.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MESSAGE_BYTES_MAX = 24 * 1024 * 1024
"""AWS' own libraries refuse longer messages (16 MB of payload, 128 KB of headers)."""

_PRELUDE = struct.Struct(">III")
_OVERHEAD = 16
_TEXT = 7
_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; 6 and 7 say their own length."""


class Message(NamedTuple):
    """One message: its headers of type text, and its payload."""

    headers: dict[str, str]
    payload: bytes


class Framer:
    """Cuts the messages out of one stream."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.broken = False
        """The bytes are no event stream, or ceased to be one; nothing more is read."""

    def feed(self, piece: bytes) -> list[Message]:
        """Take a piece. Returns the messages that are whole now."""
        if self.broken:
            return []
        held = self._held
        held += piece
        out: list[Message] = []
        start = 0
        while len(held) - start >= _PRELUDE.size:
            length, headers_length, crc = _PRELUDE.unpack_from(held, start)
            if (
                zlib.crc32(memoryview(held)[start : start + 8]) != crc
                or not _OVERHEAD + headers_length <= length <= MESSAGE_BYTES_MAX
            ):
                self.broken = True
                held.clear()
                return out
            if len(held) - start < length:
                break
            body = start + _PRELUDE.size
            headers = bytes(memoryview(held)[body : body + headers_length])
            payload = bytes(memoryview(held)[body + headers_length : start + length - 4])
            out.append(Message(_headers(headers), payload))
            start += length
        del held[:start]
        return out


def _headers(raw: bytes) -> dict[str, str]:
    """Read the headers of type text; what follows a broken one is left out."""
    found: dict[str, str] = {}
    at = 0
    while at < len(raw):
        name_end = at + 1 + raw[at]
        if name_end >= len(raw):
            break
        kind, value = raw[name_end], name_end + 1
        if kind in (6, _TEXT):
            length = int.from_bytes(raw[value : value + 2], "big")
            value += 2
        elif kind in _LENGTHS:
            length = _LENGTHS[kind]
        else:
            break
        if kind == _TEXT:
            name = raw[at + 1 : name_end].decode("utf-8", "replace")
            found[name] = raw[value : value + length].decode("utf-8", "replace")
        at = value + length
    return found
