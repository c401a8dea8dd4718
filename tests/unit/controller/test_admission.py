from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spendgate.budget.load import load_policy
from spendgate.controller.admission import API, WARNING_MAX, BadReview, answer
from spendgate.controller.kube.informer import Delta
from spendgate.controller.webhook_server import TeamIndex
from spendgate.errors import ConfigurationError

GOOD: dict[str, Any] = {"team": "search", "monthlyBudgetUSD": 100}
BROKEN: list[dict[str, Any]] = [
    {},
    {"team": "search"},
    {**GOOD, "costRouting": {"enabled": True}},
    {**GOOD, "apps": [{"name": "a"}, {"name": "a"}], "defaultModel": "gpt-*"},
    {**GOOD, "team": ""},
    {**GOOD, "increase": [{"usd": 5, "until": "soon"}]},
]


def review(spec: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    def obj(s: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "ai.systemhardening.com/v1",
            "kind": "LLMBudget",
            "metadata": {"name": "search", "namespace": "ml", "managedFields": [{}], "labels": {"a": "b"}},
            "spec": s,
        }

    request = {
        "uid": "u-1",
        "namespace": "ml",
        "name": "search",
        "operation": "UPDATE" if old is not None else "CREATE",
        "object": obj(spec),
        "oldObject": obj(old) if old is not None else None,
    }
    return {"apiVersion": API, "kind": "AdmissionReview", "request": request | more}


def ask(spec: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    reply = answer(review(spec, old, **more), lambda team: [])
    assert reply["response"]["uid"] == "u-1"
    response: dict[str, Any] = reply["response"]
    return response


def test_a_consistent_budget_is_let_through_without_a_word() -> None:
    assert ask(GOOD) == {"uid": "u-1", "allowed": True}


@pytest.mark.parametrize("spec", BROKEN, ids=range(len(BROKEN)))
def test_it_refuses_in_the_words_of_validate(spec: dict[str, Any], tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "budget.yaml"
    file.write_text(
        yaml.safe_dump({"apiVersion": "ai.systemhardening.com/v1", "kind": "LLMBudget", "spec": spec})
    )
    with pytest.raises(ConfigurationError) as said:
        load_policy([file])
    response = ask(spec)
    assert not response["allowed"]
    lines = response["status"]["message"].splitlines()
    assert sorted(lines) == sorted(f.text for f in said.value.faults)
    assert all(str(f).endswith(f": {f.text}") for f in said.value.faults)


def test_a_wrong_document_whose_spec_does_not_change_is_let_through() -> None:
    assert ask(BROKEN[2], old=BROKEN[2])["allowed"]
    assert not ask(BROKEN[2], old=GOOD)["allowed"]


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_other_operations_are_let_through(operation: str) -> None:
    assert ask(BROKEN[2], operation=operation)["allowed"]


def test_a_second_budget_for_a_team_is_warned_of_and_the_own_one_is_not_a_second() -> None:
    held = {"search": [("ml", "search"), ("other", "old")]}
    response = answer(review(GOOD), lambda team: held.get(team, []))["response"]
    assert response["allowed"]
    (warning,) = response["warnings"]
    assert "team search already has a budget in other/old" in warning


def test_the_notes_of_validate_are_warnings_cut_to_what_kubernetes_shows() -> None:
    (warning,) = ask({**GOOD, "monthlyBudgetUSD": 0, "defaultModel": "gpt-4o-mini"})["warnings"]
    assert warning == "monthlyBudgetUSD is 0: every request is refused"
    many = {"search": [("n" * 63, "b" * 253)]}
    (long,) = answer(review(GOOD), lambda team: many[team])["response"]["warnings"]
    assert len(long) == WARNING_MAX


@pytest.mark.parametrize(
    "body", [None, [], {}, {"apiVersion": "admission.k8s.io/v1beta1"}, {"apiVersion": API}]
)
def test_what_is_no_review_is_said_to_be_none(body: Any) -> None:
    with pytest.raises(BadReview):
        answer(body, lambda team: [])


def test_the_index_follows_additions_changes_of_team_and_deletions() -> None:
    index = TeamIndex()

    def obj(team: object, name: str = "a") -> dict[str, Any]:
        return {"metadata": {"namespace": "ml", "name": name}, "spec": {"team": team}}

    key, first, second = ("ml", "a"), obj("x"), obj("y")
    index.on_deltas([Delta(key, None, first), Delta(("ml", "b"), None, obj("x", "b"))])
    assert index.of("x") == [("ml", "a"), ("ml", "b")]
    index.on_deltas([Delta(key, first, second)])
    assert (index.of("x"), index.of("y")) == ([("ml", "b")], [("ml", "a")])
    index.on_deltas([Delta(key, second, obj(None)), Delta(key, None, obj(7))])
    assert index.of("y") == []
