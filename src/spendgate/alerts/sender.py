"""How an alert leaves the house: the port of a sender, what became of an attempt, and the pace between them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from spendgate.alerts.alert import Alert
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again: after `after_s` at the earliest where the receiver said so. `maybe_sent`: it may have it."""

    reason: str
    after_s: float = 0.0
    maybe_sent: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryRejected:
    """The receiver will never take this alert in this form."""

    reason: str


Outcome = Delivered | Retry | DeliveryRejected


class Sender(Protocol):
    """Sends to one kind of receiver. A target is the sender's name, or `name:where` where it has several."""

    name: str
    min_interval_s: float
    """Between two sendings to one target."""

    def targets(self, alert: Alert) -> tuple[str, ...]:
        """Where the alert goes."""
        ...

    async def send(self, alert: Alert, target: str, again: bool) -> Outcome:
        """One attempt, within seconds. Never raises for a receiver that is away or refuses."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


@dataclass(slots=True)
class Timing:
    """Time as the deliveries see it: for tests that do not wait."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    """Uniform in [0, 1)."""


BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 30.0


class Pace:
    """When a target may be sent to next: at most once an interval; after failures later and later, up to 30 s,
    each time between half of that and all, so that several processes do not knock together. A receiver's own
    `Retry-After` counts where it is longer."""

    def __init__(self, min_interval_s: float, timing: Timing) -> None:
        self._interval_s = min_interval_s
        self._timing = timing
        self._next_s = float("-inf")
        self.failures = 0

    async def wait(self) -> None:
        """Until the next sending may begin."""
        left = self._next_s - self._timing.now_s()
        if left > 0:
            await self._timing.sleep(left)

    def sent(self) -> None:
        """It arrived."""
        self.failures = 0
        self._next_s = self._timing.now_s() + self._interval_s

    def failed(self, after_s: float = 0.0) -> float:
        """It did not; returns the seconds until the next attempt."""
        backoff = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        wait_s = max(after_s, self._interval_s, backoff * (1 + self._timing.jitter()) / 2)
        self._next_s = self._timing.now_s() + wait_s
        return wait_s
