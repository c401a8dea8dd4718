"""What people read of a month with a rest of the last is what the ledger enforces, to the nano-dollar."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.asks import T0, ask, candidate, end
from unit.exchange.driver import policy_of

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.limits import all_bounds
from spendgate.budget.phase import phase_of
from spendgate.budget.policy import Policy
from spendgate.ledger.exchanges import GroupShare, group_account
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.views.carries import Carries, bounded_at
from spendgate.views.gauges import BudgetGauges

USD = 10**9
LAST_MONTH_MS = T0 - 30 * 86_400_000
ROLLS = "{team: red, monthlyBudgetUSD: 100, rollover: {percent: 50}%s}"
GROUP = "\n---\n{team: all, members: [red], monthlyBudgetUSD: 100, rollover: {percent: 50}}"


async def is_admitted(ledger: RedisLedger, policy: Policy, name: str) -> bool:
    """Does the ledger let one nano-dollar pass?"""
    asked = Ask("red", "chat", "gpt-4o", "", 0)
    bounds = all_bounds(policy.budget("red"), asked, T0, DecisionSettings(), policy.groups_of("red"))
    return (await ledger.reserve(ask(name, candidate(1, *bounds)), T0)).candidate >= 0


@pytest.mark.parametrize(
    ("last_usd", "bound_usd", "more"),
    [
        (None, 100, ""),
        (20, 150, ""),
        (70, 130, ""),
        (130, 100, ""),
        (20, 135, ", alertThresholds: [{percent: 90, action: reject}]"),
    ],
)
async def test_the_phase_is_exhausted_where_the_ledger_refuses_and_not_a_nano_dollar_before(
    ledger: RedisLedger, last_usd: int | None, bound_usd: int, more: str
) -> None:
    policy = policy_of(ROLLS % more)
    if last_usd is not None:
        await ledger.settle([end("last", last_usd * USD, at_ms=LAST_MONTH_MS)], T0)
    await ledger.settle([end("now", bound_usd * USD - 1)], T0)
    budget = (await bounded_at(ledger, policy.budgets, T0))["red"]
    assert budget.month_bound_nanousd(T0) == bound_usd * USD
    assert phase_of(budget, bound_usd * USD - 1, T0) != "Exhausted"
    assert await is_admitted(ledger, policy, "fits")
    await ledger.settle([end("fits", 1)], T0)
    assert phase_of(budget, bound_usd * USD, T0) == "Exhausted"
    assert not await is_admitted(ledger, policy, "not")


async def test_a_group_carries_its_own_rest(ledger: RedisLedger) -> None:
    policy = policy_of("{team: red, monthlyBudgetUSD: 1000}" + GROUP)
    account = group_account("all")
    await ledger.settle([end("last", 60 * USD, at_ms=LAST_MONTH_MS, team=account)], T0)
    await ledger.settle([end("now", 140 * USD - 1, team=account)], T0)
    gauges = BudgetGauges(ledger, policy)
    await gauges.refresh(T0)
    group = next(r for r in gauges.rows(T0) if r.get("group"))
    assert (group["budget_usd"], group["carried_usd"], group["utilization"]) == ("140.00", "40.00", 1.0)
    assert await is_admitted(ledger, policy, "fits")
    share = GroupShare("all", (("month", "month"),))
    await ledger.settle([replace(end("fits", 1), groups=(share,))], T0)
    assert not await is_admitted(ledger, policy, "not")


async def test_rows_say_what_was_carried_over_and_its_share(ledger: RedisLedger) -> None:
    await ledger.settle([end("last", 20 * USD, at_ms=LAST_MONTH_MS), end("now", 120 * USD)], T0)
    gauges = BudgetGauges(ledger, policy_of(ROLLS % ""))
    await gauges.refresh(T0)
    (row,) = gauges.rows(T0)
    assert (row["budget_usd"], row["carried_usd"], row["utilization"]) == ("150.00", "50.00", 0.8)


async def test_last_month_is_known_where_it_settled_and_only_there(ledger: RedisLedger) -> None:
    await ledger.settle([end("last", 7, at_ms=LAST_MONTH_MS), end("now", 5, team="blue")], T0)
    assert await ledger.months_settled(["red", "blue"], "202610") == [7, None]
    assert await ledger.months_settled([], "202610") == []
    carries = Carries(ledger)
    await carries.refresh(policy_of("{team: red, monthlyBudgetUSD: 1}").every, T0)
    assert carries.carried_nanousd(policy_of(ROLLS % "").every[0], T0) == 0  # never asked for
