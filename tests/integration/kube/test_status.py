"""A budget's life as `kubectl` shows it."""

from __future__ import annotations

import pytest
from support.kube import ROOT, Cluster
from support.processes import until
from support.spending import spend

from .conftest import Start, await_status, budget, condition, status_of


def test_the_example_of_the_first_release_shows_its_live_spend(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    cluster.kubectl("apply", "-f", str(ROOT / "k8s" / "samples" / "ml-team-budget.yaml"))
    start()
    await_status(cluster, "ml-team-budget", lambda s: s.get("phase") == "Ready", "Ready")
    spend(redis_url, "ml-team", 4000.123456789)
    status = await_status(cluster, "ml-team-budget", lambda s: s["currentSpendUSD"] > 0, "spend")
    assert status["currentSpendUSD"] == 4000.123457
    assert status["budgetUtilization"] == pytest.approx(0.500015, abs=1e-6)
    assert status["forecastUSD"] >= 4000
    assert status["observedGeneration"] == status["enforcedGeneration"] == 1
    table = cluster.kubectl("get", "llmbudgets", "-A").splitlines()
    assert table[0].split() == ["NAMESPACE", "NAME", "TEAM", "BUDGET", "SPENT", "UTILIZATION"]
    assert table[1].split()[:5] == ["ml-platform", "ml-team-budget", "ml-team", "8000", "4000.123457"]
    wide = cluster.kubectl("get", "lb", "-A", "-o", "wide").splitlines()[0].split()
    assert wide[-4:] == ["HELD", "FORECAST", "PHASE", "AGE"]


def test_an_exhausted_budget_says_so_and_recovers_by_a_raise(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    cluster.apply(budget("search", 100))
    start()
    spend(redis_url, "search", 85)
    await_status(cluster, "search", lambda s: s.get("phase") == "Downgrading", "Downgrading")
    spend(redis_url, "search", 20)
    status = await_status(cluster, "search", lambda s: s.get("phase") == "Exhausted", "Exhausted")
    assert condition(status, "Exhausted")["status"] == "True"
    cluster.apply(budget("search", 1000))
    await_status(
        cluster, "search",
        lambda s: s["phase"] == "Ready" and s["observedGeneration"] == 2, "recovery",
    )  # fmt: skip
    reasons = until(
        lambda: {e["reason"] for e in cluster.get("events", "-n", "ml-platform")["items"]},
        lambda found: "BudgetRecovered" in found,
        "events",
    )
    assert {"DowngradeStarted", "BudgetExhausted", "BudgetRecovered", "DowngradeEnded"} <= reasons


def test_a_model_without_a_price_is_named(cluster: Cluster, start: Start) -> None:
    cluster.apply(budget("search", 100, defaultModel="mystery-9000"))
    start()
    status = await_status(cluster, "search", lambda s: bool(condition(s, "PriceMissing")), "a verdict")
    assert condition(status, "PriceMissing")["status"] == "True"
    assert "mystery-9000" in condition(status, "PriceMissing")["message"]


def test_nothing_is_written_while_nothing_changes(cluster: Cluster, start: Start, redis_url: str) -> None:
    cluster.apply(budget("search", 100), budget("chat", 100))
    replica = start()
    spend(redis_url, "search", 10)
    await_status(cluster, "search", lambda s: s.get("currentSpendUSD") == 10, "spend")
    await_status(cluster, "chat", lambda s: s.get("phase") == "Ready", "Ready")
    rounds = replica.metric('spendgate_apiserver_calls_total{verb="update"}')
    patches = replica.metric("spendgate_status_patches_total")
    until(
        lambda: replica.metric('spendgate_apiserver_calls_total{verb="update"}'),
        lambda n: n > rounds + 4,
        "some seconds of renewals",
    )
    assert replica.metric("spendgate_status_patches_total") == patches


def test_a_user_can_not_write_a_status_nor_the_controller_a_budget(cluster: Cluster, start: Start) -> None:
    cluster.apply(budget("search", 100))
    start()
    before = await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    patch = ("patch", "llmbudget", "search", "-n", "ml-platform", "--type=merge", "-p")
    cluster.kubectl(*patch, '{"status":{"currentSpendUSD":99}}')
    assert status_of(cluster, "search")["currentSpendUSD"] == before["currentSpendUSD"]
    refused = cluster.kubectl(*patch, '{"spec":{"monthlyBudgetUSD":1}}', user="controller", check=False)
    assert "Forbidden" in refused or "forbidden" in refused
    cluster.kubectl(
        *patch, '{"spec":{"monthlyBudgetUSD":1}}', "--subresource=status", user="controller", check=False
    )
    assert cluster.get("lb", "search", "-n", "ml-platform")["spec"]["monthlyBudgetUSD"] == 100
