"""What a replica says of itself: since when its counters count, and what it may spend while the ledger is away."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.policy import Policy
from spendgate.money import NANO_PER_USD


class Replica(Collector):
    """Make it when the counters begin. The sum over replicas of the allowance is what rule 10 widens a team's
    bound by."""

    def __init__(self, policy: Callable[[], Policy], clock_s: Callable[[], float] = time.time) -> None:
        self._policy = policy
        self._clock_s = clock_s
        self._started_s = clock_s()

    def collect(self) -> list[Metric]:
        """The families."""
        allowance = GaugeMetricFamily(
            "spendgate_fail_open_allowance_usd",
            "What this replica lets a team spend while the ledger does not answer (+Inf: no limit).",
            labels=["team"],
        )
        now_ms = int(self._clock_s() * 1000)
        for team, budget in self._policy().budgets.items():
            nano = budget.fail_open_allowance(now_ms)
            allowance.add_metric([team], float("inf") if nano == UNLIMITED else nano / NANO_PER_USD)
        started = GaugeMetricFamily(
            "spendgate_start_time_seconds",
            "Since when this replica's counters count, by its own clock (unix time).",
            self._started_s,
        )
        return [allowance, started]
