"""What is carried over is read once for all, and again every few minutes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from unit.exchange.driver import policy_of

from spendgate.budget.policy import Policy
from spendgate.errors import LedgerUnavailable
from spendgate.views.carries import FRESH_MS, KEPT_MS, Carries, limits_at

USD = 10**9
NOW = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp() * 1000)
NEXT_MONTH = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000)
TWO = """\
{team: ml, monthlyBudgetUSD: 100, rollover: {percent: 50}}
---
{team: all, members: [ml], monthlyBudgetUSD: 1000, rollover: {percent: 100}}
---
{team: plain, monthlyBudgetUSD: 100}
"""


class Ledger:
    def __init__(self) -> None:
        self.away = False
        self.asked: list[tuple[list[str], str]] = []
        self.settled: dict[tuple[str, str], int] = {("ml", "202610"): 20 * USD}

    async def months_settled(self, accounts: Sequence[str], month: str) -> list[int | None]:
        if self.away:
            raise LedgerUnavailable("away")
        self.asked.append((list(accounts), month))
        return [self.settled.get((a, month)) for a in accounts]


async def carried(carries: Carries, policy: Policy, at_ms: int) -> int:
    await carries.refresh(policy.every, at_ms)
    return carries.carried_nanousd(policy.every[1], at_ms)


async def test_one_read_in_a_few_minutes_for_all_that_roll_over_and_none_for_others() -> None:
    ledger, policy = Ledger(), policy_of(TWO)
    carries = Carries(ledger)
    assert [b.team for b in policy.every] == ["all", "ml", "plain"]
    for at in (NOW, NOW + FRESH_MS - 1):
        assert await carried(carries, policy, at) == 50 * USD
    assert len(ledger.asked) == 1
    accounts, month = ledger.asked[0]
    assert len(accounts) == 2 and "ml" in accounts and "plain" not in accounts and month == "202610"
    ledger.settled["ml", "202610"] = 90 * USD
    assert await carried(carries, policy, NOW + FRESH_MS) == 10 * USD
    assert len(ledger.asked) == 2


async def test_of_a_ledger_that_is_away_what_was_known_stays() -> None:
    ledger, policy = Ledger(), policy_of(TWO)
    carries = Carries(ledger)
    await carried(carries, policy, NOW)
    ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await carries.refresh(policy.every, NOW + FRESH_MS)
    assert carries.carried_nanousd(policy.every[1], NOW + FRESH_MS) == 50 * USD


async def test_a_new_month_carries_what_the_one_before_left_at_once() -> None:
    ledger, policy = Ledger(), policy_of(TWO)
    carries = Carries(ledger)
    await carried(carries, policy, NEXT_MONTH - 1)
    ledger.settled["ml", "202611"] = 70 * USD
    assert await carried(carries, policy, NEXT_MONTH) == 30 * USD
    assert carries.carried_nanousd(policy.every[1], NEXT_MONTH - 1) == 50 * USD
    assert await carried(carries, policy, NEXT_MONTH + KEPT_MS) == 30 * USD
    assert carries.carried_nanousd(policy.every[1], NEXT_MONTH - 1) == 0  # forgotten


async def test_limits_are_those_of_the_month_with_what_it_was_left() -> None:
    ledger, policy = Ledger(), policy_of(TWO)
    found = await limits_at(ledger, {b.team: b for b in policy.every}, NOW)
    assert found == {"ml": 150 * USD, "all": 1000 * USD, "plain": 100 * USD}
