"""Who waits in line is told at its time, as by a timer of its own; one timer serves them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from spendgate.gateway.adapters.patience import Patience, Waiting


class Timer:
    """One of a clock's."""

    def __init__(self, due: float, then: Callable[[], None]) -> None:
        self.due, self.then, self.is_on = due, then, True

    def cancel(self) -> None:
        self.is_on = False


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.made = 0

    def later(self, delay_s: float, then: Callable[[], None]) -> Waiting:
        self.made += 1
        self.timers.append(Timer(self.now + delay_s, then))
        return self.timers[-1]

    def go(self, until: float) -> None:
        while self.timers and (first := min(self.timers, key=lambda t: t.due)).due <= until:
            self.timers.remove(first)
            self.now = max(self.now, first.due)
            if first.is_on:
                first.then()
        self.now = until


STEPS = st.lists(
    st.tuples(st.just("wait"), st.sampled_from([4.0, 4.0, 4.0, 2.0, 8.0]))
    | st.tuples(st.just("cancel"), st.integers(0, 9))
    | st.tuples(st.just("go"), st.integers(0, 5)),
    max_size=40,
)


@given(STEPS)
def test_each_is_told_when_a_timer_of_its_own_would(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    line = Patience(lambda: clock.now, clock.later)
    told: list[tuple[float, int]] = []
    waiting: list[tuple[float, Waiting]] = []
    cancelled: dict[int, float] = {}
    for what, value in [*steps, ("go", 99)]:
        if what == "wait":
            number = len(waiting)
            turn = line.wait(value, lambda n=number: told.append((clock.now, n)))  # type: ignore[misc]
            waiting.append((clock.now + value, turn))
        elif what == "go":
            clock.go(clock.now + value)
        elif value < len(waiting):
            waiting[int(value)][1].cancel()
            cancelled.setdefault(int(value), clock.now)
    expected = {n: due for n, (due, _) in enumerate(waiting) if cancelled.get(n, 1e9) >= due}
    assert {n: at for at, n in told} == expected and len(told) == len(expected)


def test_who_ends_before_its_time_makes_no_timer_and_leaves_nothing() -> None:
    clock = Clock()
    line = Patience(lambda: clock.now, clock.later)
    for _ in range(1000):
        line.wait(4.0, lambda: None).cancel()
    assert clock.made == 1 and len(line._line) == 1
    clock.go(9.0)
    assert clock.made <= 2 and not line._line and not clock.timers


def test_what_one_raises_is_not_the_others() -> None:
    told: list[int] = []

    async def body() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: told.append(0))
        line = Patience()
        line.wait(0.01, lambda: [][1])
        line.wait(0.01, lambda: told.append(1))
        line.wait(0.01, lambda: told.append(2)).cancel()
        await asyncio.sleep(0.1)

    asyncio.run(body())
    assert told == [0, 1]
