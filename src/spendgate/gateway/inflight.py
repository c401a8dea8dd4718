"""What a worker takes on at once: bytes of requests that it has not decided about, and how far its event loop lags
behind. Both end in `too_busy` before Envoy would send a request on undecided."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

SMALL_BYTES = 1024 * 1024
"""A quarter of the room is kept for bodies of at most this size: few large ones do not keep everybody out."""
LAPSE_S = 5.0
"""A body that was announced and has not come since (a slow client, or one that means harm) keeps no place where
another wants it."""
TICK_S = 0.02
KEPT_S = 1.0


class Seat:
    """The place of one body: first by its announced length, then by its own. `leave` as soon as it is decided."""

    __slots__ = ("_room", "_since", "size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._since = 0.0
        self.size = 0

    def announce(self, size: int) -> bool:
        """A body of this many bytes is going to come. False: there is no room for it."""
        self._since = self._room.clock()
        return self._room.take(self, size, waits=True)

    def arrive(self, size: int) -> bool:
        """The body is there. False: there is no room for it."""
        self.leave()
        return self._room.take(self, size, waits=False)

    def leave(self) -> None:
        """Give the place back; more than once does no harm."""
        self._room.give(self)

    def lapsed(self, now: float) -> bool:
        """Has its body been awaited for too long?"""
        return now - self._since >= LAPSE_S


class Room:
    """The bytes of all bodies that one worker is reading. `limit_bytes` is asked each time: a reload changes it."""

    def __init__(self, limit_bytes: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_bytes = limit_bytes
        self.clock = clock
        self._waiting: dict[Seat, None] = {}
        """Announced bodies, the oldest first."""
        self.used_bytes = 0

    def take(self, seat: Seat, size: int, *, waits: bool) -> bool:
        """Let a body in where it fits; one alone always does."""
        limit = self._limit_bytes()
        if size > SMALL_BYTES:
            limit -= limit // 4
        while self.used_bytes and self.used_bytes + size > limit:
            oldest = next(iter(self._waiting), None)
            if oldest is None or not oldest.lapsed(self.clock()):
                return False
            self.give(oldest)
        seat.size = size
        self.used_bytes += size
        if waits:
            self._waiting[seat] = None
        return True

    def give(self, seat: Seat) -> None:
        """Take a body out."""
        self._waiting.pop(seat, None)
        self.used_bytes -= seat.size
        seat.size = 0


class Lag:
    """How far an event loop is behind: the longest time of the last second in which it did not come round."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._came = math.inf  # nobody watches yet
        self._last = self._worst = self._before = 0.0
        self._since = clock()

    def tick(self) -> None:
        """The loop came round: to be called each `TICK_S`."""
        now = self._clock()
        self._came = min(self._came, now)
        if now - self._since >= KEPT_S / 2:
            self._since, self._before, self._worst = now, self._worst, 0.0
        self._last = max(0.0, now - self._came - TICK_S)
        self._worst = max(self._worst, self._last)
        self._came = now

    def queued(self, seconds: float) -> None:
        """Something waited so long for its turn, though the loop came round."""
        self._last = max(self._last, seconds)
        self._worst = max(self._worst, seconds)

    def now_s(self) -> float:
        """For how long it has been away by now, in seconds."""
        return max(0.0, self._clock() - self._came - TICK_S)

    def waited_s(self) -> float:
        """How long what is picked up in this round may have waited: through the last round, and this one so far."""
        return self._last + self.now_s()

    def recent_s(self) -> float:
        """The worst of about the last second, this round included."""
        return max(self._worst, self._before, self.now_s())
