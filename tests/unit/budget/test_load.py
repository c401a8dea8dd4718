"""Policies from files: every fault at once, with its line, its field and what to do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.load import (
    budget_from_document,
    load_policy,
    parse_documents,
    policy_from_documents,
)
from spendgate.budget.policy import DEFAULT_THRESHOLDS
from spendgate.errors import ConfigurationError

HEAD = "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nspec:\n"


def spec(*lines: str, team: str = "ml") -> str:
    return HEAD + "".join(f"  {x}\n" for x in (f"team: {team}", "monthlyBudgetUSD: 8000", *lines))


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as e:
        parse_documents(text, "b.yaml")
    return [str(f) for f in e.value.faults]


def test_the_published_example_is_read_as_it_stands() -> None:
    text = """
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata:
  name: ml-team-budget
  namespace: ml-platform
  labels: {a: b}
spec:
  team: ml-team
  monthlyBudgetUSD: 8000
  alertThresholds:
    - {percent: 50, action: alert, notifyChannel: "#ml-team-costs"}
    - {percent: 80, action: alert_and_downgrade, notifyChannel: "#ml-team-costs"}
    - {percent: 100, action: reject, notifyChannel: "#ml-team-costs"}
  modelLimits:
    - modelPattern: "claude-opus*"
      maxMonthlyUSD: 3000
      allowedApps: ["research-assistant", "code-review"]
    - {modelPattern: "llama-3*", maxMonthlyUSD: 500}
  defaultModel: "gpt-4o-mini"
  costRouting: {enabled: true, cheapModel: gpt-4o-mini, expensiveModel: gpt-4o, complexityThreshold: 500}
status:
  currentSpendUSD: 12.5
"""
    (document,) = parse_documents(text)
    assert document.spec.model_limits[0].allowed_apps == ("research-assistant", "code-review")
    budget = policy_from_documents([document.model_dump(by_alias=True)]).budget("ml-team")
    assert budget is not None
    assert (budget.name, budget.monthly_nanousd) == ("ml-platform/ml-team-budget", 8000 * 10**9)
    assert budget.contact == "#ml-team-costs"


def test_every_fault_is_named_at_once_by_line_field_and_remedy() -> None:
    text = spec(
        "alertThresholds:",
        "- {percent: 0, actoin: alert}",
        "- percent: 90",
        "  action: refuse",
        "outputTokenCap: many",
        "increase: [{usd: -1, until: 2026-12-01}]",
        "downgrades: [{from: a, to: 'b*'}]",
        "apps: {name: x}",
        "mode: 1",
        "clampOutput: 'true'",
    )
    assert faults(text) == [
        "b.yaml:7: spec.alertThresholds[0].percent: is 0; give at least 1 percent",
        "b.yaml:7: spec.alertThresholds[0].action: is missing; add it, for example `action: alert`",
        "b.yaml:7: spec.alertThresholds[0].actoin: is not a field of an LLMBudget; did you mean action?",
        "b.yaml:9: spec.alertThresholds[1].action: is 'refuse'; use alert, alert_and_downgrade or reject",
        "b.yaml:10: spec.outputTokenCap: is 'many', not a whole number; give a whole number",
        "b.yaml:11: spec.increase[0].usd: is -1; give at least 0 USD",
        "b.yaml:11: spec.increase[0].until: is '2026-12-01', not a time with zone; "
        "write it as 2026-12-01T00:00:00Z",
        "b.yaml:12: spec.downgrades[0].to: is the pattern 'b*', but names the model to send; "
        "give one model's full name",
        "b.yaml:13: spec.apps: is an object, not a list; start each entry with `- `",
        "b.yaml:14: spec.mode: is 1; use enforce or audit",
        "b.yaml:15: spec.clampOutput: is 'true', not true or false; write true or false, without quotes",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HEAD + "  team: a\n", "b.yaml:3: spec.monthlyBudgetUSD: is missing"),
        (HEAD + '  team: a\n  monthlyBudgetUSD: "5"\n', "5: spec.monthlyBudgetUSD: is '5', not a number"),
        (HEAD + "  team: 7\n  monthlyBudgetUSD: 5\n", "b.yaml:4: spec.team: is 7, not text; put it in"),
        (HEAD + "  team: no\n  monthlyBudgetUSD: 5\n", "b.yaml:4: spec.team: is false, not text"),
        (HEAD + "  team: ''\n  monthlyBudgetUSD: 5\n", "b.yaml:4: spec.team: is empty; give a value"),
        (HEAD + "  team: a\n  team: b\n  monthlyBudgetUSD: 5\n", "5: spec.team: is given twice, first on"),
        (HEAD + "  team: a\n  monthlyBudgetUSD: -1\n", "5: spec.monthlyBudgetUSD: is -1; give at least 0"),
        (HEAD + "  team: a\n  monthlyBudgetUSD: 9000001\n", "give at most 9000000 USD"),
        (HEAD + "  team: a\n  monthlyBudgetUSD: .nan\n", "'.nan' is not a decimal number"),
        (HEAD + f"  team: a\n  monthlyBudgetUSD: {'9' * 5000}\n", "b.yaml:5: spec.monthlyBudgetUSD: cannot"),
        (spec("costRouting: {enabled: true}"), "spec.costRouting.cheapModel: is missing, but costRouting"),
        (spec("modelLimits: [{modelPattern: a}, {modelPattern: a}]"), "repeats modelLimits[0]"),
        (spec("apps: [{name: a}, {name: a}]"), "spec.apps[1].name: repeats apps[0]"),
        (
            spec("monthlyBudgetUsd: 5"),
            "spec.monthlyBudgetUsd: is not a field of an LLMBudget; did you mean m",
        ),
        (spec("increase: [{usd: 5, until: 2026-12-01T00:00:00}]"), "not a time with zone"),
        ("kind: ConfigMap\n", "b.yaml:1: kind: is ConfigMap; only LLMBudget documents belong here"),
        ("apiVersion: v2\nkind: LLMBudget\nspec: {team: a, monthlyBudgetUSD: 1}", "1: apiVersion: is 'v2'"),
        ("apiVersion: v1\nkind: List\nitems: 5\n", "b.yaml:3: items: is not a list"),
        ("apiVersion: v1\nkind: List\nitems:\n- 5\n", "b.yaml:4: items[0]: is not an object"),
        ("- a\n", "b.yaml:1: is not an object"),
        ("a: [\n", "is not YAML"),
        ("a: b: c\n", "b.yaml:1: is not YAML: mapping values are not allowed here; correct the syntax"),
        ("a: \x00\n", "is not YAML"),
        ("a: &a [*a]\n", "b.yaml:1: is not YAML: more than"),
        ("? [a]\n: b\n", "has a key that is no text"),
    ],
)
def test_a_fault_says_where_it_is_and_what_is_wrong(text: str, fault: str) -> None:
    assert fault in "\n".join(faults(text))


def test_aliases_that_multiply_are_refused_not_expanded() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for i in range(1, 12):
        bomb += f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n"
    assert "is not YAML: more than" in faults(bomb)[0]


def test_several_documents_lists_and_merge_keys_are_read() -> None:
    text = (
        "---\n---\n" + spec(team="a") + "---\n"
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: ai.systemhardening.com/v1\n  kind: LLMBudget\n"
        "  spec: &base {team: b, monthlyBudgetUSD: 10}\n"
        "- apiVersion: ai.systemhardening.com/v1\n  kind: LLMBudget\n  spec: {<<: *base, team: c}\n"
    )
    found = [(d.spec.team, d.spec.monthly_budget_usd) for d in parse_documents(text)]
    assert found == [("a", 8000), ("b", 10), ("c", 10)]


def test_a_null_counts_as_left_out() -> None:
    (document,) = parse_documents(spec("alertThresholds:", "dailyBudgetUSD: null", "defaultModel: ~"))
    assert document.spec.alert_thresholds == ()
    assert document.spec.default_model is None


def test_amounts_are_exact_decimals() -> None:
    (document,) = parse_documents(spec("dailyBudgetUSD: 0.1", "maxUSDPerRequest: 0.000000001"))
    budget = budget_from_document(document.model_dump(by_alias=True))
    assert (budget.daily_nanousd, budget.request_nanousd) == (100_000_000, 1)


def test_two_budgets_for_a_team_name_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(spec())
    (tmp_path / "b.yml").write_text("\n" + spec())
    with pytest.raises(ConfigurationError) as e:
        load_policy([tmp_path])
    assert str(e.value) == (
        f"{tmp_path}/b.yml:5: spec.team: team ml already has a budget in {tmp_path}/a.yaml:4; "
        "keep one of the two"
    )


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(spec("x: 1"))
    (tmp_path / "b.yaml").write_bytes(b"team: \xff")
    with pytest.raises(ConfigurationError) as e:
        load_policy([tmp_path, tmp_path / "gone.yaml"])
    assert [Path(f.path).name for f in e.value.faults] == ["a.yaml", "b.yaml", "gone.yaml"]
    assert e.value.faults[1].problem == "is not UTF-8 at byte 6"
    assert e.value.faults[2].problem == "does not exist"


def test_a_file_named_twice_is_read_once_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(spec())
    (tmp_path / "notes.txt").write_text("not: [yaml")
    (tmp_path / "..data").mkdir()
    assert load_policy([tmp_path, tmp_path / "a.yaml"]).teams == ("ml",)


@pytest.mark.parametrize("content", [None, "# nothing yet\n"])
def test_a_policy_that_would_bound_nothing_is_a_fault(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match="holds no"):
        load_policy([tmp_path])


def test_objects_of_the_cluster_compile_without_lines() -> None:
    with pytest.raises(ConfigurationError) as e:
        budget_from_document({"apiVersion": "ai.systemhardening.com/v1", "kind": "LLMBudget", "spec": {}})
    assert [str(f) for f in e.value.faults] == [
        "<document>: spec.team: is missing; add it, for example `team: ml-team`",
        "<document>: spec.monthlyBudgetUSD: is missing; add it, for example `monthlyBudgetUSD: 8000`",
    ]


def test_thresholds_left_out_mean_fifty_eighty_and_a_hundred() -> None:
    (document,) = parse_documents(spec())
    assert budget_from_document(document.model_dump(by_alias=True)).thresholds == DEFAULT_THRESHOLDS


_KEYS = st.sampled_from(["apiVersion", "kind", "spec", "team", "alertThresholds", "items", "status", "x"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["LLMBudget", "List", "ai.systemhardening.com/v1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(_VALUES)
def test_whatever_an_object_is_it_compiles_or_is_refused_in_words(value: object) -> None:
    try:
        budget_from_document(value)
    except ConfigurationError as e:
        assert e.faults
        assert all(f.problem for f in e.faults)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"\n #%@,?\t<.0", max_size=60))
def test_whatever_a_text_is_it_is_read_or_refused_in_words(text: str) -> None:
    try:
        parse_documents(text)
    except ConfigurationError as e:
        assert e.faults


def test_a_contradiction_is_named_also_beside_faulty_fields() -> None:
    text = """
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: b}
spec:
  team: ml
  monthlyBudgetUSD: -1
  alertThresholds: [{percent: 0, action: alert}]
  costRouting: {enabled: true}
"""
    with pytest.raises(ConfigurationError) as e:
        parse_documents(text, "f.yaml")
    named = " ".join(str(f) for f in e.value.faults)
    for field in ("monthlyBudgetUSD", "percent", "cheapModel"):
        assert field in named
