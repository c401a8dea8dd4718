"""No rule and no panel asks for a metric that spendgate does not show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from spendgate.budget.policy import Policy
from spendgate.controller.metrics import ControllerMetrics, Vitals
from spendgate.gateway.metrics import Metrics
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.monitoring.budget_alerts import ALERTS as BUDGET_ALERTS
from spendgate.monitoring.catalogue import GROUPS
from spendgate.monitoring.dashboards import CHARGEBACK, OPERATIONS
from spendgate.policy.source import PolicyMetrics
from spendgate.rebuild.job import RebuildJob
from spendgate.supervisor.envoy_counters import EnvoyCounters
from spendgate.views.gauges import BudgetGauges

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
NAME = re.compile(r"\b(?:llm|spendgate)_[a-z_]+\b")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
CONTRACT = {
    "llm_cost_usd_total", "llm_cost_estimate_usd_total", "llm_budget_remaining_usd",
    "llm_budget_utilization_ratio", "llm_requests_rejected_budget_total", "llm_model_routing_total",
    "spendgate_spend_usd",
}  # fmt: skip


OPTIONAL = re.compile(r"unless on \(team\) \(max by \(team\) \(spendgate_budget_soft\) > 0\)")
"""Where it is not there, nothing is left out."""
RECORDED = re.compile(r"\bteam\w*(?::\w+)+")


def asked_by(expr: str) -> set[str]:
    """The metrics that an expression names; of recorded series their own rules tell."""
    recorded = {r.name for g in GROUPS for r in g.rules}
    assert set(RECORDED.findall(expr)) <= recorded
    return set(NAME.findall(RECORDED.sub("", expr)))


def samples(families: Iterable[Metric]) -> set[str]:
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def shown() -> set[str]:
    registry = CollectorRegistry()
    Metrics(registry)
    PolicyMetrics(registry)
    by_label = ("calls", "status_errors", "alerts", "faulty")
    vitals = Vitals(**dict.fromkeys(Vitals.__dataclass_fields__, 0) | {n: {} for n in by_label})  # type: ignore[arg-type]
    gauges = BudgetGauges(cast(Any, None), Policy())
    keeper = Checkpointer(cast(Any, None), Policy)
    job = RebuildJob(keeper, cast(Any, None), Policy)
    envoys = EnvoyCounters("/nowhere").collect()
    collected = [*registry.collect(), *envoys, *gauges.collect(), *keeper.collect(), *job.collect()]
    return samples([*collected, *ControllerMetrics(lambda: vitals).collect()])


@pytest.mark.parametrize("rule", [r for g in GROUPS for r in g.rules], ids=lambda r: r.name)
def test_a_rule_asks_only_for_metrics_that_exist(rule: object) -> None:
    asked = asked_by(rule.expr)  # type: ignore[attr-defined]
    assert asked - shown() == set()


@pytest.mark.parametrize("panel", [*CHARGEBACK, *OPERATIONS], ids=lambda p: p.title)
def test_a_panel_asks_only_for_metrics_that_exist(panel: object) -> None:
    asked = {n for expr, _ in panel.queries for n in NAME.findall(expr)}  # type: ignore[attr-defined]
    assert asked
    assert asked - shown() == set()


@pytest.mark.parametrize("alert", BUDGET_ALERTS, ids=lambda a: a.name)
def test_the_alerts_on_money_need_only_the_contracts_metrics(alert: object) -> None:
    assert asked_by(OPTIONAL.sub("", alert.expr)) <= CONTRACT  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda p: p.stem)
def test_a_runbook_names_only_metrics_that_exist(page: Path) -> None:
    asked = {n.removesuffix("_bucket") for n in NAME.findall(page.read_text(encoding="utf-8"))}
    known = shown() | {n.removesuffix("_bucket") for n in shown()}
    assert asked - known - {"llm_gateway"} == set()
