"""Feeding a dialect's stream meter in pieces of any size."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from spendgate.dialects.base import Reading, StreamMeter
from spendgate.dialects.registry import by_name
from spendgate.usage import Usage

CUTS = st.lists(st.integers(0, 5000), max_size=30)
"""Places to cut a stream at, modulo its length."""


def words(text: str) -> int:
    """Counts the words of a text, at least one."""
    return len(text.split()) or 1


def meter(dialect: str, hide_usage: bool = False) -> StreamMeter:
    """A meter that counts words."""
    return by_name(dialect).stream_meter(hide_usage=hide_usage, count=words)


def run(meter: StreamMeter, pieces: list[bytes], end: bool = True) -> bytes:
    """Feed the pieces; returns the bytes that went on."""
    out = []
    for i, piece in enumerate(pieces):
        replacement = meter.feed(piece, end and i == len(pieces) - 1)
        out.append(piece if replacement is None else replacement)
    return b"".join(out)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a stream at these places."""
    places = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


def seen(meter: StreamMeter) -> tuple[Reading, tuple[Usage, int], bool, bool]:
    """All that a meter tells."""
    return meter.result(), meter.partial(), meter.complete, meter.failed


def every_split(dialect: str, stream: bytes) -> None:
    """However a stream is cut in two, or into single bytes, it passes unchanged and reads the same."""
    whole = meter(dialect)
    assert run(whole, [stream]) == stream
    single = meter(dialect)
    assert run(single, [stream[i : i + 1] for i in range(len(stream))]) == stream
    assert seen(single) == seen(whole)
    for at in range(len(stream) + 1):
        under_test = meter(dialect)
        assert run(under_test, [stream[:at], stream[at:]]) == stream
        assert seen(under_test) == seen(whole), at
