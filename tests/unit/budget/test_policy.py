"""The compiled policy: patterns by specificity, effective limits, versions."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.checks import advice
from spendgate.budget.load import budget_from_document, parse_documents
from spendgate.budget.patterns import ModelPattern
from spendgate.budget.policy import Policy, TeamBudget

USD = 10**9


def ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def budget(**spec: object) -> TeamBudget:
    base: dict[str, object] = {"team": "ml", "monthlyBudgetUSD": 1000}
    return budget_from_document(
        {"apiVersion": "ai.systemhardening.com/v1", "kind": "LLMBudget", "spec": base | spec}
    )


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-mini", "gpt-4o-m*"),
        ("gpt-4o-2024-08-06", "gpt-4o*"),
        ("gpt-5", "gpt-[45]"),
        ("GPT-4o ", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("azure/gpt-4o-2024-08-06", "gpt-4o*"),
        ("claude", "*"),
    ],
)
@pytest.mark.parametrize("turn", range(3))
def test_the_most_specific_pattern_wins_in_any_order(model: str, pattern: str, turn: int) -> None:
    patterns = ["*", "gpt-4o*", "gpt-4o", "gpt-[45]", "gpt-4o-m*"]
    patterns = patterns[turn:] + patterns[:turn]
    rules = [{"modelPattern": p, "maxMonthlyUSD": 1} for p in patterns]
    rule = budget(modelLimits=rules).model_rule(model)
    assert rule is not None
    assert rule.pattern.text == pattern


@given(st.text(alphabet="abAB-.:/", min_size=1, max_size=8), st.text(alphabet="abAB-", max_size=3))
def test_a_name_matches_itself_and_a_prefix_glob_its_beginnings(name: str, more: str) -> None:
    assert ModelPattern.of(name).matches(name)
    assert ModelPattern.of(name).matches(name + more) == (more == "")
    assert ModelPattern.of(f"{name}*").matches(name + more)


def test_an_increase_counts_until_its_end_and_increases_add_up() -> None:
    b = budget(
        increase=[
            {"usd": 100, "until": "2026-12-01T00:00:00Z"},
            {"usd": 20, "until": "2026-11-20T01:00:00+01:00"},
        ]
    )
    assert b.limit_nanousd(ms(2026, 11, 19)) == 1120 * USD
    assert b.limit_nanousd(ms(2026, 11, 20)) == 1100 * USD
    assert b.limit_nanousd(ms(2026, 12, 1) - 1) == 1100 * USD
    assert b.limit_nanousd(ms(2026, 12, 1)) == 1000 * USD


def test_an_increase_raises_the_month_bound_and_the_fail_open_allowance() -> None:
    b = budget(increase=[{"usd": 1000, "until": "2026-12-01T00:00:00Z"}])
    assert b.month_bound_nanousd(ms(2026, 11, 1)) == 2000 * USD
    assert b.fail_open_allowance(ms(2026, 11, 1)) == 20 * USD


def test_the_contact_is_the_reject_thresholds_channel_else_the_highest_with_one() -> None:
    def of(*rows: tuple[int, str, str]) -> str:
        return budget(
            alertThresholds=[{"percent": p, "action": a, "notifyChannel": c} for p, a, c in rows]
        ).contact

    assert of((100, "reject", "#r"), (50, "alert", "#a")) == "#r"
    assert of((100, "reject", ""), (50, "alert", "#a"), (80, "alert", "#b")) == "#b"
    assert budget().contact == ""


def test_a_version_changes_iff_what_the_policy_says_changes() -> None:
    def version(**spec: object) -> str:
        return Policy.of([budget(**spec)]).version

    assert version() == version(monthlyBudgetUSD=1000.0, clampOutput=False, mode="enforce")
    assert version() != version(monthlyBudgetUSD=1001)
    increase = {"usd": 1, "until": "2026-12-01T00:00:00Z"}
    elsewhere = {"usd": 1, "until": "2026-12-01T01:00:00+01:00"}
    assert version(increase=[increase]) == version(increase=[elsewhere])
    a, b = budget(team="a"), budget(team="b")
    assert Policy.of([a, b]).version == Policy.of([b, a]).version
    assert Policy.of([b, a]).teams == ("a", "b")


def test_two_budgets_for_a_team_can_not_be_joined() -> None:
    with pytest.raises(ValueError, match="two budgets for team ml"):
        Policy.of([budget(), budget()])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alertThresholds: [{percent: 80, action: alert_and_downgrade}]", "no defaultModel"),
        ("alertThresholds: [{percent: 80, action: alert}]", "the monthly budget is soft"),
        ("monthlyBudgetUSD: 0", "every request is refused"),
    ],
)
def test_what_is_allowed_but_probably_not_meant_gets_advice(line: str, words: str) -> None:
    amount = "" if "monthly" in line else "  monthlyBudgetUSD: 5\n"
    head = "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nspec:\n  team: a\n"
    (document,) = parse_documents(f"{head}{amount}  {line}\n")
    assert words in "\n".join(advice(document.spec))


def test_a_usual_budget_gets_no_advice() -> None:
    assert budget(defaultModel="gpt-4o-mini").advice == ()
