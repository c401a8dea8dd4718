"""Limits, calendars and groups that contradict themselves: each is named with its line, its field and what to do."""

from typing import Any

import pytest

from spendgate.budget import policy as policies
from spendgate.budget.load import load_policy, parse_documents
from spendgate.budget.policy import UNATTRIBUTED, Policy, TeamBudget
from spendgate.errors import ConfigurationError

HEAD = "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: b}\nspec:\n"


def spec(*lines: str, team: str = "ml") -> str:
    return HEAD + "".join(f"  {x}\n" for x in (f'team: "{team}"', "monthlyBudgetUSD: 1000", *lines))


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as e:
        parse_documents(text, "b.yaml")
    return [str(f) for f in e.value.faults]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["limits: [{per: team, max: 1001}]"], "spec.limits[0].max: is 1001 USD a month: it can never bind"),
        (["limits: [{per: user, max: 1001, window: day}]"], "can never bind, since monthlyBudgetUSD"),
        (["limits: [{per: user, max: 2001, window: week}]"], "can never bind, since monthlyBudgetUSD"),
        (
            ["limits: [{per: user, unit: tokens, max: 9, window: day}, {per: user, unit: tokens, max: 8}]"],
            "is 9 a day: it can never bind, since limits[1] admits 8 a month",
        ),
        (["limits: [{per: user, max: 9}, {per: user, max: 8}]"], "limits[1]: bounds the same as limits[0]"),
        (
            ["limits: [{per: user, max: 9, match: 'a*', overrides: [{match: bob, max: 8}]}]"],
            "overrides[0].match: is 'bob', which limits[0].match 'a*' leaves out",
        ),
        (
            ["limits: [{per: user, max: 9, overrides: [{match: bob, max: 8}, {match: bob, max: 7}]}]"],
            "overrides[1].match: is 'bob', as limits[0].overrides[0]: one value has two amounts; keep one of the two",
        ),
        (["weekStartsOn: sunday"], "weekStartsOn: says when a week begins, but not in which zone; add timeZone"),
        (["yearStartsIn: 4"], "yearStartsIn: says when a year begins, but not in which zone; add timeZone"),
        (["timeZone: Mars/Olympus"], "timeZone: is 'Mars/Olympus', which no time zone is called"),
        (["members: [ml, red]"], "members[0]: is 'ml', the group itself"),
        (["members: [red, red]"], "members[1]: repeats members[0]"),
        (["members: []"], "members: is empty; name at least one"),
        (["limits: [{per: team, unit: requests, max: 1.5}]"], "is 1.5 requests; give a whole number"),
        (["limits: [{per: person, max: 1}]"], "per: is 'person'; use team, app, user, run, model, provider, or tag"),
        (["limits: [{per: 'tag:', max: 1}]"], "use team, app, user, run, model, provider, or tag:NAME"),
        (["limits: [{per: user, max: 1, window: fortnight}]"], "is 'fortnight'; use hour, day, week"),
        (
            [f"limits: [{', '.join(f'{{per: user, match: u{n}, max: 1}}' for n in range(41))}]"],
            "limits: has 41 entries; keep it to 40",
        ),
        (["rollover: {percent: 120}"], "rollover.percent: is 120; give at most 100 percent"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_field_and_a_remedy(lines: list[str], expected: str) -> None:
    found = faults(spec(*lines))
    assert any(expected in f for f in found), found
    assert all("; " in f for f in found), "each says what to do"


@pytest.mark.parametrize(
    "lines",
    [
        ["limits: [{per: team, max: 1000}]"],
        ["limits: [{per: user, max: 50, overrides: [{match: 'ann@*', max: 500}]}]"],
        ["limits: [{per: user, max: 1500}]", "rollover: {percent: 50}"],
        ["limits: [{per: user, max: 5000, window: year}, {per: user, max: 9000, window: total}]"],
        ["limits: [{per: user, max: 2}, {per: user, max: 9, window: day, overrides: [{match: x, max: 1}]}]"],
        ["limits: [{per: user, max: 9, window: week}, {per: user, max: 8}]"],  # a week may lie in two months
        ["limits: [{per: team, max: 5000}]", "alertThresholds: [{percent: 80, action: alert}]"],
        [
            "timeZone: UTC",
            "weekStartsOn: sunday",
            "yearStartsIn: 4",
            "limits: [{per: app, max: 3, window: week}]",
        ],
        ["members: ['*']"],
    ],
)
def test_what_can_bind_is_no_fault(lines: list[str]) -> None:
    parse_documents(spec(*lines))


def policy(*texts: str) -> Policy:
    from spendgate.budget.compile import compile_budget

    return Policy.of(compile_budget(d) for d in parse_documents("---\n".join(texts)))


def test_a_team_is_in_three_groups_at_most_and_the_older_keep_it() -> None:
    groups = [spec("members: ['*']" if n % 2 else "members: [red]", team=f"g{n}") for n in range(4)]
    (fault,) = faults("---\n".join(groups))
    assert "spec.members[0]: puts team red into more than 3 groups (g0, g1, g2)" in fault


def test_a_group_of_groups_is_a_fault() -> None:
    (fault,) = faults("---\n".join([spec("members: [b]", team="a"), spec("members: [red]", team="b")]))
    assert "members[0]: is 'b', which is a group; name its teams" in fault


def test_a_team_has_its_own_budget_else_the_most_specific_template() -> None:
    found = policy(*(spec(team=t) for t in ("*", "ml-*", "ml-core")))
    assert found.teams == ("ml-core",)
    assert [named(found, t) for t in ("ml-core", "ml-x", "other")] == ["ml-core", "ml-*", "*"]
    assert found.budget("other") == TeamBudget(**fields(found, "*") | {"team": "other"})
    assert found.budget(UNATTRIBUTED) is None, "a glob is not meant for whoever names no team"
    assert policy(spec(team="*")).budget("ml-core") is not None, "without its own it falls back"


def test_a_policy_matches_a_team_against_its_templates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = policy(*(spec(team=f"t{n}-*") for n in range(9)))
    compiled: list[str] = []
    monkeypatch.setattr(policies, "team_pattern", compiled.append)
    first = found.budget("t3-x"), found.budget("none")
    searched: list[str] = []
    monkeypatch.setattr(Policy, "template_of", lambda _, team: searched.append(team))
    assert (found.budget("t3-x"), found.budget("none")) == first
    assert first[0] is not None and first[1] is None
    assert compiled == [] and searched == []


def test_what_lapsed_is_made_once() -> None:
    found = Policy.of([], lapsed=["gone"])
    lapsed = found.budget("gone")
    assert lapsed is not None and lapsed.lapsed and lapsed.failure_policy == "closed"
    assert found.budget("gone") is lapsed and found.budget("other") is None


def test_no_more_teams_are_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "TEAMS_KEPT", 3)
    found = policy(spec(team="t-*"))
    for n in range(20):
        assert found.budget(f"t-{n}") is not None and found.budget(f"none-{n}") is None
        assert len(found._made) <= 3


def named(found: Policy, team: str) -> str:
    budget = found.budgets.get(team) or found.template_of(team)
    return budget.team if budget is not None else ""


def fields(found: Policy, team: str) -> dict[str, Any]:
    (template,) = [t for t in found.templates if t.team == team]
    return {name: getattr(template, name) for name, f in TeamBudget.__dataclass_fields__.items() if f.init}


def test_of_two_templates_alike_the_older_counts() -> None:
    texts = [
        spec(team=t).replace("{name: b}", f"{{name: b, creationTimestamp: '{at}'}}")
        for t, at in (("a*c", "2026-02-01T00:00:00Z"), ("a*d", "2026-01-01T00:00:00Z"), ("a*?", "2026-03-01T00:00:00Z"))
    ]  # fmt: skip
    found = policy(*texts)
    assert [t.team for t in found.templates] == ["a*d", "a*c", "a*?"]


def test_a_group_counts_template_teams_and_who_names_none() -> None:
    found = policy(
        spec("members: ['*']", team="org"), spec("members: [red, 'search-*']", team="dept"), spec(team="*")
    )
    assert [g.team for g in found.groups_of("search-api")] == ["dept", "org"]
    assert [g.team for g in found.groups_of(UNATTRIBUTED)] == ["org"]
    assert found.budget("org") is not None, "a template's: the group is none of a team called like it"
    assert found.teams == ()


def test_a_policy_of_groups_and_templates_alone_is_valid(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "b.yaml"
    file.write_text("---\n".join([spec("members: ['*']", team="org"), spec(team="*")]))
    assert load_policy([file]).every


def test_brackets_in_a_team_s_name_are_no_glob() -> None:
    found = policy(spec(team="[new]"), spec("members: ['[new]']", team="dept"), spec(team="[a]*"))
    assert found.teams == ("[new]",) and [t.team for t in found.templates] == ["[a]*"]
    assert [g.team for g in found.groups_of("[new]")] == ["dept"] and found.groups_of("n") == ()
    assert found.template_of("[a]b") is not None and found.template_of("ab") is None
