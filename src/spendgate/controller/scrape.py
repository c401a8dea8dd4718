"""The text of /metrics: the budgets' part is made anew only when their numbers were read, for ten thousand budgets
in a thread beside the loop, so that neither CPU nor the Lease suffers by a scrape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from spendgate.controller.metrics import ControllerMetrics, Vitals
from spendgate.views.gauges import BudgetGauges

READ_S_PER_TEAM = 0.005
"""Between two readings of the budgets' numbers: at every scrape for a few budgets, less often for thousands."""


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """A registry with these collectors in it."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


class Scrape:
    """`text` for each scrape. Budgets are shown while `acts` says that this replica leads, then and only then, so
    that two replicas are never added up. `vitals` is asked within the loop; `more` is shown by every replica."""

    def __init__(
        self,
        gauges: BudgetGauges,
        acts: Callable[[], bool],
        vitals: Callable[[], Vitals],
        now_ms: Callable[[], int],
        more: Sequence[Collector] = (),
    ) -> None:
        self._gauges = gauges
        self._acts = acts
        self._vitals = vitals
        self._now_ms = now_ms
        self._more = more
        self._budgets = registry_of(gauges)
        self._text = b""
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def text(self) -> bytes:
        """What Prometheus gets."""
        vitals = self._vitals()
        own = generate_latest(registry_of(ControllerMetrics(lambda: vitals), *self._more))
        if not self._acts():
            self._read_at = float("-inf")
            return own
        async with self._reading:
            if time.monotonic() - self._read_at >= READ_S_PER_TEAM * vitals.in_force:
                self._read_at = time.monotonic()
                await self._gauges.refresh(self._now_ms())
                self._text = await asyncio.to_thread(generate_latest, self._budgets)
        return own + self._text
