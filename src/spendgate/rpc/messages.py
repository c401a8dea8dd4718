"""gRPC's length-prefixed messages: a byte that says whether it is compressed, four of length, the message. Pure.

A message that comes in many pieces is joined once. What is given out may be a view on what came in: it is read before
the next piece is taken.
"""

from __future__ import annotations

from struct import Struct

from spendgate.rpc.status import Code, Fault

PREFIX_BYTES = 5
JOINED_BYTES = 16_384
"""A message of at most this size is sent in one piece with its prefix: a copy is cheaper than a second piece."""
_prefix = Struct(">BI")


def framed(message: bytes) -> tuple[bytes, ...]:
    """A message with its prefix, in pieces to be sent one after the other."""
    prefix = _prefix.pack(0, len(message))
    return (prefix + message,) if len(message) <= JOINED_BYTES else (prefix, message)


class Messages:
    """Puts the pieces of one direction of a call together."""

    __slots__ = ("_max", "_need", "_pieces", "held")

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._pieces: list[bytes] = []
        self._need = PREFIX_BYTES
        """So many bytes make the next step: a prefix, or a prefix and its message."""
        self.held = 0
        """Bytes that wait for the rest of their message."""

    def feed(self, data: bytes) -> list[bytes | memoryview]:
        """Take a piece; the messages that are whole now. Raises Fault for one that is too long or compressed."""
        if self._pieces:
            self._pieces.append(data)
            self.held += len(data)
            if self.held < self._need:
                return []
            data = b"".join(self._pieces)
            self._pieces, self.held, self._need = [], 0, PREFIX_BYTES
        at, end = 0, len(data)
        view = memoryview(data)
        if end >= PREFIX_BYTES and self._length(data, 0) == end - PREFIX_BYTES:
            return [view[PREFIX_BYTES:]]  # one message and no more, as mostly
        found: list[bytes | memoryview] = []
        while end - at >= PREFIX_BYTES:
            length = self._length(data, at)
            if end - at - PREFIX_BYTES < length:
                self._need = PREFIX_BYTES + length
                break
            at += PREFIX_BYTES
            found.append(view[at : at + length])
            at += length
        if at < end:
            self._pieces, self.held = [data if not at else bytes(view[at:])], end - at
        return found

    def _length(self, data: bytes, at: int) -> int:
        compressed, length = _prefix.unpack_from(data, at)
        if compressed:
            raise Fault(Code.UNIMPLEMENTED, "compressed messages are not supported")
        if length > self._max:
            raise Fault(
                Code.RESOURCE_EXHAUSTED, f"a message of {length} bytes; at most {self._max} are taken"
            )
        return int(length)
