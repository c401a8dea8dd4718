"""Cutting JSON objects out of a byte stream."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.streams import CUTS, pieces_of

from spendgate.dialects.wire.json_stream import Framer

NASTY = st.text(alphabet='{}[]"\\,\n a', max_size=8)
VALUES = st.dictionaries(
    NASTY, NASTY | st.lists(NASTY, max_size=2) | st.dictionaries(NASTY, NASTY, max_size=2), max_size=3
)
OBJECTS = st.lists(VALUES, max_size=4)


def framed(stream: bytes, cuts: list[int], limit: int = 1000) -> list[Any]:
    framer = Framer(limit)
    found = [raw for piece in pieces_of(stream, cuts) for raw in framer.feed(piece)]
    return [None if raw is None else json.loads(raw) for raw in found]


@given(OBJECTS, CUTS, st.sampled_from([None, 1]))
def test_the_elements_of_an_array_are_found_at_any_split(
    objects: list[Any], cuts: list[int], indent: int | None
) -> None:
    assert framed(json.dumps(objects, indent=indent).encode(), cuts) == objects


@given(OBJECTS, CUTS, st.sampled_from(["\n", "\r\n", ""]))
def test_the_objects_of_lines_are_found_at_any_split(objects: list[Any], cuts: list[int], end: str) -> None:
    assert framed("".join(json.dumps(o) + end for o in objects).encode(), cuts) == objects


@given(CUTS, NASTY)
def test_too_long_an_object_is_skipped_and_the_next_is_found(cuts: list[int], text: str) -> None:
    long = {"a": text, "b": "x" * 50 + text, "c": {"d": 'y"\\' * 200 + text}}
    stream = json.dumps([long, {"e": text}, long]).encode()
    assert framed(stream, sorted(cuts), limit=100)[1] == {"e": text}
    singles = list(range(len(stream)))
    assert framed(stream, singles, limit=100) == [None, {"e": text}, None]


def test_memory_stays_bounded() -> None:
    framer = Framer(1000)
    for _ in range(50):
        framer.feed(b'{"a":"' + b"x" * 1000)
        assert len(framer._held) <= 2


@given(st.binary(max_size=100), CUTS)
def test_no_bytes_raise(stream: bytes, cuts: list[int]) -> None:
    framer = Framer()
    whole = Framer().feed(stream)
    assert [raw for piece in pieces_of(stream, cuts) for raw in framer.feed(piece)] == whole
