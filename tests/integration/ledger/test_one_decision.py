"""One atomic call looks at every bound of an exchange, takes from all or none, and names the first that refuses;
candidates are tried in order within it (rules 6 to 9)."""

from __future__ import annotations

import asyncio

import pytest
from support.asks import T0, ask, end
from unit.exchange.driver import policy_of

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.bounds import Bound, Candidate
from spendgate.budget.limits import bounds_of
from spendgate.ledger.redis.holds import read_counters
from spendgate.ledger.redis.ledger import RedisLedger

USD = 10**9
POLICY = """
team: red
monthlyBudgetUSD: 100
overshootPercent: 0
dailyBudgetUSD: 50
maxUSDPerHour: 20
maxUSDPerRun: 4
modelLimits: [{modelPattern: "gpt-*", maxMonthlyUSD: 10}]
apps: [{name: chat, maxMonthlyUSD: 8}]
"""
NAMED = (
    ("month", "monthly_budget_exceeded"), ("day", "daily_budget_exceeded"), ("hour", "spend_rate_exceeded"),
    ("model:gpt-*", "model_budget_exceeded"), ("app:chat", "app_budget_exceeded"), ("run:r1", "run_budget_exceeded"),
)  # fmt: skip
"""Every bound of an exchange, in the order in which a refusal is named."""


def bounds(model: str = "gpt-4o") -> tuple[Bound, ...]:
    budget = policy_of(POLICY).budget("red")
    asked = Ask("red", "chat", model, "openai-chat", 10, run="r1")
    return bounds_of(budget, asked, model, T0, DecisionSettings())


async def fill(ledger: RedisLedger, *scopes: str) -> None:
    """Use up the counters of these scopes, and no other."""
    windows = {b.scope: b.window for b in bounds()}
    limit = {b.scope: b.floor_nanousd for b in bounds()}
    for scope in scopes:
        await ledger.settle([end(f"fill {scope}", limit[scope], scopes=((scope, windows[scope]),))], T0)


def test_the_policy_gives_all_six_bounds_in_their_order() -> None:
    assert tuple((b.scope, b.reason) for b in bounds()) == NAMED


@pytest.mark.parametrize(("scope", "reason"), NAMED)
async def test_each_bound_refuses_by_its_own_reason_and_nothing_moves(
    ledger: RedisLedger, scope: str, reason: str
) -> None:
    await fill(ledger, scope)
    pairs = [(b.scope, b.window) for b in bounds()]
    before = await read_counters(ledger, "red", pairs, T0)
    result = await ledger.reserve(ask("x", Candidate("gpt-4o", USD, bounds())), T0)
    (refusal,) = result.refusals
    assert (result.candidate, refusal.bound.reason, refusal.bound.scope) == (-1, reason, scope)
    assert refusal.committed_nanousd == refusal.bound.floor_nanousd
    assert await read_counters(ledger, "red", pairs, T0) == before


@pytest.mark.parametrize("first", range(len(NAMED)))
async def test_of_several_that_refuse_the_first_in_order_is_named(ledger: RedisLedger, first: int) -> None:
    await fill(ledger, *(scope for scope, _ in NAMED[first:]))
    result = await ledger.reserve(ask("x", Candidate("gpt-4o", USD, bounds())), T0)
    assert [r.bound.reason for r in result.refusals] == [NAMED[first][1]]


async def test_an_admission_holds_in_every_bound_at_once(ledger: RedisLedger) -> None:
    assert (await ledger.reserve(ask("x", Candidate("gpt-4o", USD, bounds())), T0)).candidate == 0
    _, holds, counters = await read_counters(ledger, "red", [(b.scope, b.window) for b in bounds()], T0)
    assert holds == 1
    assert {c.reserved_nanousd for c in counters.values()} == {USD}


async def test_a_candidate_over_its_own_limit_gives_way_to_the_next_in_the_same_call(
    ledger: RedisLedger,
) -> None:
    await fill(ledger, "model:gpt-*")
    routed, asked_for = Candidate("gpt-4o", USD, bounds()), Candidate("o3", 2 * USD, bounds("o3"))
    result = await ledger.reserve(ask("x", routed, asked_for), T0)
    assert (result.candidate, result.held_nanousd) == (1, 2 * USD)
    assert [r.bound.reason for r in result.refusals] == ["model_budget_exceeded"]
    await fill(ledger, "app:chat")
    result = await ledger.reserve(ask("y", routed, asked_for), T0)
    assert [(r.candidate, r.bound.reason) for r in result.refusals] == [
        (0, "model_budget_exceeded"), (1, "app_budget_exceeded"),
    ]  # fmt: skip


async def test_no_bound_is_passed_by_many_gateways_at_once(ledger: RedisLedger) -> None:
    results = await asyncio.gather(
        *(ledger.reserve(ask(f"x{i}", Candidate("gpt-4o", USD, bounds())), T0) for i in range(60))
    )
    assert sum(r.candidate == 0 for r in results) == 4  # the run's bound, the lowest
    reasons = {r.refusals[0].bound.reason for r in results if r.candidate < 0}
    assert reasons == {"run_budget_exceeded"}
