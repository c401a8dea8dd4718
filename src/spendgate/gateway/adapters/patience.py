"""Waiting without a timer each: whoever waits is told after a time that is the same for nearly all, and nearly always
has ended before. One timer serves them all: it looks at the oldest."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Waiting(Protocol):
    """Somebody who waits."""

    def cancel(self) -> None:
        """It has ended."""
        ...


class _Turn:
    """One place in the line."""

    __slots__ = ("due", "tell")

    def __init__(self, due: float, tell: Callable[[], None]) -> None:
        self.due = due
        self.tell: Callable[[], None] | None = tell

    def cancel(self) -> None:
        """See Waiting."""
        self.tell = None

    def come(self) -> None:
        """It is its turn, unless it was cancelled by now."""
        if self.tell is not None:
            self.tell()


def _later(delay_s: float, then: Callable[[], None]) -> Waiting:
    return asyncio.get_running_loop().call_later(delay_s, then)


class Patience:
    """One a worker."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], Waiting] = _later,
    ) -> None:
        self._clock = clock
        self._later = later
        self._line: deque[_Turn] = deque()
        """Who is told first stands first."""
        self._timed = math.inf
        """When the timer looks next; infinity: there is none."""

    def wait(self, delay_s: float, tell: Callable[[], None]) -> Waiting:
        """Call `tell` after so long, unless it was cancelled."""
        line = self._line
        while line and line[0].tell is None:
            line.popleft()
        due = self._clock() + delay_s
        if line and due < line[-1].due:
            return self._later(delay_s, tell)  # since a reload the time is shorter
        turn = _Turn(due, tell)
        line.append(turn)
        if due < self._timed:
            self._time(due, delay_s)
        return turn

    def _time(self, due: float, delay_s: float) -> None:
        self._timed = due
        self._later(delay_s, self._tell)

    def _tell(self) -> None:
        line, now = self._line, self._clock()
        self._timed = math.inf
        while line:
            turn = line[0]
            if turn.tell is not None and turn.due > now:
                self._time(turn.due, turn.due - now)
                return
            line.popleft()
            self._later(0, turn.come)  # by itself: what one raises is not the others'
