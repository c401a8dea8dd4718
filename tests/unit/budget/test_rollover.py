"""A budget as people read it: what last month left is part of it until the month ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.exchange.driver import policy_of

from spendgate.budget.phase import phase_of
from spendgate.budget.policy import TeamBudget
from spendgate.budget.rollover import carried_nanousd, with_carry

USD = 10**9
NOW = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp() * 1000)
NEXT_MONTH = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000)


def budget(percent: int | None = 50, more: str = "") -> TeamBudget:
    rollover = "" if percent is None else f", rollover: {{percent: {percent}}}"
    found = policy_of(f"{{team: ml, monthlyBudgetUSD: 100{rollover}{more}}}").budget("ml")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("last_usd", "carried_usd"), [(None, 0), (0, 50), (20, 50), (70, 30), (100, 0), (130, 0)]
)
def test_at_most_the_share_of_the_budget_is_carried_over(last_usd: int | None, carried_usd: int) -> None:
    last = None if last_usd is None else last_usd * USD
    assert carried_nanousd(budget(), last) == carried_usd * USD


def test_without_rollover_and_without_a_threshold_that_rejects_nothing_is_carried_over() -> None:
    soft = budget(more=", alertThresholds: [{percent: 80, action: alert}]")
    assert carried_nanousd(budget(None), 0) == carried_nanousd(soft, 0) == 0


def test_phase_thresholds_and_bound_are_of_the_budget_with_what_is_carried_over() -> None:
    as_read = with_carry(budget(), 50 * USD, NOW)
    assert (as_read.limit_nanousd(NOW), as_read.month_bound_nanousd(NOW)) == (150 * USD, 150 * USD)
    phases = [phase_of(as_read, usd * USD, NOW) for usd in (119, 120, 149, 150)]
    assert phases == ["Ready", "Downgrading", "Downgrading", "Exhausted"]


def test_what_is_carried_over_ends_with_the_month_and_is_carried_once() -> None:
    as_read = with_carry(budget(), 50 * USD, NOW)
    assert as_read.limit_nanousd(NEXT_MONTH - 1) == 150 * USD
    assert as_read.limit_nanousd(NEXT_MONTH) == 100 * USD
    assert as_read.carry() is None


@given(st.integers(0, 200 * USD), st.sampled_from((70, 80, 95, 100, 110)), st.integers(1, 100))
def test_the_bound_that_is_read_is_the_one_that_the_ledger_enforces(
    last: int, reject: int, percent: int
) -> None:
    b = budget(percent, f", alertThresholds: [{{percent: {reject}, action: reject}}]")
    carry = b.carry()
    assert carry is not None
    amount = carried_nanousd(b, last)
    enforced = b.month_bound_nanousd(NOW) + amount * carry.floor_parts // 10_000
    assert with_carry(b, amount, NOW).month_bound_nanousd(NOW) == enforced
