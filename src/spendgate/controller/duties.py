"""What the leader does now and then beside its loops, such as comparing the ledger with Prometheus.

A duty is given from outside (`Controller(duties=…)`), runs only while this replica leads, one at a time of its
kind, and is stopped where leading ends; it may be run again from its start by the next leader, so it must bear
that. Alerts that it returns are told as every other: once a month by their key, over all controllers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import redis.asyncio as aioredis
import structlog

from spendgate.alerts.alert import Alert
from spendgate.budget.policy import Policy
from spendgate.controller.tasks import cancelled
from spendgate.errors import SpendgateError
from spendgate.ledger.port import Ledger

log = structlog.get_logger()

POLL_S = 0.2
AGAIN_S = 30.0
"""When a duty that failed is tried again, where its own interval is not shorter."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a duty may use. `policy` are the budgets in force at this moment."""

    ledger: Ledger
    redis: aioredis.Redis
    policy: Policy
    now_ms: int


class Duty(Protocol):
    """`every_s` is counted from the end of a run; the first one comes with the leadership."""

    name: str
    every_s: float

    async def run(self, context: Context) -> Sequence[Alert]:
        """Do it; what is to be told. Raises SpendgateError where it could not be done."""
        ...


Tell = Callable[[Alert], Awaitable[None]]


@dataclass(slots=True)
class Duties:
    """`run` for ever. `done` and `failed` count runs by duty."""

    duties: Sequence[Duty]
    acts: Callable[[], bool]
    context: Callable[[], Context]
    tell: Tell
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """All duties, each in its own pace."""
        async with asyncio.TaskGroup() as group:
            for duty in self.duties:
                group.create_task(self._follow(duty))
            await asyncio.Event().wait()  # also where there is none

    async def _follow(self, duty: Duty) -> None:
        due_s = float("-inf")
        while True:
            if self.acts() and time.monotonic() >= due_s:
                due_s = time.monotonic() + await self._once(duty)
            elif not self.acts():
                due_s = float("-inf")  # the next leadership begins with it
            await asyncio.sleep(POLL_S)

    async def _once(self, duty: Duty) -> float:
        """One run; the seconds until the next."""
        running = asyncio.create_task(self._run(duty))
        try:
            while self.acts() and not running.done():
                await asyncio.wait([running], timeout=POLL_S)
            if not running.done():
                log.warning("duty_stopped", duty=duty.name, why="this replica does not lead any more")
                return 0.0
            running.result()
        except (SpendgateError, OSError, TimeoutError) as problem:
            self.failed[duty.name] = self.failed.get(duty.name, 0) + 1
            log.error("duty_failed", duty=duty.name, error=f"{type(problem).__name__}: {problem}")
            return min(duty.every_s, AGAIN_S)
        finally:
            await cancelled(running)
        self.done[duty.name] = self.done.get(duty.name, 0) + 1
        return duty.every_s

    async def _run(self, duty: Duty) -> None:
        for alert in await duty.run(self.context()):
            await self.tell(alert)
