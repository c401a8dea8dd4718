"""What all connections of a server share: the bytes that they hold, and the calls that wait for the service's time.

Reading goes before answering: a peer's pings and resets are heard, and answered, however many messages wait. Else a
crowd of new calls would keep the answer to Envoy's keepalive back until Envoy gave up the connection, with all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

TURN_S = 0.004
"""So long services have the thread at a time; then what has come meanwhile is read."""


class Waiting(Protocol):
    """A call with messages that wait."""

    def resume(self) -> None:
        """Give the service what waits for it."""
        ...


class Load:
    """One a server. `wake`: `work` is to be called soon. `waited` is told how many seconds a message waited."""

    def __init__(self, clock: Callable[[], float], wake: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self.held_bytes = 0
        """Of messages that are not whole or not looked at."""
        self.waited: Callable[[float], None] = lambda seconds: None
        self._wake = wake
        self._until = 0.0
        self._calls: deque[Waiting] = deque()

    def begin(self) -> float:
        """A turn begins, now."""
        now_s = self.clock()
        self._until = now_s + TURN_S
        return now_s

    @property
    def is_spent(self) -> bool:
        """Is this turn over, or are others first?"""
        return bool(self._calls) or self.clock() > self._until

    def postpone(self, call: Waiting) -> None:
        """Let a call wait for a later turn."""
        if not self._calls:
            self._wake()
        self._calls.append(call)

    def work(self) -> None:
        """One turn for those that wait; `wake` is called again where some still do."""
        self.begin()
        calls = self._calls
        try:
            while calls:
                calls.popleft().resume()
                if self.clock() > self._until:
                    break
        finally:
            if calls:
                self._wake()
