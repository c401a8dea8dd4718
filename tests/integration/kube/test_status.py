"""A budget's life as `kubectl` shows it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from support.kube import ROOT, Cluster
from support.processes import SPENDGATE, until
from support.spending import spend
from support.tcp_proxy import TcpProxy

from spendgate.budget.forecast import METHOD
from spendgate.months import month_start

from .conftest import SlackThread, Start, await_status, begun, budget, condition, status_of


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
    assert table[0].split() == [
        "NAMESPACE", "NAME", "TEAM", "BUDGET", "SPENT", "UTILIZATION", "READY", "REASON"
    ]  # fmt: skip
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


def test_what_last_month_left_is_part_of_the_budget(cluster: Cluster, start: Start, redis_url: str) -> None:
    last_month_ms = int(month_start(int(time.time() * 1000)).timestamp() * 1000) - 1
    spend(redis_url, "search", 20, at_ms=last_month_ms)
    spend(redis_url, "search", 120)
    cluster.apply(budget("search", 100, rollover={"percent": 50}))
    leader = start()
    status = await_status(cluster, "search", lambda s: s.get("currentSpendUSD") == 120, "spend")
    assert (status["phase"], status["budgetUtilization"]) == ("Downgrading", 0.8)
    assert condition(status, "Exhausted")["status"] == "False"
    until(lambda: leader.metric('spendgate_budget_usd{team="search"}'), lambda n: n == 150, "the gauge")


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


def test_status_slack_metrics_and_the_command_show_one_forecast(
    cluster: Cluster, start: Start, redis_url: str, slack: SlackThread, tmp_path: Path
) -> None:
    cluster.apply(budget("search", 100))
    leader = start("ctl-a", SLACK_WEBHOOK_URL=slack.slack.webhook)
    other = start("ctl-b")
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    until(lambda: begun(redis_url), bool, "the alerts' beginning")

    def seen() -> tuple[float, float, str, str]:
        """All four; they agree unless the hour turned in between."""
        (text,) = slack.about("team search")[-1:] or [""]
        found = re.search(r"Forecast for the month: \$([0-9]+\.[0-9]{2})", text)
        command = subprocess.run(
            [SPENDGATE, "budgets", "--redis", redis_url, "--policy", str(file), "-o", "json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return (
            status_of(cluster, "search").get("forecastUSD", 0.0),
            leader.metric('spendgate_forecast_usd{team="search"}'),
            found.group(1) if found else "",
            json.loads(command.stdout)[0]["forecast_usd"],
        )

    file = tmp_path / "budget.yaml"
    file.write_text(json.dumps(budget("search", 100)))
    spend(redis_url, "search", 51.5)
    until(
        seen,
        lambda s: s[0] >= 51.5 and s[0] == round(s[1], 6) and f"{s[0]:.2f}" == s[2]
        and abs(float(s[3]) - s[0]) < 1e-6,
        "one forecast", 90.0,
    )  # fmt: skip
    assert other.metric('spendgate_forecast_usd{team="search"}') == 0
    said = cluster.kubectl("explain", "llmbudget.status.forecastUSD")
    assert METHOD.split(",")[0] in " ".join(said.split())


def test_the_leader_alone_has_the_budgets_gauges_also_of_a_team_without_traffic(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    cluster.apply(budget("search", 100), budget("idle", 7))
    leader, other = start("ctl-a"), start("ctl-b")
    spend(redis_url, "search", 25)
    until(
        lambda: leader.metric('llm_budget_utilization_ratio{team="search"}'), lambda n: n == 0.25, "the gauge"
    )
    assert leader.metric('llm_budget_remaining_usd{team="idle"}') == 7
    assert leader.metric('spendgate_spend_usd{app="app",model="gpt-4o",team="search"}') == 25
    for family in ("llm_budget_", "spendgate_spend_usd", "spendgate_budget_usd"):
        assert family not in other.page("/metrics", other.metrics_port)[1]
    leader.stop()
    until(
        lambda: other.metric('llm_budget_utilization_ratio{team="search"}'), lambda n: n == 0.25,
        "the gauge of the successor", 60.0,
    )  # fmt: skip


def test_every_crossing_is_an_event_once_over_a_change_of_leaders(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    cluster.apply(budget("search", 100))
    first = start("ctl-a")
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    until(lambda: begun(redis_url), bool, "the alerts' beginning")
    spend(redis_url, "search", 85)

    def crossings() -> list[str]:
        events = cluster.get("events", "-n", "ml-platform")["items"]
        return sorted(
            e["message"].partition(" reached")[0] for e in events if e["reason"] == "ThresholdCrossed"
        )

    head = "LLM budget of team search: "
    until(crossings, lambda seen: seen == [f"{head}50 %", f"{head}80 %"], "two events", 60.0)
    first.stop()
    start("ctl-b")
    spend(redis_url, "search", 20)
    until(crossings, lambda seen: len(seen) >= 3, "the third", 60.0)
    assert crossings() == [f"{head}100 %", f"{head}50 %", f"{head}80 %"]


def test_a_store_that_is_away_is_a_condition_and_an_event_and_so_is_its_return(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    proxy = TcpProxy(redis_url.removeprefix("unix://"))
    cluster.apply(budget("search", 100))
    start(url=f"redis://127.0.0.1:{proxy.port}/0")
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")

    def reasons() -> set[str]:
        return {e["reason"] for e in cluster.get("events", "-n", "ml-platform")["items"]}

    proxy.cut()
    until(reasons, lambda found: "StoreDegraded" in found, "the fault's event", 60.0)
    proxy.heal()
    until(reasons, lambda found: "StoreRecovered" in found, "the recovery's event", 60.0)
    proxy.close()
