"""Protobuf's wire form, for messages that are put together of ready-made pieces. Pure.

A message is its fields one after the other, and a field of bytes, text or a message is its tag, its length and its
content: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import Any

_SHORT = tuple(bytes((n,)) for n in range(0x80))
_DELIMITED = 2
"""The wire type of what has a length."""


def varint(number: int) -> bytes:
    """A number of any size, seven bits a byte, the lowest first."""
    if number < 0x80:
        return _SHORT[number]
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(message: Any, name: str) -> bytes:
    """What stands before a field of this message type: one of bytes, text or a message."""
    return tag_of(message.DESCRIPTOR, name)


def tag_of(descriptor: Any, name: str) -> bytes:
    """The same by the message's descriptor, which is all that a map's entries have."""
    return varint(descriptor.fields_by_name[name].number << 3 | _DELIMITED)


def field(before: bytes, content: bytes) -> bytes:
    """A field: its tag, and what is in it."""
    return before + varint(len(content)) + content
