"""What the caller has left: answered here, for the caller alone, and sent to no provider."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from unit.exchange.driver import NOW_MS, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange import own_budget
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.snapshot import Snapshot
from spendgate.identity.identity import Caller
from spendgate.ledger.redis.holds import Counter

USD = 10**9
SPEC = """
team: ml
monthlyBudgetUSD: 25
dailyBudgetUSD: 10
maxUSDPerRun: 2
modelLimits: [{modelPattern: "gpt-4o*", maxMonthlyUSD: 5}]
apps: [{name: chat, maxMonthlyUSD: 8}, {name: other, maxMonthlyUSD: 1}]
"""
IN_USE = {"month": Counter(3 * USD, 12 * USD), "model:gpt-4o*": Counter(1 * USD, 3 * USD)}


def ask(snap: Snapshot, target: str = own_budget.PATH, method: str = "GET", **headers: str) -> e.Action:
    sent = {"x-llm-team": "ml", "x-llm-app": "chat", "x-llm-user": "ann"} | headers
    return Exchange("x", snap).receive(e.RequestHeaders(method, target, Caller(sent), method == "GET"))


def told(snap: Snapshot, need: e.Action, counters: dict[str, Counter]) -> dict[str, Any]:
    assert isinstance(need, e.NeedBudget)
    bounds = own_budget.bounds_asked(snap, need.identity, need.model, NOW_MS)
    read = {b.scope: counters.get(b.scope, Counter(0, 0)) for b in bounds}
    answer = own_budget.answer(snap, need.identity, need.model, bounds, read, NOW_MS)
    assert (answer.status, dict(answer.headers)["content-type"]) == (200, "application/json")
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


def test_the_month_and_every_bound_of_the_caller_are_told_used_and_held_apart() -> None:
    snap = snapshot_of(SPEC)
    found = told(snap, ask(snap, **{"x-llm-run": "r-1"}), IN_USE)
    limits = found.pop("limits")
    assert found == {
        "team": "ml", "app": "chat", "user": "ann", "month": "2026-11", "currency": "USD",
        "settled_usd": "3.00", "held_usd": "12.00", "limit_usd": "25.00", "remaining_usd": "10.00",
        "resets_at": "2026-12-01T00:00:00Z", "groups": [],
    }  # fmt: skip
    assert [(x["per"], x["value"], x["window"], x["max"]) for x in limits] == [
        ("team", "ml", "day", "10.00"),
        ("model", "gpt-4o*", "month", "5.00"),
        ("app", "chat", "month", "8.00"),
        ("run", "r-1", "total", "2.00"),
    ]
    assert limits[1] == {
        "per": "model", "value": "gpt-4o*", "unit": "usd", "window": "month", "max": "5.00", "used": "1.00",
        "held": "3.00", "remaining": "1.00", "resets_at": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    assert limits[3]["resets_at"] is None


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4o", 100_000), ("claude-opus-5", 320_000)])
def test_a_model_is_told_how_many_tokens_the_tightest_of_its_bounds_buys(model: str, tokens: int) -> None:
    snap = snapshot_of(SPEC)
    found = told(snap, ask(snap, f"{own_budget.PATH}?model={model}"), IN_USE)
    assert found["model"] == {"name": model, "affordable_output_tokens": tokens}


def test_a_team_without_a_budget_hears_what_it_used() -> None:
    snap = snapshot_of()
    found = told(snap, ask(snap, f"{own_budget.PATH}?model=gpt-4o"), {"month": Counter(7, 1)})
    assert (found["limit_usd"], found["remaining_usd"], found["limits"]) == (None, None, [])
    assert (found["settled_usd"], found["model"]["affordable_output_tokens"]) == ("0.000000007", None)


def test_nothing_left_is_never_below_zero() -> None:
    snap = snapshot_of(SPEC)
    found = told(snap, ask(snap, f"{own_budget.PATH}?model=gpt-4o"), {"month": Counter(24 * USD, 9 * USD)})
    assert (found["remaining_usd"], found["model"]["affordable_output_tokens"]) == ("0.00", 0)


def test_who_is_not_named_hears_nothing_where_strangers_are_refused() -> None:
    for unbudgeted, answered in (("allow", True), ("reject", False)):
        action = ask(snapshot_of(SPEC, unbudgeted=unbudgeted), **{"x-llm-team": ""})
        if answered:
            assert isinstance(action, e.NeedBudget)
        else:
            assert isinstance(action, e.Reject) and action.status == 401


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/spendgate/v1/budget", 405),
        ("GET", "/spendgate/v1/budgets", 404),
        ("GET", "/spendgate", 404),
        ("GET", "/SPENDGATE/v2", 404),
        ("POST", "//spendgate/v1/chat/completions", 404),
        ("GET", "/%73pendgate/v1", 404),
    ],
)
def test_nothing_below_the_gateways_own_prefix_reaches_a_provider(
    method: str, target: str, status: int
) -> None:
    action = ask(snapshot_of(SPEC, passthrough="allow"), target, method)
    assert isinstance(action, e.Reject) and action.status == status


@pytest.mark.parametrize("target", ["/v1/models", "/spendgates", "/v1/spendgate/v1/budget", "/%20"])
def test_other_paths_are_none_of_its_business(target: str) -> None:
    assert not own_budget.is_ours(target)
