"""The first call of a connection, looked at before an engine is: is it one that libnghttp2 refuses?

Envoy names its cluster as `:authority` where its configuration names none, as in the health checks of Envoy Gateway
(`envoyextensionpolicy/llm-gateway/spendgate/0`). libnghttp2 takes that for malformed and resets the stream; h2 does
not mind. A connection speaks for one cluster, so its first call tells.
"""

from __future__ import annotations

import re
from struct import Struct

from hpack import Decoder, HPACKError

from spendgate.rpc.limits import Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _CONTINUATION = 0x1, 0x9
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_HEADER = Struct(">HBBBL")  # length (two parts), type, flags, stream
_AUTHORITY = re.compile(rb"[A-Za-z0-9!$%&'()*+,\-.:;=@\[\]_~]*")
"""RFC 3986, section 3.2."""


class FirstCall:
    """Passes on what comes, and keeps the first header block back until it is whole."""

    def __init__(self, limits: Limits) -> None:
        self._max_bytes = limits.header_bytes
        self._buffer = bytearray()
        self._at = self._safe = 0
        """How far the buffer is looked at, and how far it may be passed on."""
        self._block = bytearray()
        self._has_begun = self._is_open = False
        self.passed = bytearray()
        """What was passed on so far."""
        self.is_over = False
        """There is no more to look at."""
        self.is_odd = False
        """Its `:authority` is none."""

    def take(self, data: bytes) -> bytes:
        """What may be passed on now."""
        buffer = self._buffer
        buffer += data
        while not self.is_over and self._look():
            pass
        end = len(buffer) if self.is_over else self._safe
        out = bytes(buffer[:end])
        del buffer[:end]
        self._at -= end
        self._safe = 0
        self.passed += out
        if len(self.passed) > self._max_bytes:
            self.is_over = True  # so much and no call
        return out

    def _look(self) -> bool:
        """Look at the next frame; False where it is not whole yet."""
        buffer = self._buffer
        if not self._has_begun:
            if len(buffer) < len(PREFACE):
                return False
            self._has_begun = True
            self._at = self._safe = len(PREFACE)
        at = self._at + _HEADER.size
        if len(buffer) < at:
            return False
        high, low, kind, flags, _ = _HEADER.unpack_from(buffer, self._at)
        end = at + (high << 8 | low)
        if end - at > self._max_bytes or (self._is_open and kind != _CONTINUATION):
            self.is_over = True  # the engine's to judge
            return False
        if len(buffer) < end:
            return False
        if kind in (_HEADERS, _CONTINUATION):
            self._fragment(bytes(buffer[at:end]), flags, first=kind == _HEADERS)
        else:
            self._safe = end
        self._at = end
        return True

    def _fragment(self, payload: bytes, flags: int, *, first: bool) -> None:
        if first:
            self._is_open = True
            skip, pad = 0, 0
            if flags & _PADDED and payload:
                skip, pad = 1, payload[0]
            if flags & _PRIORITY:
                skip += 5
            payload = payload[skip : len(payload) - pad]
        self._block += payload
        if len(self._block) > self._max_bytes:
            self.is_over = True
        elif flags & _END_HEADERS:
            self.is_over = True
            self.is_odd = self._looks_odd()

    def _looks_odd(self) -> bool:
        try:
            headers = Decoder(self._max_bytes).decode(bytes(self._block), raw=True)
        except HPACKError:
            return False
        return any(key == b":authority" and not _AUTHORITY.fullmatch(value) for key, value in headers)
