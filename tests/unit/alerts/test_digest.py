"""A week and a month in words: what was spent, where it leads, who moved, and what to do."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.usage_lines import record, write_log

from spendgate.alerts.digest import Sums, all_digest, last_month, last_week, period_due, sums_of, team_digest
from spendgate.alerts.reports import users_of
from spendgate.budget.forecast import Forecast, forecast, history_days
from spendgate.budget.policy import Routing, TeamBudget
from spendgate.ledger.accounts import DayCell
from spendgate.months import utc
from spendgate.records.record import UsageRecord

USD = 10**9


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


MONDAY = ms(2026, 11, 30, 7)
WEEK = last_week(MONDAY)


def cell(
    day: str, usd: float, app: str = "chat", model: str = "gpt-4o", team: str = "red", **more: Any
) -> DayCell:
    return DayCell(team, day, app, model, 10, round(usd * USD), {}, **more)


def flat(usd: float, settled: float) -> Forecast:
    """A month that goes on at so many dollars a day."""
    return forecast([round(usd * USD)] * len(history_days(MONDAY)), MONDAY, round(settled * USD))


@pytest.mark.parametrize(
    ("every", "now", "key"),
    [
        ("weekly", ms(2026, 11, 30, 6), "week:2026-W48"),
        ("weekly", ms(2026, 11, 30, 5, 59), None),
        ("weekly", ms(2026, 12, 1, 6), None),
        ("weekly", ms(2027, 1, 4, 9), "week:2026-W53"),
        ("monthly", ms(2027, 1, 1, 23), "month:2026-12"),
        ("monthly", ms(2027, 1, 2, 9), None),
    ],
)
def test_a_digest_is_due_on_the_morning_after_its_period(every: str, now: int, key: str | None) -> None:
    found = period_due(every, now)  # type: ignore[arg-type]
    assert (found.key if found else None) == key


def test_a_period_has_the_months_of_itself_and_of_the_one_before_it() -> None:
    assert WEEK.months == ["202611"]
    assert last_week(ms(2026, 12, 7)).months == ["202611", "202612"]
    assert last_month(utc(ms(2027, 1, 1))).months == ["202611", "202612"]
    assert (WEEK.label, last_month(utc(ms(2027, 1, 1))).label) == (
        "the week of 2026-11-23 to 2026-11-29",
        "2026-12",
    )


def test_days_count_to_the_period_they_are_in_and_others_to_none() -> None:
    cells = [cell("20261123", 2), cell("20261129", 3), cell("20261122", 4), cell("20261116", 5), cell("20261115", 9),
             cell("20261130", 9)]  # fmt: skip
    of = sums_of(cells, WEEK)["red"]
    assert (of.spent, of.spent_before, of.requests) == (5 * USD, 9 * USD, 20)


def test_a_teams_digest_says_all_that_its_owner_needs() -> None:
    cells = [
        cell("20261124", 90, "search", "gpt-5.4", refused=12, saved_nanousd=3 * USD),
        cell("20261125", 10, "chat", "gpt-4o-mini"),
        cell("20261117", 30, "search", "gpt-5.4"),
        cell("20261117", 20, "batch", "gpt-4o-mini"),
    ]
    of = sums_of(cells, WEEK)["red"]
    of.users = {"ann@acme.com": 70 * USD, "bob": 30 * USD}
    text = team_digest("red", of, WEEK, TeamBudget("red", 300 * USD), flat(14, 400))
    assert text.splitlines() == [
        "LLM spend of team red in the week of 2026-11-23 to 2026-11-29: $100.00, +$50.00 (+100 %) to the one before.",
        "Running month: $400.00 of $300.00 (133 %); forecast $409.92.",
        "Moved most: app search +$60.00, model gpt-5.4 +$60.00, app batch -$20.00.",
        "Top apps: search $90.00, chat $10.00.",
        "Top models: gpt-5.4 $90.00, gpt-4o-mini $10.00.",
        "Top users: ann@acme.com $70.00, bob $30.00.",
        "Refused: 12 requests. Saved by other models than asked for: $3.00.",
        "What to do: at this pace the budget is exhausted on 2026-11-30; use cheaper models, or ask for more: "
        "spendgate propose raise --team red --usd 110 --until 2026-11-30 --reason '…' "
        "gpt-5.4 takes 90 % of the spend; `spendgate simulate --sweep complexityThreshold=…` says what routing "
        "simple requests to a cheaper model would save.",
    ]


def test_what_to_do_follows_from_the_numbers() -> None:
    of = Sums(spent=10 * USD, models={"a": 5 * USD, "b": 5 * USD})

    def todo(budget: TeamBudget | None, outlook: Forecast, sums: Sums = of) -> str:
        return team_digest("red", sums, WEEK, budget, outlook).rpartition("What to do: ")[2]

    assert todo(None, flat(1, 10)).startswith("the team has no budget")
    assert todo(TeamBudget("red", 1000 * USD), flat(1, 10)).startswith(
        "less than 40 % of the budget is needed"
    )
    assert todo(TeamBudget("red", 15 * USD), flat(1, 10)) == "nothing."
    routed = TeamBudget("red", 15 * USD, routing=Routing("b", "", 500))
    assert todo(routed, flat(1, 10), Sums(spent=10 * USD, models={"a": 10 * USD})) == "nothing."


def test_finance_gets_all_teams_with_who_has_no_budget_and_who_will_pass_theirs() -> None:
    sums = {
        "red": Sums(100 * USD, 40 * USD, refused=3),
        "blue": Sums(20 * USD, 50 * USD, saved=USD),
        "stray": Sums(5 * USD),
    }
    budgets = {"red": TeamBudget("red", 300 * USD), "blue": TeamBudget("blue", 900 * USD)}
    outlooks = {"red": flat(14, 294), "blue": flat(3, 80), "stray": flat(1, 5)}
    text = all_digest(sums, WEEK, budgets, outlooks)
    assert text.splitlines()[:4] == [
        "LLM spend of all teams in the week of 2026-11-23 to 2026-11-29: $125.00, +$35.00 (+39 %) to the one before.",
        "Running month: $374.00 of $1200.00 in 2 budgets; forecast $386.04.",
        "Top teams: red $100.00, blue $20.00, stray $5.00.",
        "Moved most: team red +$60.00, team blue -$30.00, team stray +$5.00.",
    ]
    assert "Without a budget: $5.00 (stray $5.00)." in text
    assert "Refused: 3 requests. Saved by other models than asked for: $1.00." in text
    assert text.splitlines()[-1] == (
        "What to do: By the forecast these pass their budgets: red $3.92; agree on a raise or on cheaper models. "
        "Give the teams without one a budget."
    )


def test_users_are_found_in_what_was_put_aside_of_the_log_too(tmp_path: Path) -> None:
    at = ms(2026, 11, 25)

    def line(n: int, user: str) -> UsageRecord:
        return record(n, at_ms=at, user=user, cost_nanousd=USD)

    write_log(tmp_path / "usage.jsonl", [line(1, "ann")])
    write_log(tmp_path / "usage-20261127T000000.000000Z.jsonl", [line(2, "kim"), line(3, "ann")])
    (
        tmp_path / "usage-20261122T235959.999999Z.jsonl"
    ).mkdir()  # nothing of the week can stand there: not opened
    old = write_log(tmp_path / "plain", [line(4, "bob")]).read_bytes()
    (tmp_path / "usage-20261126T000000.000000Z.jsonl.gz").write_bytes(gzip.compress(old))
    assert users_of(tmp_path / "usage.jsonl", WEEK) == {"red": {"ann": 2 * USD, "kim": USD, "bob": USD}}


def test_where_no_team_has_a_budget_finance_gets_the_whole_running_month() -> None:
    text = all_digest({"stray": Sums(5 * USD)}, WEEK, {}, {"stray": flat(1, 5)})
    assert text.splitlines()[1] == "Running month: $5.00 so far, without a budget; forecast $5.71."


@given(st.text(max_size=80), st.text(max_size=80), st.integers(-(10**12), 10**15))
def test_law_a_clients_names_neither_break_a_line_nor_make_a_link(app: str, model: str, nano: int) -> None:
    of = sums_of([DayCell("red", "20261124", app, model, 1, nano, {})], WEEK)["red"]
    text = team_digest("red", of, WEEK, TeamBudget("red", USD), flat(1, 1))
    assert "://" not in text
    assert len(text.splitlines()) <= 8
