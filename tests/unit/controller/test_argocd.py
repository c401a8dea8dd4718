"""Argo CD's health check for LLMBudgets, run by a real Lua on statuses as the controller writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml

from spendgate.controller.confirmation import Confirmation
from spendgate.controller.reconcile import Compiler, Past, reconcile
from spendgate.controller.status import Numbers, desired

Json = dict[str, Any]
SETTINGS: Json = yaml.safe_load(
    (Path(__file__).parents[3] / "deploy/argocd/argocd-cm.yaml").read_text(encoding="utf-8")
)["data"]
NOW = 1_793_000_000_000


def health(obj: Json) -> tuple[str, str]:
    """Status and message, as Argo CD takes them from the script: the object is the global `obj`."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(obj, recursive=True)
    found = lua.execute(SETTINGS["resource.customizations.health.ai.systemhardening.com_LLMBudget"])
    return str(found["status"]), str(found["message"])


def budget(name: str = "n", generation: int = 1, **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": generation,
                     "creationTimestamp": f"2026-11-0{1 if name == 'n' else 2}T00:00:00Z"},
        "spec": {"team": "t", "monthlyBudgetUSD": 100, **spec},
    }  # fmt: skip


def told(obj: Json, *others: Json, confirmation: Confirmation | None = None) -> Json:
    """The object with the status that the controller gives it."""
    name = obj["metadata"]["name"]
    verdict = reconcile([*others, obj], Past(), Compiler()).verdicts["ns", name]
    return {**obj, "status": desired(verdict, Numbers(0, 0), {}, NOW, confirmation=confirmation)}


def test_a_budget_that_no_controller_has_seen_is_progressing() -> None:
    assert health(budget()) == ("Progressing", "no controller has looked at it yet")


def test_an_edit_is_progressing_until_the_controller_has_seen_it() -> None:
    edited = told(budget(), confirmation=Confirmation(1))
    edited["metadata"]["generation"] = 2
    assert health(edited)[0] == "Progressing"


@pytest.mark.parametrize(
    ("confirmation", "status"),
    [
        (Confirmation(3), "Healthy"),
        (Confirmation(3, 1, "pod-b/0/1"), "Progressing"),
        (Confirmation(0), "Progressing"),
        (None, "Progressing"),
    ],
)
def test_it_is_healthy_when_every_gateway_enforces_it(confirmation: Confirmation | None, status: str) -> None:
    assert health(told(budget(), confirmation=confirmation))[0] == status


def test_a_budget_that_contradicts_itself_is_degraded_and_says_why() -> None:
    status, message = health(told(budget(costRouting={"enabled": True}), confirmation=Confirmation(1)))
    assert status == "Degraded"
    assert message.startswith("Invalid: ") and "cheapModel" in message


def test_a_second_budget_of_a_team_is_degraded_and_says_why() -> None:
    status, message = health(told(budget("younger"), budget(), confirmation=Confirmation(1)))
    assert (status, message.partition(":")[0]) == ("Degraded", "Conflict")
