from __future__ import annotations

import pytest
from unit.exchange.driver import policy_of

from spendgate.budget.policy import Policy
from spendgate.finops.simulation.sweep import parse_sweep, routes, with_threshold


def test_a_range_is_tried_at_ten_values_or_by_its_step_both_ends_included() -> None:
    assert parse_sweep("complexityThreshold=100..2000").values == (
        100, 311, 522, 733, 944, 1155, 1366, 1577, 1788, 2000,
    )  # fmt: skip
    assert parse_sweep("complexityThreshold=100..500:200").values == (100, 300, 500)
    assert parse_sweep("complexityThreshold=5..5").values == (5,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("complexityThreshold", "for example complexityThreshold=100..2000"),
        ("monthlyBudgetUSD=1..2", "what can: complexityThreshold"),
        ("complexityThreshold=9..1", "lower end comes first"),
        ("complexityThreshold=0..9:0", "larger"),
        ("complexityThreshold=0..900000:1", "larger"),
    ],
)
def test_what_can_not_be_swept_is_told(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_sweep(text)


def test_a_sweep_changes_templates_too_and_leaves_groups_and_lapsed_teams_as_they_are() -> None:
    routing = "costRouting: {enabled: true, cheapModel: gpt-4o-mini, complexityThreshold: 7}"
    made = policy_of(
        f"{{team: 'ml-*', monthlyBudgetUSD: 1, {routing}}}\n---\n"
        "{team: all, members: ['*'], monthlyBudgetUSD: 9}"
    )
    policy = Policy.of(made.every, ["gone"])
    assert routes(policy.every)
    tried = with_threshold(policy, 100)
    (template,) = tried.templates
    assert template.routing is not None and template.routing.complexity_threshold == 100
    assert (tried.groups, tried.lapsed) == (policy.groups, policy.lapsed)
