"""What last month left counts in every threshold: a budget that rolls over is told by the bound that is enforced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from support.alert_desk import Desk
from support.asks import T0

from spendgate.alerts.reports import ReportPlan
from spendgate.budget.patterns import ModelPattern
from spendgate.ledger.exchanges import group_account
from spendgate.views.carries import FRESH_MS

DAY_MS = 86_400_000
LAST_MONTH_MS = T0 - 30 * DAY_MS
MONDAY_MS = 1_795_417_200_000  # 2026-11-23T07:00:00Z
HALF = Decimal(50)


@pytest.fixture
async def rolling(desk: Desk) -> AsyncIterator[Desk]:
    """$100, of which last month left $80: half of the budget is carried over."""
    desk.budget(usd=100, rollover_percent=HALF)
    await desk.spend(20, at_ms=LAST_MONTH_MS)
    yield desk


async def test_each_threshold_is_told_by_the_budget_with_what_was_carried_over(rolling: Desk) -> None:
    loop = rolling.loop()
    await loop.begin()
    await rolling.spend(119)
    await loop.run_once()
    assert rolling.heads() == ["red: 50 %"]
    await rolling.spend(1)
    await loop.run_once()
    assert rolling.heads() == ["red: 50 %", "red: 80 %"]
    assert "$120.00 spent of $150.00" in rolling.slack.texts[1]
    await rolling.spend(30)
    await loop.run_once()
    assert rolling.heads() == ["red: 50 %", "red: 80 %", "red: 100 %"]
    assert "$150.00 spent of $150.00. The budget is exhausted." in rolling.slack.texts[2]


async def test_what_settles_into_last_month_later_is_no_edit_of_the_budget(rolling: Desk) -> None:
    loop = rolling.loop()
    await loop.begin()
    await rolling.spend(70)
    await loop.run_once()
    await rolling.spend(40, at_ms=LAST_MONTH_MS)  # of $100, $40 are left
    rolling.now_ms += FRESH_MS
    await loop.run_once()
    await rolling.spend(50)
    await loop.run_once()
    assert rolling.heads() == ["red: 50 %", "red: 80 %"]
    assert "$120.00 spent of $140.00" in rolling.slack.texts[1]


async def test_an_edit_is_told_with_what_was_carried_over_before_and_since(rolling: Desk) -> None:
    loop = rolling.loop()
    await loop.begin()
    await rolling.spend(70)
    await loop.run_once()
    rolling.budget(usd=60, rollover_percent=HALF)
    await loop.run_once()
    (text,) = rolling.slack.texts
    assert "team red was changed from $150.00 to $90.00: 50 % reached" in text
    assert "$70.00 spent of $90.00." in text


async def test_a_group_is_told_by_its_own_last_month(desk: Desk) -> None:
    desk.budget("all", usd=100, rollover_percent=HALF, members=(ModelPattern.of("red"),))
    account = group_account("all")
    await desk.spend(90, account, at_ms=LAST_MONTH_MS)
    loop = desk.loop()
    await loop.begin()
    await desk.spend(88, account)
    await loop.run_once()
    assert desk.heads() == ["all: 50 %", "all: 80 %"]
    assert "$88.00 spent of $110.00" in desk.slack.texts[1]


async def test_a_digest_holds_the_month_against_the_budget_with_what_was_carried_over(rolling: Desk) -> None:
    plan = ReportPlan(digests=("weekly",))
    rolling.budget("plain", usd=10)
    loop = rolling.loop(reports=plan)
    await loop.begin()
    await rolling.spend(60)
    rolling.now_ms = MONDAY_MS
    await loop.run_once()
    (whole,) = [t for t in rolling.slack.texts if t.startswith("LLM spend of all teams")]
    assert "Running month: $60.00 of $160.00 in 2 budgets" in whole
