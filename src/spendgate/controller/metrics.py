"""The controller's own metrics: what it follows, writes, and how old it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.values import dataclass

FAULTY_MAX = 1000
"""Documents shown one by one: whoever writes thousands of them does not make thousands of series."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """One moment of a controller."""

    leading: bool
    budgets: int
    in_force: int
    invalid: int
    conflicts: int
    not_owner: int = field(default=0, kw_only=True)
    status_errors: dict[str, int] = field(default_factory=dict, kw_only=True)
    faulty: tuple[tuple[str, str, str, str], ...] = field(default=(), kw_only=True)
    """Namespace, name, team and state of each document that is not in force as written."""
    lapsed: int = field(default=0, kw_only=True)
    """Teams that are refused because no document of theirs may bind."""
    generation: int
    lists: int
    watch_faults: int
    patches: int
    events: int
    backlog: int
    silent_s: float
    calls: dict[str, int]
    alerts: dict[str, int] = field(default_factory=dict)
    elsewhere: bool = False


class ControllerMetrics(Collector):
    """Asks for the vitals at the scrape."""

    def __init__(self, vitals: Callable[[], Vitals]) -> None:
        self._vitals = vitals

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The families."""
        v = self._vitals()
        yield GaugeMetricFamily(
            "spendgate_controller_leading", "1 where this replica leads.", float(v.leading)
        )
        states = GaugeMetricFamily(
            "spendgate_budgets", "LLMBudgets by what became of them.", labels=["state"]
        )
        counts = {
            "in_force": v.in_force, "invalid": v.invalid, "conflict": v.conflicts, "not_owner": v.not_owner
        }  # fmt: skip
        for state, n in counts.items():
            states.add_metric([state], n)
        states.add_metric(["all"], v.budgets)
        yield states
        faulty = GaugeMetricFamily(
            "spendgate_budget_faulty",
            "1 for each LLMBudget that is not in force as written; of the leader.",
            labels=["budget_namespace", "budget", "team", "reason"],
        )
        for labels in v.faulty[:FAULTY_MAX] if v.leading else ():
            faulty.add_metric(labels, 1)
        yield faulty
        yield GaugeMetricFamily(
            "spendgate_teams_lapsed", "Teams refused because no budget written for them may bind.", v.lapsed
        )
        yield GaugeMetricFamily(
            "spendgate_policy_generation", "Generation of the policy in Redis, as last seen.", v.generation
        )
        yield GaugeMetricFamily(
            "spendgate_controller_policy_elsewhere",
            "1 where another cluster's or namespace's controllers keep the policy of this ledger.",
            float(v.elsewhere),
        )
        yield GaugeMetricFamily(
            "spendgate_apiserver_silent_seconds", "Since the API server's last sign of life.", v.silent_s
        )
        yield GaugeMetricFamily("spendgate_status_backlog", "Statuses that wait for the bound.", v.backlog)
        yield CounterMetricFamily("spendgate_informer_lists", "Lists, the first included.", v.lists)
        yield CounterMetricFamily("spendgate_informer_faults", "Watches that broke.", v.watch_faults)
        yield CounterMetricFamily("spendgate_status_patches", "Statuses written.", v.patches)
        errors = CounterMetricFamily(
            "spendgate_status_errors", "Statuses that the API server did not take.", labels=["reason"]
        )
        for reason, n in sorted(v.status_errors.items()):
            errors.add_metric([reason], n)
        yield errors
        yield CounterMetricFamily("spendgate_events", "Events written.", v.events)
        calls = CounterMetricFamily("spendgate_apiserver_calls", "Requests by verb.", labels=["verb"])
        for verb, n in sorted(v.calls.items()):
            calls.add_metric([verb], n)
        yield calls
        yield GaugeMetricFamily(
            "spendgate_alerts_pending",
            "Deliveries of alerts that are not made yet.",
            v.alerts.get("pending", 0),
        )
        alerts = CounterMetricFamily(
            "spendgate_alerts",
            "Attempts to deliver an alert, by how they ended: posted, failed (tried again), refused (given up).",
            labels=["result"],
        )
        for result in ("posted", "failed", "refused"):
            alerts.add_metric([result], v.alerts.get(result, 0))
        yield alerts
