"""A real Prometheus scrapes a real gateway: rules load, queries answer, panels show what the ledger says."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from support.calls import chat
from support.gateway import Gateway
from support.policy import budget, policy, thresholds
from support.processes import until
from support.prometheus import Prometheus, for_prometheus
from support.provider import Provider

from spendgate.monitoring.catalogue import ALERTS, GROUPS
from spendgate.monitoring.dashboards import DASHBOARDS
from spendgate.monitoring.rules import as_yaml, rule_file

POLICY = policy(
    budget("ml", 1),
    budget("web", 5, defaultModel="gpt-4o-mini", alertThresholds=thresholds((1, "alert_and_downgrade"))),
    budget("broke", 0),
    budget("spent", 0.05, overshootPercent=100),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with (
        Provider(tmp_path_factory.mktemp("provider")) as provider,
        Gateway(tmp_path_factory.mktemp("gateway"), provider.url, POLICY) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def prometheus(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped before the traffic began, and after."""
    target = f"127.0.0.1:{gateway.admin_port}"
    with Prometheus(
        tmp_path_factory.mktemp("prometheus"), scrapes=[target], rules=as_yaml(rule_file(GROUPS))
    ) as running:
        until(lambda: running.query("spendgate_ledger_up"), bool, "the first scrape", 60)
        traffic(gateway)
        settled = sum(r["requests"] for r in gateway.rows())
        until(
            lambda: sum(running.query('spendgate_exchanges_total{outcome!="refused"}').values()),
            lambda seen: seen >= settled,
            "a scrape after the traffic",
            60,
        )
        until(
            lambda: running.query(
                "rate(spendgate_exchanges_total[1m]) and spendgate_exchanges_total offset 3s"
            ),
            bool,
            "a few more scrapes",
            60,
        )
        yield running


def traffic(gateway: Gateway) -> None:
    for _ in range(3):
        chat(gateway, "ml", app="chat", max_tokens=500)
    chat(gateway, "ml", app="batch", model="gpt-4o-mini", max_tokens=200)
    chat(gateway, "ml", app="batch", model="nobody-knows-this-one", max_tokens=20)
    chat(gateway, "web", app="site", max_tokens=6000)  # past the threshold of 1 %
    gateway.settled("web", 1)
    chat(gateway, "web", app="site", max_tokens=10)
    chat(gateway, "spent", max_tokens=6000)
    gateway.settled("spent", 1)
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            chat(gateway, "broke")
    gateway.settled("ml", 5)
    gateway.settled("web", 2)
    gateway.lines("broke", 2)


def panel(name: str, title: str) -> str:
    """The first query of a panel, for all teams."""
    panels = DASHBOARDS[name]("")["panels"]
    expr: str = next(p for p in panels if p["title"] == title)["targets"][0]["expr"]
    return for_prometheus(expr)


def usd(value: float) -> Decimal:
    return Decimal(f"{value:.9f}")


def by_label(result: dict[tuple[tuple[str, str], ...], float], label: str) -> dict[str, Decimal]:
    return {dict(labels)[label]: usd(value) for labels, value in result.items()}


def ledger(gateway: Gateway) -> dict[str, Decimal]:
    return {r["team"]: Decimal(r["settled_usd"]) for r in gateway.rows() if Decimal(r["settled_usd"])}


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    rules = until(
        prometheus.rules, lambda found: all(r["health"] == "ok" for r in found), "every rule evaluated", 60
    )
    assert {r["name"] for r in rules if r["type"] == "alerting"} == {a.name for a in ALERTS}
    assert not [r for r in rules if r.get("lastError")]


SILENT = {
    "chargeback": {"Daily Spend Trend": "B", "Teams": "F"},  # there are few teams, and some last the month
    # nothing failed, every answer was metered, no hold was left, no counter grew since the first scrape that had it,
    # and neither a controller nor a cluster is scraped
    "operations": {
        "APIs That No Dialect Knows": "AB", "Budgets Not in Force as Written": "AB", "Controllers": "ABC",
        "Charged Without Having Been Metered": "A", "CPU by Gateway": "A",
        "Memory by Gateway": "A", "Drift": "B", "Holds Past Their Time": "AB",
        "Ledger Failures": "A", "Money Held": "A", "Not Metered, Not Priced": "A", "Policy Age": "AC",
        "Passed Without the Ledger": "A", "Provider Errors": "AB", "Refused Without the Ledger": "A",
        "Spend That Nobody Bounds": "AB", "Status Writes": "AB",
    },
}  # fmt: skip
"""Queries that have no answer in this house, by panel."""


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_every_query_of_every_panel_is_answered(prometheus: Prometheus, name: str) -> None:
    silent = set()
    for p in DASHBOARDS[name]("")["panels"]:
        for target in p["targets"]:
            if not prometheus.query(for_prometheus(target["expr"])):
                silent.add((p["title"], target["refId"]))
    assert silent <= {(title, ref) for title, refs in SILENT[name].items() for ref in refs}


def test_the_headline_and_the_table_are_the_ledgers(gateway: Gateway, prometheus: Prometheus) -> None:
    rows = {r["team"]: r for r in gateway.rows()}
    limits = {t: Decimal(r["budget_usd"]) for t, r in rows.items() if r["budget_usd"] is not None}
    assert usd(prometheus.query(panel("chargeback", "Spent"))[()]) == sum(ledger(gateway).values())
    assert usd(prometheus.query(panel("chargeback", "Budget"))[()]) == sum(limits.values())
    forecast = prometheus.query(panel("chargeback", "Forecast at the Month's End"))[()]
    assert usd(forecast) >= sum(v for t, v in ledger(gateway).items() if t in limits)
    assert prometheus.query(panel("chargeback", "Teams over Budget")) == {
        (): 1
    }  # `spent`; `broke` has a budget of 0
    [table] = [p for p in DASHBOARDS["chargeback"]("")["panels"] if p["title"] == "Teams"]
    columns = [by_label(prometheus.query(for_prometheus(t["expr"])), "team") for t in table["targets"]]
    assert columns[0] == limits
    assert {t: v for t, v in columns[1].items() if v} == ledger(gateway)
    assert columns[2] == {t: limit - Decimal(rows[t]["settled_usd"]) for t, limit in limits.items()}


def test_monthly_spend_by_team_is_the_ledgers(gateway: Gateway, prometheus: Prometheus) -> None:
    shown = by_label(prometheus.query(panel("chargeback", "Monthly Spend by Team")), "team")
    assert shown == ledger(gateway)


def test_spend_by_model_is_the_ledgers(gateway: Gateway, prometheus: Prometheus) -> None:
    shown = by_label(prometheus.query(panel("chargeback", "Spend by Model (All Teams)")), "model")
    models: dict[str, Decimal] = {}
    for row in gateway.rows():
        for model, amount in row["models"].items():
            models[model] = models.get(model, Decimal(0)) + Decimal(amount)
    assert shown == models


def test_spend_by_app_is_the_ledgers(gateway: Gateway, prometheus: Prometheus) -> None:
    apps: dict[tuple[str, str], Decimal] = {}
    for labels, value in prometheus.query(panel("chargeback", "Spend by App per Team")).items():
        key = (dict(labels)["team"], dict(labels)["app"])
        apps[key] = apps.get(key, Decimal(0)) + usd(value)
    assert apps == {
        (row["team"], app): Decimal(amount) for row in gateway.rows() for app, amount in row["apps"].items()
    }


def test_the_daily_trend_has_a_newborn_teams_first_dollars(gateway: Gateway, prometheus: Prometheus) -> None:
    shown = by_label(prometheus.query(panel("chargeback", "Daily Spend Trend")), "team")
    assert shown == ledger(gateway)


def test_utilization_is_the_ledgers(gateway: Gateway, prometheus: Prometheus) -> None:
    shown = prometheus.query(panel("chargeback", "Budget Utilization by Team"))
    assert {dict(k)["team"]: round(v, 6) for k, v in shown.items()} == {
        r["team"]: float(r["utilization"]) for r in gateway.rows() if r["utilization"] is not None
    }


def test_the_first_refusals_of_a_team_are_counted(prometheus: Prometheus) -> None:
    shown = prometheus.query(panel("chargeback", "Requests Rejected (Budget Limits)"))
    assert shown == {(("team", "broke"),): 2}


def test_routing_decisions_are_counted_by_reason(prometheus: Prometheus) -> None:
    shown = prometheus.query(panel("chargeback", "Model Routing Decisions"))
    assert {dict(labels)["reason"]: round(n) for labels, n in shown.items()} == {
        "budget_pressure": 1, "simple_query": 0, "complex_query": 0,
    }  # fmt: skip


def firing(prometheus: Prometheus, name: str) -> list[dict[str, Any]]:
    return [a for a in prometheus.alerts() if a["labels"]["alertname"] == name]


def test_a_model_without_a_price_fires_its_alert_at_once(prometheus: Prometheus) -> None:
    [alert] = until(lambda: firing(prometheus, "SpendgateUnpriced"), bool, "the alert", 60)
    assert alert["state"] == "firing"
    assert alert["labels"]["model"] == "nobody-knows-this-one"
    assert alert["annotations"]["description"].startswith("1 requests in the last hour")


def test_an_exhausted_team_is_one_alert_without_instance_and_a_budget_of_0_is_none(
    prometheus: Prometheus,
) -> None:
    [alert] = until(lambda: firing(prometheus, "LLMBudget100Percent"), bool, "the alert", 60)
    assert alert["labels"] == {"alertname": "LLMBudget100Percent", "severity": "critical", "team": "spent"}
    assert alert["annotations"]["description"].startswith("$-0.01 remain.")


def test_a_healthy_gateway_fires_nothing_else(prometheus: Prometheus) -> None:
    seen = {a["labels"]["alertname"] for a in prometheus.alerts()}
    budgets = {"LLMBudget50Percent", "LLMBudget80Percent", "LLMBudget100Percent", "LLMAppCostSpike"}
    assert seen <= {"SpendgateUnpriced", "LLMBudgetBurnRate", *budgets}
