"""Logs loudly without flooding: each event at once, then at most every few seconds, with how many were not said."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

EVERY_S = 5.0


class Throttle:
    """Call it as the logger would be called: `said(log.error, "event", key=value)`."""

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def __call__(self, write: Callable[..., Any], event: str, **values: Any) -> None:
        """Write the event now, or count it; the next one written says `unsaid`: how many were not."""
        now = self._clock()
        last = self._last.get(event)
        if last is not None and now - last < self._every_s:
            self._unsaid[event] = self._unsaid.get(event, 0) + 1
            return
        self._last[event] = now
        unsaid = self._unsaid.pop(event, 0)
        write(event, **values, **({"unsaid": unsaid} if unsaid else {}))
