"""What gRPC writes in headers: status codes, messages, timeouts. Pure.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import re
from enum import IntEnum


class Code(IntEnum):
    """gRPC's status codes that this server sends: https://grpc.github.io/grpc/core/md_doc_statuscodes.html."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Fault(Exception):
    """A call ends with this status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}


def timeout_s(value: bytes) -> float | None:
    """The seconds of a `grpc-timeout` header; None where it is not one."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS_S[found[2]] if found else None


def percent_encoded(message: str) -> bytes:
    """A status message as `grpc-message` carries it: printable ASCII, all else as %XX of its UTF-8."""
    return b"".join(bytes((x,)) if x in _PLAIN else b"%%%02X" % x for x in message.encode("utf-8", "replace"))
