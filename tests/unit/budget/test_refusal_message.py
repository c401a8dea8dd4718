"""A refusal in words: one test for each reason of docs/reference/headers-and-reasons.md."""

from datetime import UTC, datetime

import pytest

from spendgate.budget.ask import PlannedRefusal
from spendgate.budget.bounds import Bound
from spendgate.budget.load import budget_from_document
from spendgate.budget.policy import Policy
from spendgate.budget.refusal_message import (
    Asked,
    BoundStatus,
    ratio,
    refused_by_bound,
    refused_by_plan,
    refused_without_ledger,
    resets_at,
)

USD = 10**9
NOW = int(datetime(2026, 11, 24, 12, 30, tzinfo=UTC).timestamp() * 1000)
ASKED = Asked("ml-team", "chatbot", "gpt-4o", NOW)
BUDGET = budget_from_document(
    {
        "apiVersion": "ai.systemhardening.com/v1",
        "kind": "LLMBudget",
        "spec": {
            "team": "ml-team",
            "monthlyBudgetUSD": 8000,
            "alertThresholds": [{"percent": 100, "action": "reject", "notifyChannel": "#ml-team-costs"}],
        },
    }
)
ASK_IN = " Ask in #ml-team-costs for an increase."


def bound(scope: str, window: str, usd: int, reason: str) -> Bound:
    return Bound(scope, window, usd * USD, usd * USD * 105 // 100, reason)


def test_monthly_budget_exceeded_says_who_how_much_until_when_and_whom_to_ask() -> None:
    month = bound("month", "month", 8000, "monthly_budget_exceeded")
    said = refused_by_bound(ASKED, BUDGET, month, BoundStatus(8012_400_000_000), 1)
    assert said.text == (
        "Team ml-team has used $8,012.40 of its $8,000.00 LLM budget for November 2026; requests are refused "
        "until 2026-12-01 00:00 UTC. Ask in #ml-team-costs for an increase."
    )
    assert (said.status, said.code) == (429, "monthly_budget_exceeded")
    assert said.details == {
        "team": "ml-team",
        "app": "chatbot",
        "model": "gpt-4o",
        "contact": "#ml-team-costs",
        "bound": "month",
        "spent_usd": "8012.40",
        "held_usd": "0.00",
        "budget_usd": "8000.00",
        "remaining_usd": "0.00",
        "utilization": 1.0016,
        "estimated_usd": "0.000000001",
        "resets_at": "2026-12-01T00:00:00Z",
        "scope": "month",
    }


def test_a_request_that_does_not_fit_what_is_left_hears_its_price() -> None:
    month = bound("month", "month", 8000, "monthly_budget_exceeded")
    said = refused_by_bound(ASKED, BUDGET, month, BoundStatus(7990 * USD), 500 * USD)
    assert said.text.startswith(
        "Team ml-team has used $7,990.00 of its $8,000.00 LLM budget for November 2026, and this request may "
        "cost up to $500.00, more than is left; the budget resets at 2026-12-01 00:00 UTC."
    )


def test_what_is_held_is_never_called_used() -> None:
    month = bound("month", "month", 25, "monthly_budget_exceeded")
    said = refused_by_bound(ASKED, BUDGET, month, BoundStatus(USD // 2, 24 * USD), 2 * USD, 7)
    assert said.text == (
        "Team ml-team has used $0.50 of its $8,000.00 LLM budget for November 2026, and $24.00 is held for requests "
        "that are still running. This request may cost up to $2.00: it will fit once enough of them have ended. "
        "Try again "
        "in 7 s."
    )
    assert (said.status, said.code) == (429, "budget_held")
    assert (said.details["bound"], said.details["retry_after_s"]) == ("month", 7)
    assert (said.details["spent_usd"], said.details["held_usd"]) == ("0.50", "24.00")
    assert said.details["utilization"] == 0.0003  # (0.50 + 2) / 8,000


def test_a_final_refusal_says_apart_what_is_held() -> None:
    month = bound("month", "month", 8000, "monthly_budget_exceeded")
    said = refused_by_bound(ASKED, BUDGET, month, BoundStatus(7990 * USD, 5 * USD), 500 * USD)
    assert said.text.startswith(
        "Team ml-team has used $7,990.00 of its $8,000.00 LLM budget for November 2026, and $5.00 is held for "
        "requests that are still running; this request may cost up to $500.00, more than is left; the budget"
    )
    assert (said.code, said.details["remaining_usd"]) == ("monthly_budget_exceeded", "5.00")


@pytest.mark.parametrize(
    ("refusing", "begins", "resets"),
    [
        (
            bound("day", "day", 10, "daily_budget_exceeded"),
            "Team ml-team has used $11.00 of its $10.00 LLM budget for 2026-11-24; requests are refused until "
            "2026-11-25 00:00 UTC.",
            "2026-11-25T00:00:00Z",
        ),
        (
            bound("hour", "hour", 10, "spend_rate_exceeded"),
            "Team ml-team has used $11.00 of its $10.00 LLM budget for the hour from 12:00 UTC; requests are "
            "refused until 2026-11-24 13:00 UTC.",
            "2026-11-24T13:00:00Z",
        ),
        (
            bound("model:gpt-4o*", "month", 10, "model_budget_exceeded"),
            "Team ml-team has used $11.00 of its $10.00 budget for gpt-4o* for November 2026; requests",
            "2026-12-01T00:00:00Z",
        ),
        (
            bound("app:chatbot", "month", 10, "app_budget_exceeded"),
            "App chatbot of team ml-team has used $11.00 of its $10.00 LLM budget for November 2026; requests",
            "2026-12-01T00:00:00Z",
        ),
        (
            bound("run:r-1", "run", 10, "run_budget_exceeded"),
            "Run r-1 of team ml-team has used $11.00 of its $10.00 LLM budget. Ask",
            None,
        ),
    ],
    ids=lambda x: x.reason if isinstance(x, Bound) else "",
)
def test_each_bound_names_its_purse_and_when_it_starts_anew(
    refusing: Bound, begins: str, resets: str | None
) -> None:
    said = refused_by_bound(ASKED, BUDGET, refusing, BoundStatus(11 * USD), USD)
    assert said.text.startswith(begins)
    assert said.text.endswith(ASK_IN)
    assert (said.status, said.code) == (429, refusing.reason)
    assert (said.details["resets_at"], said.details["budget_usd"]) == (resets, "10.00")


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (
            PlannedRefusal(403, "app_not_allowed_for_model", "opus", {"allowed_apps": ["a", "b"]}),
            "App chatbot of team ml-team may not use opus; allowed: a, b.",
        ),
        (
            PlannedRefusal(429, "unpriced_model", "x"),
            "x has no price, and team ml-team may only use models with one.",
        ),
        (
            PlannedRefusal(
                429, "request_cost_exceeded", "x", {"estimated_usd": "7.00", "max_usd_per_request": "5.00"}
            ),
            "This request may cost up to $7.00 with x; team ml-team allows $5.00 a request. "
            "Shorten the input or lower the output limit.",
        ),
        (
            PlannedRefusal(429, "unbudgeted", "x"),
            "Team ml-team has no LLM budget, and this gateway refuses teams without one.",
        ),
    ],
    ids=lambda x: x.reason if isinstance(x, PlannedRefusal) else "",
)
def test_each_planned_refusal_says_what_to_change(refusal: PlannedRefusal, text: str) -> None:
    said = refused_by_plan(ASKED, None, refusal)
    assert said.text == text
    assert (said.status, said.code) == (refusal.status, refusal.reason)
    assert refused_by_plan(ASKED, BUDGET, refusal).text == text + ASK_IN


def test_a_lapsed_budget_says_where_to_look() -> None:
    lapsed = Policy.of([], ["ml-team"]).budget("ml-team")
    said = refused_by_plan(ASKED, lapsed, PlannedRefusal(429, "unbudgeted", "x"))
    assert "Team ml-team has no LLM budget in force" in said.text and "kubectl get lb" in said.text


def test_an_outage_of_the_ledger_is_not_called_an_empty_budget() -> None:
    closed, used_up = (refused_without_ledger(ASKED, BUDGET, n) for n in (0, 80 * USD))
    assert "this budget allows nothing in the meantime" in closed.text
    assert "the $80.00 that this budget allows in the meantime have been used up" in used_up.text
    assert used_up.code == "ledger_unavailable"


def test_windows_end_with_the_utc_calendar() -> None:
    last = int(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)
    for window in ("month", "day", "hour"):
        assert resets_at(window, last) == datetime(2027, 1, 1, tzinfo=UTC)
    assert resets_at("run", last) is None


def test_a_budget_of_zero_has_no_ratio() -> None:
    assert ratio(5, 0) is None
    assert ratio(85, 100) == 0.85
