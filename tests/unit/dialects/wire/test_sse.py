"""Framing: the same events and the same bytes, however a stream is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.wire.sse import Framer, Segment

PARTS = [
    b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: x", b"data:y", b"data", b"data:  two", b"event: e",
    b"event", b": comment", b":", b"id: 1", b"retry: 5", b" ", b"\xef\xbb\xbf", b"\xc3", b"nonsense",
]  # fmt: skip
STREAMS = st.lists(st.sampled_from(PARTS), max_size=30).map(b"".join)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


def frame(pieces: list[bytes], event_bytes_max: int = 1 << 20) -> list[Segment]:
    framer = Framer(event_bytes_max)
    segments = [segment for piece in pieces for segment in framer.feed(piece)]
    return segments + framer.close()


def events(segments: list[Segment]) -> list[tuple[bytes, bytes]]:
    return [(s.name, s.data) for s in segments if s.data is not None and not s.unterminated]


def by_the_standard(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The standard's algorithm, word for word, over the whole stream."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, data, name = [], b"", b""
    for line in text.split(b"\n")[:-1]:
        if line == b"":
            if data:
                found.append((name, data.removesuffix(b"\n")))
            data, name = b"", b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data += value + b"\n"
            elif field == b"event":
                name = value
    return found


@given(STREAMS)
def test_a_whole_stream_gives_the_events_of_the_standard(stream: bytes) -> None:
    assert events(frame([stream])) == by_the_standard(stream)


@given(STREAMS, st.lists(st.integers(0, 500), max_size=20))
def test_any_cut_of_a_stream_gives_the_same_events_and_bytes(stream: bytes, cuts: list[int]) -> None:
    segments = frame(pieces_of(stream, cuts))
    assert events(segments) == by_the_standard(stream)
    assert b"".join(s.raw for s in segments) == stream


@given(STREAMS)
def test_byte_by_byte_is_as_good_as_whole(stream: bytes) -> None:
    assert events(frame([bytes([b]) for b in stream])) == events(frame([stream]))


def without_events(segments: list[Segment], unwanted: bytes) -> bytes:
    out, dropped = [], False
    for segment in segments:
        if not segment.tail:
            dropped = segment.data == unwanted
        if not dropped:
            out.append(segment.raw)
    return b"".join(out)


@given(STREAMS, st.lists(st.integers(0, 500), max_size=20))
def test_dropping_an_event_leaves_the_same_bytes_however_the_stream_was_cut(
    stream: bytes, cuts: list[int]
) -> None:
    assert without_events(frame(pieces_of(stream, cuts)), b"x") == without_events(frame([stream]), b"x")


@given(STREAMS, st.lists(st.integers(0, 500), max_size=20), st.integers(1, 12))
def test_an_oversize_event_passes_unparsed_and_the_next_is_read(
    stream: bytes, cuts: list[int], event_bytes_max: int
) -> None:
    segments = frame(pieces_of(stream, cuts), event_bytes_max)
    assert b"".join(s.raw for s in segments) == stream
    assert events(segments) == events(frame([stream], event_bytes_max))
    assert all(s.data is None or len(s.raw) - 2 <= event_bytes_max for s in segments)


def test_memory_is_bounded_by_the_largest_event() -> None:
    framer = Framer(1000)
    for _ in range(100):
        framer.feed(b"data: " + b"x" * 900)
        assert framer.held <= 1000
    segments = framer.feed(b"\n\ndata: after\n\n")
    assert [s.data for s in segments] == [None, b"after"]
    assert segments[0].oversize


def test_a_lf_that_was_split_from_its_cr_shares_the_fate_of_its_event() -> None:
    framer = Framer()
    first = framer.feed(b"data: a\r\n\r")
    assert [(s.raw, s.data) for s in first] == [(b"data: a\r\n\r", b"a")]
    second = framer.feed(b"\ndata: b\r\n\r\n")
    assert [(s.raw, s.data, s.tail) for s in second] == [
        (b"\n", None, True),
        (b"data: b\r\n\r\n", b"b", False),
    ]


def test_a_comment_goes_on_at_once_and_waits_for_no_event() -> None:
    framer = Framer()
    framer.feed(b"data: a\n\n")
    assert [s.raw for s in framer.feed(b": keep-alive\n")] == [b": keep-alive\n"]
    assert framer.held == 0


def test_the_end_gives_an_unterminated_event_and_says_so() -> None:
    framer = Framer()
    framer.feed(b"data: a")
    assert framer.close() == [Segment(b"data: a", b"a", unterminated=True)]
    assert framer.close() == []
