"""Ends workers that hang: they live, and their event loop stands still (a blocked call, a stopped process)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from spendgate.supervisor.processes import Child

log = structlog.get_logger()

LOOK_S = 0.1
LAG_S = 1.0
"""When we ourselves come so much too late, the machine stood still, and nobody's silence says anything."""
AGAIN_S = 60.0
"""A worker is killed for hanging once in so long at most: where each new one hangs too, killing is no help."""


class Watchdog:
    """Kills what hangs; who watches over deaths starts it again."""

    def __init__(self, children: Sequence[Child], killed: Callable[[], None]) -> None:
        self._children = children
        self._killed = killed
        self._killed_at: dict[str, float] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_S)
            self.look(time.monotonic(), late_s=time.monotonic() - before - LOOK_S)

    def look(self, now_s: float, late_s: float = 0.0) -> None:
        """One look, by the monotonic clock."""
        for child in self._children:
            hangs = child.hangs(now_s)
            if late_s > LAG_S:
                child.forgive(now_s)
            elif hangs and now_s - self._killed_at.get(child.name, -AGAIN_S) >= AGAIN_S:
                self._killed_at[child.name] = now_s
                log.error("worker_hangs", child=child.name, pid=child.pid)
                child.kill()
                self._killed()
