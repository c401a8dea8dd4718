"""Shared costs: split by a stated rule, to the nano-dollar, and no total moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.errors import ConfigurationError
from spendgate.finops.chargeback.allocation import Rule, parse_rules, split_shared
from spendgate.finops.chargeback.chargeback import Chargeback, chargeback
from spendgate.finops.chargeback.render import to_markdown
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.load import table

PRICES = table()


def spent(**teams: int) -> Chargeback:
    cells = [DayCell(t, "20261101", "app", "gpt-4o", 1, n, {}) for t, n in teams.items()]
    return chargeback("202611", "ledger", cells, PRICES)


def by_team(report: Chargeback) -> dict[str, int]:
    return {team: sum(x.cost_nanousd for x in lines) for team, lines in report.teams.items()}


@pytest.mark.parametrize(
    ("rule", "parts", "says"),
    [
        (Rule("infra"), {"a": 390, "b": 130, "infra": 0}, "in proportion to their own spend"),
        (Rule("infra", "evenly"), {"a": 360, "b": 160, "infra": 0}, "evenly"),
        (Rule("infra", "evenly", ("b",)), {"a": 300, "b": 220, "infra": 0}, "among b"),
        (
            Rule("infra", "weights", (), {"a": 1, "c": 2}),
            {"a": 340, "b": 100, "c": 80, "infra": 0},
            "fixed weights",
        ),
        (
            Rule("infra", "spend", ("c", "d")),
            {"a": 300, "b": 100, "c": 60, "d": 60, "infra": 0},
            "evenly, since none",
        ),
    ],
)
def test_each_rule_splits_as_it_says(rule: Rule, parts: dict[str, int], says: str) -> None:
    split = split_shared(spent(infra=120, a=300, b=100), [rule])
    assert by_team(split) == parts
    assert len(split.notes) == 1 and says in split.notes[0]
    assert says in to_markdown(split)


def test_shared_teams_share_with_no_shared_team() -> None:
    split = split_shared(spent(infra=100, tools=10, a=3, b=1), [Rule("infra"), Rule("tools")])
    assert by_team(split) == {"a": 3 + 75 + 8, "b": 1 + 25 + 2, "infra": 0, "tools": 0}


def test_what_nobody_shares_stays_and_is_said() -> None:
    split = split_shared(spent(infra=100), [Rule("infra"), Rule("gone")])
    assert by_team(split) == {"infra": 100}
    assert ["stay there" in split.notes[0], "gone spent nothing" in split.notes[1]] == [True, True]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(-(10**9), 10**15)),
    st.integers(-(10**9), 10**15),
    st.sampled_from(["spend", "evenly"]),
)
def test_law_no_total_moves_and_the_shared_team_comes_to_zero(
    others: dict[str, int], amount: int, how: str
) -> None:
    before = spent(infra=amount, **others)
    after = split_shared(before, [Rule("infra", how)])  # type: ignore[arg-type]
    assert after.cost_nanousd == before.cost_nanousd
    assert after.requests == before.requests
    if any(team != "infra" for team in by_team(before)):
        assert by_team(after).get("infra", 0) == 0


def test_rules_are_read_with_every_fault_named() -> None:
    rules = parse_rules(
        {
            "shared": {
                "infra": "evenly",
                "tools": {"weights": {"a": 2}},
                "x": {"split": "spend", "among": ["a"]},
            }
        },
        "f",
    )
    assert rules == (
        Rule("infra", "evenly"),
        Rule("tools", "weights", (), {"a": 2}),
        Rule("x", "spend", ("a",)),
    )
    bad = {
        "a": 7,
        "b": {"split": "fairly"},
        "c": {"split": "weights"},
        "d": {"weights": {"x": 0}},
        "e": {"among": "x"},
        "f": {"among": ["f"]},
        "g": {"weights": {"x": 1}, "split": "spend"},
    }
    with pytest.raises(ConfigurationError) as e:
        parse_rules({"shared": bad}, "rules.yaml")
    assert [f.field for f in e.value.faults] == [
        "shared.a", "shared.b.split", "shared.c.weights", "shared.d.weights", "shared.e.among", "shared.f",
        "shared.g.weights",
    ]  # fmt: skip
    empty: tuple[object, ...] = (None, [], {"shared": {}}, {"other": 1})
    for document in empty:
        with pytest.raises(ConfigurationError, match=r"rules\.yaml: shared: is missing or empty"):
            parse_rules(document, "rules.yaml")
