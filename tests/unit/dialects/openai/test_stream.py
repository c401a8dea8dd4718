"""Metering of OpenAI streams: usage found, text counted, only our own chunk taken out."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects.base import Reading, StreamMeter
from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.dialects.wire.sse import EVENT_BYTES_MAX

USAGE = {"prompt_tokens": 13, "completion_tokens": 50, "total_tokens": 63}
KINDS = {"input": 13, "output": 50, "requests": 1}
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    document = {"id": "c", "model": "gpt-4o-2024", "choices": choices, "usage": None} | more
    return b"data: " + json.dumps(document).encode() + b"\n\n"


EXTRA = chunk(usage=USAGE)
ANSWER = chunk({"role": "assistant", "content": ""}) + chunk({"content": "Hello"}) + chunk({}, "stop")


def words(text: str) -> int:
    return len(text.split()) or 1


def meter(hide_usage: bool = False) -> StreamMeter:
    return OpenAIChat().stream_meter(hide_usage=hide_usage, count=words)


def run(meter: StreamMeter, pieces: list[bytes], end: bool = True) -> bytes:
    """Feed the pieces; returns the bytes that went on."""
    out = []
    for i, piece in enumerate(pieces):
        replacement = meter.feed(piece, end and i == len(pieces) - 1)
        out.append(piece if replacement is None else replacement)
    return b"".join(out)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


CUTS = st.lists(st.integers(0, 5000), max_size=30)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(CUTS, LINE_ENDS, st.booleans())
def test_usage_is_read_however_the_stream_is_cut(cuts: list[int], line_end: bytes, hide: bool) -> None:
    stream = (ANSWER + EXTRA + DONE).replace(b"\n", line_end)
    under_test = meter(hide)
    run(under_test, pieces_of(stream, cuts))
    assert under_test.result() == Reading(KINDS, "gpt-4o-2024")
    assert under_test.complete
    assert not under_test.failed


@given(CUTS, LINE_ENDS)
def test_exactly_the_extra_chunk_is_taken_out(cuts: list[int], line_end: bytes) -> None:
    azure_first = chunk(prompt_filter_results=[])
    before, after = azure_first + b": ping\n\n" + ANSWER, b": bye\n" + DONE
    before, extra, after = (part.replace(b"\n", line_end) for part in (before, EXTRA, after))
    out = run(meter(hide_usage=True), pieces_of(before + extra + after, cuts))
    assert out == before + after


@given(CUTS)
def test_without_hiding_every_piece_passes_untouched(cuts: list[int]) -> None:
    under_test = meter(hide_usage=False)
    for piece in pieces_of(ANSWER + EXTRA + DONE, cuts):
        assert under_test.feed(piece, False) is None


def test_whole_events_pass_untouched_while_hiding() -> None:
    under_test = meter(hide_usage=True)
    assert under_test.feed(chunk({"content": "a"}), False) is None
    assert under_test.feed(chunk({"content": "b"}) + chunk({}, "stop"), False) is None
    assert under_test.feed(EXTRA, False) == b""
    assert under_test.feed(DONE, True) is None


def test_only_an_unfinished_event_is_held() -> None:
    under_test = meter(hide_usage=True)
    event = chunk({"content": "a"})
    assert under_test.feed(event + event[:10], False) == event
    assert under_test.feed(event[10:], False) == event


def test_what_is_held_at_the_end_goes_on() -> None:
    under_test = meter(hide_usage=True)
    assert run(under_test, [ANSWER, b"data: {half"]) == ANSWER + b"data: {half"
    assert under_test.result().problem == "truncated" or not under_test.complete


def test_usage_beside_choices_is_read_and_passes() -> None:
    """OpenRouter and others put usage on the last chunk that has choices."""
    last = chunk({}, "stop", usage=USAGE)
    under_test = meter(hide_usage=True)
    assert run(under_test, [last, DONE]) == last + DONE
    assert under_test.result().usage == KINDS


def test_usage_in_every_chunk_is_cumulative_and_the_last_wins() -> None:
    under_test = meter()
    first = {"prompt_tokens": 13, "completion_tokens": 1}
    run(under_test, [chunk({"content": "a"}, usage=first), chunk({}, "stop", usage=USAGE), DONE])
    assert under_test.result().usage == KINDS


def test_a_cut_stream_with_usage_so_far_is_truncated() -> None:
    under_test = meter()
    run(under_test, [chunk({"content": "a b"}, usage={"prompt_tokens": 13, "completion_tokens": 1})])
    assert under_test.result().problem == "truncated"
    assert under_test.partial() == ({"input": 13, "output": 1, "requests": 1}, 2)


SO_FAR = {"prompt_tokens": 13, "completion_tokens": 1, "total_tokens": 14}


@pytest.mark.parametrize(
    "told",
    [
        chunk({"content": "one"}, usage=SO_FAR) + chunk({"content": " two three"}),
        chunk(usage=SO_FAR) + chunk({"content": "one two three"}),
        chunk({"content": "one"}) + chunk(usage=SO_FAR) + chunk({"content": "two three"}),
    ],
)
def test_a_usage_that_more_was_made_after_is_not_the_whole(told: bytes) -> None:
    for end, problem in (
        (chunk({}, "stop") + DONE, "no_usage"),
        (DONE, "no_usage"),
        (chunk({}, "stop"), "no_usage"),
        (b"", "truncated"),
    ):
        under_test = meter()
        run(under_test, [told + end])
        assert under_test.result() == Reading({}, "gpt-4o-2024", problem)
        assert under_test.partial() == ({"input": 13, "output": 1, "requests": 1}, 3)
    whole = meter()
    run(whole, [told + chunk({}, "stop") + EXTRA + DONE])
    assert whole.result().usage == KINDS


def test_a_usage_before_the_finish_waits_for_one_after_it() -> None:
    under_test = meter()
    run(under_test, [chunk({"content": "a"}, usage=SO_FAR), chunk({}, "stop")], end=False)
    assert (under_test.complete, under_test.hidden) == (False, True)
    under_test.feed(chunk({}, "stop", usage=USAGE), False)
    assert (under_test.complete, under_test.hidden, under_test.result().usage) == (True, False, KINDS)


def test_a_usage_while_a_choice_still_runs_is_not_the_whole() -> None:
    first = chunk({"content": "a"}, "stop", usage=SO_FAR)
    second = [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]
    for pieces in ([chunk({}, choices=second), first], [first, chunk({}, choices=second)]):
        under_test = meter()
        run(under_test, pieces)
        assert not under_test.complete
        assert under_test.result().problem == "truncated"


def test_a_last_usage_of_zeros_says_nothing_of_what_was_made_since_the_one_before() -> None:
    zeros = chunk(usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    under_test = meter()
    run(under_test, [chunk({"content": "a"}, usage=SO_FAR), chunk({"content": "b c"}, "stop"), zeros, DONE])
    assert under_test.result().problem == "no_usage"
    assert under_test.partial() == ({"input": 13, "output": 1, "requests": 1}, 3)


@pytest.mark.parametrize("delta", [{"content": ""}, {"role": "assistant", "content": "", "reasoning": None}])
def test_an_empty_piece_after_the_usage_changes_nothing(delta: dict[str, Any]) -> None:
    under_test = meter()
    run(under_test, [ANSWER, EXTRA, chunk(delta), chunk({}, "stop")], end=False)
    assert under_test.complete
    assert under_test.result().usage == KINDS


def test_a_lost_event_after_the_usage_may_have_been_more() -> None:
    under_test = meter()
    run(under_test, [ANSWER, EXTRA, b"data: " + b"x" * EVENT_BYTES_MAX, b"yy\n\n", DONE])
    assert under_test.result().problem == "no_usage"


def test_groq_reports_usage_twice_and_it_counts_once() -> None:
    under_test = meter()
    run(under_test, [chunk({}, "stop", x_groq={"usage": USAGE}), DONE])
    assert under_test.result().usage == KINDS
    under_test = meter()
    run(under_test, [chunk({}, "stop", x_groq={"usage": USAGE}), EXTRA, DONE])
    assert under_test.result().usage == KINDS


def test_streamed_text_of_every_sort_is_counted() -> None:
    under_test = meter()
    run(
        under_test,
        [
            chunk({"content": "one two"}),
            chunk({"reasoning_content": "three"}),
            chunk({"refusal": "four"}),
            chunk({"tool_calls": [{"index": 0, "function": {"name": "five", "arguments": '{"six"'}}]}),
            chunk({"function_call": {"arguments": "seven"}}),
            chunk({"content": None}),
            b'data: {"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}],"obfuscation":"x y z"}\n\n',
        ],
        end=False,
    )  # fmt: skip
    assert under_test.partial() == ({}, 9)
    assert under_test.partial() == ({}, 9)


def test_many_pieces_are_counted_in_lots() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return 1

    under_test = OpenAIChat().stream_meter(hide_usage=False, count=count)
    for _ in range(3000):
        under_test.feed(chunk({"content": "a"}), False)
    assert 1024 <= len(counted) <= 3000
    assert under_test.partial() == ({}, 3000)


def test_half_a_surrogate_pair_can_be_counted() -> None:
    under_test = OpenAIChat().stream_meter(hide_usage=False, count=lambda text: len(text.encode()))
    under_test.feed(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', False)
    assert under_test.partial() == ({}, 1)


def test_a_stream_that_ends_without_usage_says_so() -> None:
    under_test = meter()
    run(under_test, [ANSWER, DONE])
    assert under_test.complete
    assert under_test.result() == Reading({}, "gpt-4o-2024", "no_usage")


def test_a_stream_that_was_cut_says_so() -> None:
    under_test = meter()
    under_test.feed(ANSWER, False)
    assert not under_test.complete
    assert under_test.result().problem == "truncated"


def test_a_stream_that_ends_cleanly_after_all_its_choices_is_whole_without_saying_so() -> None:
    under_test = meter()
    run(under_test, [ANSWER])
    assert under_test.complete
    assert under_test.result().problem == "no_usage"
    several = meter()
    second = [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]
    run(several, [chunk({"content": "a"}), chunk({}, choices=second), chunk({}, "stop")])
    assert not several.complete


@pytest.mark.parametrize(
    "event",
    [b'data: {"error":{"message":"m","code":"c"}}\n\n', b'event: error\ndata: {"message":"m"}\n\n'],
)
def test_an_error_event_is_a_failure(event: bytes) -> None:
    under_test = meter(hide_usage=True)
    assert run(under_test, [ANSWER, event]) == ANSWER + event
    assert under_test.failed
    assert not under_test.complete


def test_bad_usage_is_reported_and_its_chunk_taken_out() -> None:
    under_test = meter(hide_usage=True)
    bad = chunk(usage={"prompt_tokens": -5, "completion_tokens": 1})
    assert run(under_test, [ANSWER, bad, DONE]) == ANSWER + DONE
    assert under_test.result().problem == "bad_usage"


def test_an_event_that_is_not_json_passes_and_is_reported_where_no_usage_came() -> None:
    under_test = meter(hide_usage=True)
    assert run(under_test, [b"data: <html>\n\n", DONE]) == b"data: <html>\n\n" + DONE
    assert under_test.result().problem == "not_json"


def test_an_oversize_event_passes_and_marks_the_reading_truncated() -> None:
    under_test = meter(hide_usage=True)
    pieces = [b"data: " + b"x" * EVENT_BYTES_MAX, b"yy\n\n", DONE]
    assert run(under_test, pieces) == b"".join(pieces)
    assert under_test.result().problem == "truncated"


def test_the_usage_chunk_counts_even_without_its_last_line_end() -> None:
    under_test = meter(hide_usage=True)
    assert run(under_test, [ANSWER, EXTRA[:-2]]) == ANSWER
    assert under_test.result().usage == KINDS


EVENTS = st.lists(
    st.one_of(
        st.binary(max_size=20).map(lambda b: b"data: " + b + b"\n\n"),
        st.sampled_from(
            [EXTRA, DONE, ANSWER, b"data: 1\n\n", b'data: {"choices":[1,{"delta":[]}]}\n\n', b'data: {"usage":[]}\n\n',
             b'data: {"choices":{},"usage":{"prompt_tokens":1}}\n\n', b'data: {"x_groq":1,"model":2}\n\n',
             b'data: {"choices":[{"delta":{"tool_calls":[1,{"function":2}],"function_call":3}}]}\n\n'],
        ),
    ),
    max_size=6,
).map(b"".join)  # fmt: skip


@given(EVENTS, CUTS, st.booleans())
def test_no_stream_raises_and_nothing_but_usage_chunks_is_lost(
    stream: bytes, cuts: list[int], hide: bool
) -> None:
    under_test = meter(hide)
    out = run(under_test, pieces_of(stream, cuts))
    whole = meter(hide)
    assert out == run(whole, [stream])
    assert under_test.result() == whole.result()
    assert under_test.partial() == whole.partial()
    if EXTRA not in stream or not hide:
        assert out == stream


@given(st.binary(max_size=300), CUTS, st.booleans())
def test_no_bytes_raise_and_all_pass(stream: bytes, cuts: list[int], hide: bool) -> None:
    under_test = meter(hide)
    assert run(under_test, pieces_of(stream, cuts)) == stream
    assert under_test.result().usage == {}


@given(
    st.lists(
        st.sampled_from(
            [{"content": "two words"}, {"role": "assistant", "content": None}, {"content": 1}, {}]
        )
    )
)
def test_a_piece_of_text_alone_is_counted_as_one_that_names_the_rest_as_missing(
    deltas: list[dict[str, Any]],
) -> None:
    told = []
    for more in ({}, {"refusal": None, "tool_calls": None}):
        one = meter()
        run(one, [chunk({**delta, **more}) for delta in deltas] + [DONE])
        told.append((one.partial(), one.result(), one.hidden))
    assert told[0] == told[1]
