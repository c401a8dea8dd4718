"""However an answer's bytes are cut, it is metered the same; and a cut-off one is never read as whole."""

from __future__ import annotations

from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.recorded import Exchange, exchanges
from support.streams import pieces_of, run, seen

BYTE_BY_BYTE_MAX = 24_000
"""Longer streams are cut at random places only: a byte at a time costs a second each."""


@cache
def streams() -> tuple[Exchange, ...]:
    return tuple(e for e in exchanges() if e.is_stream)


@cache
def sample() -> tuple[Exchange, ...]:
    """Up to twelve streams of each dialect, short and long ones."""
    chosen: list[Exchange] = []
    for name in sorted({e.dialect.name for e in streams()}):
        own = sorted((e for e in streams() if e.dialect.name == name), key=lambda e: len(e.recording.answer))
        chosen += [e for e in own[:: max(1, len(own) // 12)] if len(e.recording.answer) <= BYTE_BY_BYTE_MAX][
            :6
        ]
    return tuple(chosen)


def whole(exchange: Exchange) -> object:
    meter = exchange.meter()
    assert run(meter, [exchange.recording.answer]) == exchange.recording.answer
    return seen(meter)


def test_every_stream_passes_whole_and_unchanged() -> None:
    for exchange in streams():
        whole(exchange)


def test_byte_by_byte_a_stream_reads_the_same() -> None:
    dialects = set()
    for exchange in sample():
        answer, meter = exchange.recording.answer, exchange.meter()
        assert run(meter, [answer[i : i + 1] for i in range(len(answer))]) == answer
        assert seen(meter) == whole(exchange), exchange.recording.source
        dialects.add(exchange.dialect.name)
    assert dialects == {e.dialect.name for e in streams()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_cut_anywhere_a_stream_reads_the_same(data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from(streams()))
    size = len(exchange.recording.answer)
    cuts = data.draw(st.lists(st.integers(0, size), max_size=12))
    meter = exchange.meter()
    assert run(meter, pieces_of(exchange.recording.answer, cuts)) == exchange.recording.answer
    assert seen(meter) == whole(exchange)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_stream_that_breaks_off_is_billed_for_no_more_than_the_whole(data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from(streams()))
    answer = exchange.recording.answer
    end = data.draw(st.integers(0, len(answer)))
    meter = exchange.meter()
    run(meter, [answer[:end]], end=False)
    full = exchange.meter()
    run(full, [answer])
    if meter.complete and meter.result().problem is None:
        assert sum(meter.result().usage.values()) <= sum(full.result().usage.values())
    assert meter.partial()[1] <= full.partial()[1]
