"""A bound on how often something may happen: so often at once, and so often a second. Pure: the clock is told."""

from __future__ import annotations


class TokenBucket:
    """`take` says whether one more may go now."""

    def __init__(self, burst: float, rate_s: float, now_s: float) -> None:
        self._burst, self._rate_s = burst, rate_s
        self._tokens, self._at_s = burst, now_s

    def take(self, now_s: float) -> bool:
        """One token, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_s)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
