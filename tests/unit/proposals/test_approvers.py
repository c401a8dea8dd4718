"""Who must approve, by amount and team."""

from __future__ import annotations

import pytest

from spendgate.budget.compile import compile_budget
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy
from spendgate.errors import ConfigurationError
from spendgate.proposals.approvers import Approvers, growths, missing, parse_approvers

FILE = """\
approvers:
  - {who: [cfo]}
  - {upToUSD: 5000, who: [org/finance, dana]}
  - {upToUSD: 500, who: [lead], teams: ["pay*"]}
"""
NOW = 1_796_000_000_000
USD = 10**9


def policy(**specs: str) -> Policy:
    return Policy.of(
        compile_budget(d)
        for team, spec in specs.items()
        for d in parse_documents(
            "{apiVersion: ai.systemhardening.com/v1, kind: LLMBudget, metadata: {name: n}, "
            f"spec: {{team: {team}, {spec}}}}}"
        )
    )


def rules() -> Approvers:
    return parse_approvers(FILE, "approvers.yaml")


@pytest.mark.parametrize(
    ("team", "usd", "who"),
    [
        ("payments", 500, ("lead",)),
        ("payments", 501, ("org/finance", "dana")),
        ("search", 1, ("org/finance", "dana")),
        ("search", 5000, ("org/finance", "dana")),
        ("search", 5001, ("cfo",)),
        ("search", 0, ()),
        ("search", -3, ()),
    ],
)
def test_the_smallest_line_that_covers_team_and_amount_decides(
    team: str, usd: int, who: tuple[str, ...]
) -> None:
    assert rules().who(team, usd * USD) == who


def test_every_fault_of_the_file_is_named_with_its_line() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_approvers(
            "approvers:\n  - {upToUSD: -1, who: [a]}\n  - {who: []}\n  - {whom: [a]}\n", "approvers.yaml"
        )
    text = str(refused.value)
    assert "approvers.yaml:2: approvers.0.upToUSD" in text
    assert "approvers.yaml:3: approvers.1.who" in text
    assert "approvers.yaml:4: approvers.2.whom" in text


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("monthlyBudgetUSD: 100", "monthlyBudgetUSD: 100", None),
        ("monthlyBudgetUSD: 100", "monthlyBudgetUSD: 90", None),
        ("monthlyBudgetUSD: 100", "monthlyBudgetUSD: 400", ("$300.00 a month", 300)),
        (
            "monthlyBudgetUSD: 100",
            "monthlyBudgetUSD: 100, increase: [{usd: 50, until: '2027-01-01T00:00:00Z'}]",
            ("$50.00 for a time", 50),
        ),
        (
            "monthlyBudgetUSD: 100, increase: [{usd: 50, until: '2027-01-01T00:00:00Z'}]",
            "monthlyBudgetUSD: 100, increase: [{usd: 50, until: '2027-01-01T00:00:00Z'}, "
            "{usd: 50, until: '2027-01-01T00:00:00Z'}]",
            ("$50.00 for a time", 50),
        ),
        (
            "monthlyBudgetUSD: 100",
            "monthlyBudgetUSD: 100, increase: [{usd: 50, until: '2020-01-01T00:00:00Z'}]",
            None,
        ),
        (
            "monthlyBudgetUSD: 100",
            "monthlyBudgetUSD: 60, increase: [{usd: 90, until: '2027-01-01T00:00:00Z'}]",
            ("$90.00 for a time", 90),
        ),
        (
            "monthlyBudgetUSD: 100",
            "monthlyBudgetUSD: 100, mode: audit",
            ("its budget no longer refuses", 100),
        ),
        (
            "monthlyBudgetUSD: 100",
            "monthlyBudgetUSD: 100, alertThresholds: [{percent: 50, action: alert}]",
            ("its budget no longer refuses", 100),
        ),
    ],
)
def test_what_lets_a_team_spend_more_is_a_raise(
    before: str, after: str, what: tuple[str, int] | None
) -> None:
    found = growths(policy(payments=before), policy(payments=after), rules(), NOW)
    assert [(g.what, g.amount_nanousd) for g in found] == ([] if what is None else [(what[0], what[1] * USD)])


def test_taking_a_budget_away_is_a_raise_by_all_of_it_and_a_first_budget_is_none() -> None:
    budget = "monthlyBudgetUSD: 9000"
    assert growths(policy(), policy(payments=budget), rules(), NOW) == []
    (gone,) = growths(policy(payments=budget), policy(), rules(), NOW)
    assert (gone.what, gone.who) == ("its budget is removed", ("cfo",))


def test_a_raise_waits_until_somebody_entitled_approves() -> None:
    found = growths(policy(a="monthlyBudgetUSD: 1"), policy(a="monthlyBudgetUSD: 901"), rules(), NOW)
    groups = {"org/finance": {"mo"}}
    assert missing(found, set(), groups) == found
    assert missing(found, {"lead", "cfo"}, groups) == found
    assert missing(found, {"dana"}, groups) == []
    assert missing(found, {"mo"}, groups) == []


def test_an_amount_that_no_line_covers_is_approved_by_nobody() -> None:
    small = parse_approvers("approvers: [{upToUSD: 5, who: [a]}]", "approvers.yaml")
    found = growths(policy(a="monthlyBudgetUSD: 1"), policy(a="monthlyBudgetUSD: 901"), small, NOW)
    assert missing(found, {"a"}, {}) == found
