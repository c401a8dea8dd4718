"""How much a worker takes on at once, and how it knows that it is behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.gateway.inflight import LAPSE_S, SMALL_BYTES, TICK_S, Lag, Room, Seat

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _room(mib: int) -> tuple[Room, Clock]:
    clock = Clock()
    return Room(lambda: mib * MIB, clock), clock


def test_one_body_alone_always_has_room() -> None:
    room, _ = _room(8)
    seat = Seat(room)
    assert seat.announce(30 * MIB) and seat.arrive(30 * MIB)
    assert not Seat(room).announce(1)
    seat.leave()
    assert room.used_bytes == 0


def test_large_bodies_leave_room_for_small_ones() -> None:
    room, _ = _room(8)
    assert all(Seat(room).announce(2 * MIB) for _ in range(3))
    assert not Seat(room).announce(2 * MIB)
    assert all(Seat(room).announce(SMALL_BYTES) for _ in range(2))
    assert not Seat(room).announce(SMALL_BYTES)


def test_what_is_announced_and_does_not_come_keeps_nobody_out() -> None:
    room, clock = _room(8)
    slow = Seat(room)
    assert slow.announce(6 * MIB)
    clock.now += LAPSE_S - 0.1
    assert not Seat(room).announce(6 * MIB)
    clock.now += 0.2
    other = Seat(room)
    assert other.announce(6 * MIB)
    assert not slow.arrive(6 * MIB)  # it comes after all, and finds its place taken
    other.leave()
    assert slow.arrive(6 * MIB)


def test_a_body_that_has_come_does_not_lapse() -> None:
    room, clock = _room(8)
    seat = Seat(room)
    assert seat.announce(6 * MIB) and seat.arrive(6 * MIB)
    clock.now += 10 * LAPSE_S
    assert not Seat(room).announce(6 * MIB)


STEPS = st.sampled_from(["announce", "arrive", "leave"])


@given(st.lists(st.tuples(st.integers(0, 5), STEPS, st.integers(0, 9 * MIB))))
def test_the_bytes_in_use_are_those_of_the_seats_and_within_the_limit(
    steps: list[tuple[int, str, int]],
) -> None:
    room, clock = _room(8)
    seats = [Seat(room) for _ in range(6)]
    for which, step, size in steps:
        clock.now += 1
        seat = seats[which]
        if step == "leave":
            seat.leave()
        elif step == "arrive" or not seat.size:  # a request is announced once
            getattr(seat, step)(size)
        assert room.used_bytes == sum(s.size for s in seats)
        alone = sum(s.size > 0 for s in seats) <= 1
        assert alone or room.used_bytes <= 8 * MIB
    for seat in seats:
        seat.leave()
    assert room.used_bytes == 0


def test_a_loop_that_was_away_is_known_to_be_behind_before_it_ticks_again() -> None:
    clock = Clock()
    lag = Lag(clock)
    clock.now += 5
    assert lag.now_s() == 0.0  # nobody watches
    lag.tick()
    clock.now += 3 + TICK_S
    assert round(lag.now_s(), 6) == 3
    lag.tick()
    assert lag.now_s() == 0.0
    assert round(lag.recent_s(), 6) == 3
    assert round(lag.waited_s(), 6) == 3  # what is seen now came while it was away
    clock.now += TICK_S
    lag.tick()
    assert lag.waited_s() == 0.0


def test_what_lies_more_than_two_seconds_back_is_forgotten() -> None:
    clock = Clock()
    lag = Lag(clock)
    lag.tick()
    clock.now += 1
    lag.tick()
    for _ in range(110):
        clock.now += TICK_S
        lag.tick()
    assert lag.recent_s() < 0.001
