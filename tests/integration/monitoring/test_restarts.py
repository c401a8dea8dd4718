"""A scripted load over two lives of a gateway, a killed worker among them: one scrape after the last settlement, every
number of the chargeback dashboard is the ledger's."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from operator import lt
from pathlib import Path
from typing import Any

import openai
import pytest
from support.calls import chat
from support.gateway import Gateway
from support.policy import budget, policy, thresholds
from support.ports import free_port
from support.processes import WORKER, until
from support.prometheus import Prometheus
from support.provider import Provider

from spendgate.monitoring.dashboards import DASHBOARDS
from spendgate.monitoring.recorded import GROUPS, SPENT
from spendgate.monitoring.rules import as_yaml, rule_file

POLICY = policy(
    budget("ml", 1),
    budget("late", 2),
    budget("routed", 5, defaultModel="gpt-4o-mini", alertThresholds=thresholds((1, "alert_and_downgrade"))),
    budget("broke", 0),
)
Shown = dict[tuple[tuple[str, str], ...], float]


def refuse(gateway: Gateway, times: int) -> None:
    for _ in range(times):
        with pytest.raises(openai.RateLimitError):
            chat(gateway, "broke")


def first_life(gateway: Gateway) -> None:
    for n in range(1, 4):
        chat(gateway, "ml", app="chat", max_tokens=400)
        gateway.settled("ml", n)
        if n == 2:  # what a killed worker had counted is not lost, and another takes its place
            gateway.command.child(WORKER).send_signal(signal.SIGKILL)
            until(lambda: gateway.admin.get("/readyz").status_code, lambda s: s == 200, "a new worker", 60)
    chat(gateway, "routed", app="site", max_tokens=4400)  # nearly to the threshold of 1 %
    gateway.settled("routed", 1)
    chat(gateway, "routed", app="site", max_tokens=1500)  # past it
    gateway.settled("routed", 2)
    refuse(gateway, 3)
    gateway.lines("broke", 3)


def second_life(gateway: Gateway) -> None:
    chat(gateway, "ml", app="batch", model="gpt-4o-mini", max_tokens=300)
    for _ in range(2):  # a team that nobody has seen before
        chat(gateway, "late", app="new", max_tokens=700)
    chat(gateway, "routed", app="site", max_tokens=1500)
    refuse(gateway, 2)
    gateway.settled("ml", 4)
    gateway.settled("late", 2)
    gateway.settled("routed", 3)
    # refusals are booked in batches, a second apart
    until(lambda: gateway.metric("spendgate_month_refusals", team="broke"), lambda n: n == 5, "refusals", 60)


RULES = as_yaml(rule_file(GROUPS))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Prometheus, float]]:
    """A gateway in its second life, a Prometheus that scraped both, and the moment to ask it about."""
    folder: Path = tmp_path_factory.mktemp("restarts")
    ports = free_port(), free_port()
    with (
        Provider(folder / "provider") as provider,
        Prometheus(folder / "prometheus", scrapes=[f"127.0.0.1:{ports[1]}"], rules=RULES) as prometheus,
    ):
        with Gateway(folder / "gateway", provider.url, POLICY, ports=ports) as gateway:
            until(lambda: prometheus.query("spendgate_ledger_up"), bool, "the first scrape", 60)
            first_life(gateway)
            scraped(prometheus)
        with Gateway(folder / "gateway", provider.url, POLICY, ports=ports) as gateway:
            scraped(prometheus)
            second_life(gateway)
            yield gateway, prometheus, scraped(prometheus)


def newest(prometheus: Prometheus, series: str) -> float:
    """When the last sample of a series was taken."""
    return max(prometheus.query(f"timestamp({series})").values(), default=0.0)


def scraped(prometheus: Prometheus) -> float:
    """Wait for one scrape that began after now, and for what is recorded of it; the moment from which on every panel
    shows it (they look a second back, so that midnight belongs to the day that ends)."""
    seen = time.time()
    for series in ("spendgate_ledger_up", SPENT):  # the scrape, and what is recorded of it
        seen = until(
            partial(newest, prometheus, series), partial(lt, seen), f"a new sample of {series}", 60,
        )  # fmt: skip
    return seen + 1.0


def shown(world: tuple[Gateway, Prometheus, float], title: str) -> Shown:
    _, prometheus, at = world
    panel = next(p for p in DASHBOARDS["chargeback"]("")["panels"] if p["title"] == title)
    return prometheus.query(panel["targets"][0]["expr"].replace("$team", ".*"), at)


def money(result: Shown, *labels: str) -> dict[tuple[str, ...], Decimal]:
    out: dict[tuple[str, ...], Decimal] = {}
    for key, value in result.items():
        at = tuple(dict(key)[label] for label in labels)
        out[at] = out.get(at, Decimal(0)) + Decimal(f"{value:.9f}")
    return {k: v for k, v in out.items() if v}


def ledger(gateway: Gateway, part: str = "") -> dict[tuple[str, ...], Decimal]:
    out: dict[tuple[str, ...], Decimal] = {}
    for row in gateway.rows():
        parts: dict[str, Any] = {"": row["settled_usd"]} if not part else row[part]
        for name, usd in parts.items():
            key = (row["team"],) if not part else (row["team"], name)
            out[key] = Decimal(usd)
    return {k: v for k, v in out.items() if v}


def test_spend_by_team_is_the_ledgers_over_a_restart(world: Any) -> None:
    assert money(shown(world, "Monthly Spend by Team"), "team") == ledger(world[0])
    assert set(ledger(world[0])) == {("ml",), ("late",), ("routed",)}


def test_spend_by_app_is_the_ledgers_over_a_restart(world: Any) -> None:
    assert money(shown(world, "Spend by App per Team"), "team", "app") == ledger(world[0], "apps")


def test_spend_by_model_is_the_ledgers_over_a_restart(world: Any) -> None:
    models: dict[tuple[str, ...], Decimal] = {}
    for (_, model), usd in ledger(world[0], "models").items():
        models[(model,)] = models.get((model,), Decimal(0)) + usd
    assert money(shown(world, "Spend by Model (All Teams)"), "model") == models


def test_utilization_is_the_ledgers_over_a_restart(world: Any) -> None:
    seen = {dict(k)["team"]: round(v, 6) for k, v in shown(world, "Budget Utilization by Team").items()}
    assert seen == {
        r["team"]: float(r["utilization"]) for r in world[0].rows() if r["utilization"] is not None
    }


def test_the_days_spend_is_the_ledgers_over_a_restart(world: Any) -> None:
    assert money(shown(world, "Daily Spend Trend"), "team") == ledger(world[0])


def test_refusals_of_both_lives_are_counted(world: Any) -> None:
    assert shown(world, "Requests Rejected (Budget Limits)") == {(("team", "broke"),): 5}


def test_a_counter_alone_would_have_forgotten_the_first_life(world: Any) -> None:
    _, prometheus, at = world
    counters = prometheus.query("sum by (team) (llm_requests_rejected_budget_total)", at)
    assert counters == {(("team", "broke"),): 2}


def test_routing_decisions_of_both_lives_are_counted_by_reason(world: Any) -> None:
    """An increase over whole windows is rounded by Prometheus' extrapolation, never by a lost life."""
    seen = {dict(k)["reason"]: round(v) for k, v in shown(world, "Model Routing Decisions").items()}
    assert seen == {"budget_pressure": 2, "simple_query": 0, "complex_query": 0}


def test_what_routing_saved_is_the_ledgers(world: Any) -> None:
    gateway, prometheus, at = world
    panel = next(p for p in DASHBOARDS["operations"]("")["panels"] if p["title"] == "Saved by Routing")
    saved = money(prometheus.query(panel["targets"][0]["expr"].replace("$team", ".*"), at), "team")
    assert set(saved) == {("routed",)}
    lines = [x for x in gateway.usage("routed") if x["decision"] == "downgrade"]
    assert len(lines) == 2
    assert saved["routed",] > 0
