"""Edits of policy files: what is asked for, and not one other byte."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.load import parse_documents
from spendgate.errors import ConfigurationError
from spendgate.proposals.edit import Increase, add_increase, has_team, set_monthly

UNTIL = datetime(2026, 12, 16, tzinfo=UTC)
RAISE = Increase(Decimal(500), UNTIL, 'Black Friday: more "load"')

BLOCK = """\
# budgets of payments
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata:
  name: payments   # the name
spec:
  team: payments
  monthlyBudgetUSD: 8000   # agreed in Q3
  alertThresholds:
    - {percent: 50, action: alert}
    - percent: 100
      action: reject       # hard

# the end
"""
TWO = BLOCK + BLOCK.replace("payments", "search").replace("apiVersion", "---\napiVersion", 1)
FLOW = (
    "{apiVersion: ai.systemhardening.com/v1, kind: LLMBudget, metadata: {name: a}, "
    "spec: {team: payments, monthlyBudgetUSD: 8000}}\n"
)
LISTED = """\
apiVersion: v1
kind: List
items:
- apiVersion: ai.systemhardening.com/v1
  kind: LLMBudget
  metadata: {name: a}
  spec:
    team: payments
    monthlyBudgetUSD: 8000
- apiVersion: ai.systemhardening.com/v1
  kind: LLMBudget
  metadata: {name: b}
  spec: {team: b, monthlyBudgetUSD: 1}
"""
WITH_LIST = BLOCK.replace(
    "# the end\n",
    '  increase:\n  - usd: 10\n    until: "2026-12-01T00:00:00Z"\n\n# the end\n',
)
WITH_FLOW_LIST = BLOCK.replace(
    "# the end\n", '  increase: [{usd: 10, until: "2026-12-01T00:00:00Z"}]  # once\n'
)
EMPTY_LIST = BLOCK.replace("# the end\n", "  increase: []\n")
NO_LAST_LINE_END = BLOCK.replace("\n# the end\n", "").rstrip("\n")
WINDOWS = BLOCK.replace("\n", "\r\n")
FILES = {
    "block": BLOCK,
    "two documents": TWO,
    "flow": FLOW,
    "a list of Kubernetes": LISTED,
    "a list of raises": WITH_LIST,
    "a flow list of raises": WITH_FLOW_LIST,
    "an empty list": EMPTY_LIST,
    "no last line end": NO_LAST_LINE_END,
    "Windows line ends": WINDOWS,
}


def added_and_removed(old: str, new: str) -> tuple[str, str]:
    """The characters that an edit put in and took out."""
    ops = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return (
        "".join(new[j1:j2] for tag, _, _, j1, j2 in ops if tag in ("insert", "replace")),
        "".join(old[i1:i2] for tag, i1, i2, _, _ in ops if tag in ("delete", "replace")),
    )


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_a_raise_is_in_force_and_nothing_else_of_the_file_changed(text: str) -> None:
    new = add_increase(text, "payments", RAISE)

    before = {d.spec.team: d.spec for d in parse_documents(text)}
    after = {d.spec.team: d.spec for d in parse_documents(new)}
    increases = after["payments"].increase
    assert (increases[-1].usd, increases[-1].until, increases[-1].reason) == (500, UNTIL, RAISE.reason)
    assert increases[:-1] == before["payments"].increase
    assert after.keys() == before.keys()
    for team in after.keys() - {"payments"}:
        assert after[team] == before[team]
    assert added_and_removed(text, new)[1] == ""


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_another_monthly_budget_replaces_the_number_alone(text: str) -> None:
    new = set_monthly(text, "payments", Decimal("9000.50"))

    assert {d.spec.team: d.spec.monthly_budget_usd for d in parse_documents(new)}["payments"] == Decimal(
        "9000.5"
    )
    assert new.replace("9000.5", "8000", 1) == text


def test_comments_and_order_stand_as_a_person_wrote_them() -> None:
    assert add_increase(BLOCK, "payments", RAISE) == BLOCK.replace(
        "      action: reject       # hard\n",
        "      action: reject       # hard\n"
        "  increase:\n"
        "    - usd: 500\n"
        '      until: "2026-12-16T00:00:00Z"\n'
        '      reason: "Black Friday: more \\"load\\""\n',
    )


def test_a_second_raise_joins_the_list_in_its_own_indent() -> None:
    new = add_increase(WITH_LIST, "payments", RAISE)
    assert '  - usd: 10\n    until: "2026-12-01T00:00:00Z"\n  - usd: 500\n    until: ' in new


REFUSED = {
    "the team has no budget": (BLOCK, "other"),
    "not YAML": ("a: [", "payments"),
    "an alias as the list": (
        "x-common: &r [{usd: 1, until: '2026-12-01T00:00:00Z'}]\n"
        + BLOCK.replace("# the end\n", "  increase: *r\n"),
        "payments",
    ),
}


@pytest.mark.parametrize(("text", "team"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be_edited_safely_is_refused_by_name(text: str, team: str) -> None:
    with pytest.raises(ConfigurationError, match=r"budgets\.yaml"):
        add_increase(text, team, RAISE, "budgets.yaml")


def test_files_that_are_no_yaml_hold_no_team() -> None:
    assert not has_team("{{ helm }}: [", "payments")
    assert has_team(TWO, "search")


@given(
    reason=st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60),
    usd=st.decimals("0.01", "900000", places=2),
    name=st.sampled_from(sorted(FILES)),
)
def test_any_reason_and_amount_is_read_back_as_it_was_given(reason: str, usd: Decimal, name: str) -> None:
    new = add_increase(FILES[name], "payments", Increase(usd, UNTIL, reason))
    last = next(d for d in parse_documents(new) if d.spec.team == "payments").spec.increase[-1]
    assert (last.usd, last.reason, last.until) == (usd, reason, UNTIL)
