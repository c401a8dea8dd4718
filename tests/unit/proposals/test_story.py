"""The comment of a raise tells the team's own story: what was refused, and what would have passed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.usage_lines import T0, record

from spendgate.budget.policy import Raise, TeamBudget, Threshold
from spendgate.proposals.story import Story, story, to_markdown
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord

USD = 10**9
NOW = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp() * 1000)
BEFORE = TeamBudget("red", 10 * USD)
AFTER = replace(BEFORE, raises=(Raise(20 * USD, NOW + 1),))


def spent(n: int, usd: float, **more: Any) -> UsageRecord:
    nano = round(usd * USD)
    return record(n, **{"cost_nanousd": nano, "estimate_nanousd": 2 * nano, **more})


def refused(n: int, usd: float, reason: str = "monthly_budget_exceeded", **more: Any) -> UsageRecord:
    held = {"cost_nanousd": 0, "estimate_nanousd": round(usd * USD), "tokens": {}}
    return record(n, outcome=Outcome.REFUSED, decision="reject", reason=reason, **held, **more)


def tell(*lines: UsageRecord, settled: float | None = None, after: TeamBudget = AFTER) -> Story:
    known = None if settled is None else round(settled * USD)
    return story(BEFORE, after, lines, "202611", known, NOW)


def test_a_raise_says_how_many_of_the_refused_would_have_passed_and_at_what_cost() -> None:
    told = tell(spent(1, 9), *(refused(n, 2) for n in range(2, 14)), settled=9)
    assert (told.now.refused, told.now.refused_nanousd, told.now.spent_nanousd) == (12, 24 * USD, 9 * USD)
    assert (told.proposed.refused, told.would_pass) == (0, 12)
    assert told.proposed.spent_nanousd == 21 * USD  # each at half of its estimate, as the team's others
    text = to_markdown(told)
    assert (
        "Of 12 requests that today's budget refused in 2026-11, the proposed one lets 12 pass: $12.00 more"
        in text
    )
    assert "| month's budget | $10.00 | $30.00 |" in text


def test_both_budgets_have_what_last_month_left() -> None:
    before, after = (replace(b, rollover_percent=Decimal(50)) for b in (BEFORE, AFTER))
    lines = [spent(1, 14, estimate_nanousd=14 * USD), refused(2, 2), refused(3, 2)]
    told = story(before, after, lines, "202611", 14 * USD, NOW, 4 * USD)
    assert (told.now.limit_nanousd, told.proposed.limit_nanousd) == (15 * USD, 35 * USD)
    assert (told.now.refused, told.proposed.refused) == (2, 0)
    lower = replace(before, monthly_nanousd=8 * USD)
    back = story(lower, before, lines, "202611", 14 * USD, NOW, 4 * USD)
    assert (back.now.limit_nanousd, back.proposed.limit_nanousd) == (12 * USD, 15 * USD)
    assert back.proposed.refused == 2  # neither estimate fits below $15


def test_what_would_pass_counts_against_the_proposed_budget_too() -> None:
    told = tell(spent(1, 9), *(refused(n, 20) for n in range(2, 8)), settled=9)
    assert told.proposed.refused == 5  # one at ten dollars, then no estimate of twenty fits any more
    assert told.proposed.first_refused_ms == T0 + 3_000


def test_the_counters_begin_with_what_the_ledger_has_and_the_log_has_not() -> None:
    told = tell(refused(1, 4), refused(2, 4), settled=26)
    assert (told.unlogged_nanousd, told.would_pass, told.proposed.refused) == (26 * USD, 1, 1)
    assert "$26.00 of the month are not in the log" in to_markdown(told)
    alone = tell(refused(1, 4), refused(2, 4))
    assert alone.would_pass == 2 and "No ledger was asked" in to_markdown(alone)


def test_what_other_bounds_refuse_stays_refused_and_repetitions_count_once() -> None:
    told = tell(refused(1, 4, "model_budget_exceeded"), refused(2, 4), refused(3, 0), settled=0)
    assert (told.now.refused, told.would_pass, told.other_refusals) == (1, 1, {"model_budget_exceeded": 1})
    assert "whatever the month's budget is: model_budget_exceeded 1." in to_markdown(told)


def test_an_answer_that_was_cheaper_for_lack_of_money_is_the_asked_models_where_there_is_money() -> None:
    short = spent(2, 0.25, decision="downgrade", reason="budget_pressure", saved_nanousd=USD)
    told = tell(spent(1, 8.5), short, settled=8.75)
    assert (told.now.cheaper, told.proposed.cheaper) == (1, 0)
    assert told.proposed.spent_nanousd - told.now.spent_nanousd == USD


def test_a_cut_says_what_it_would_have_refused() -> None:
    told = tell(spent(1, 3), spent(2, 3), spent(3, 3), settled=9, after=TeamBudget("red", 7 * USD))
    assert (told.would_pass, told.proposed.refused, told.proposed.spent_nanousd) == (-2, 2, 3 * USD)
    assert "would have refused 2 requests in 2026-11, today's refused 0" in to_markdown(told)


def test_a_soft_or_audited_budget_refuses_nothing() -> None:
    lines = [spent(1, 9), refused(2, 50), refused(3, 50)]
    for after in (
        TeamBudget("red", 10 * USD, thresholds=(Threshold(100, "alert"),)),
        TeamBudget("red", 10 * USD, audit=True),
    ):
        assert tell(*lines, settled=9, after=after).proposed.refused == 0


def test_a_teams_name_mentions_nobody() -> None:
    told = story(TeamBudget("@all|x", 1), TeamBudget("@all|x", 2), [], "202611", 0, NOW)
    text = to_markdown(told)
    assert "@all" not in text and "The log has nothing of the team in 2026-11." in text


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 8 * USD)), max_size=30),
    st.integers(0, 400),
    st.integers(0, 60),
)
def test_law_every_request_passes_or_is_refused_and_no_bound_is_passed(
    asked: list[tuple[bool, int]], unlogged: int, more: int
) -> None:
    lines = [
        spent(n, nano / USD / 50) if fits else refused(n, nano / USD) for n, (fits, nano) in enumerate(asked)
    ]
    logged = sum(r.cost_nanousd for r in lines)
    after = TeamBudget("red", (10 + more) * USD)
    told = story(BEFORE, after, lines, "202611", logged + unlogged * USD // 10, NOW)
    for one in (told.now, told.proposed):
        assert one.passed + one.refused == len(lines)
    assert told.now.spent_nanousd == logged + unlogged * USD // 10
    assert told.proposed.spent_nanousd <= max(after.monthly_nanousd * 105 // 100, unlogged * USD // 10)
