from __future__ import annotations

from typing import Any

from spendgate.controller.publisher import remembered, snapshot_of
from spendgate.controller.reconcile import Compiler, DesiredState, InForce, Past, Reconciled, reconcile
from spendgate.policy.store import decode, encode


def obj(
    name: str,
    team: str = "t",
    usd: float = 10,
    *,
    uid: str = "",
    generation: int = 1,
    created: str = "2026-01-01T00:00:00Z",
    namespace: str = "ns",
    **spec: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": "ai.systemhardening.com/v1",
        "kind": "LLMBudget",
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid or f"uid-{namespace}-{name}",
            "generation": generation, "creationTimestamp": created, "resourceVersion": "1",
        },
        "spec": {"team": team, "monthlyBudgetUSD": usd, **spec},
    }  # fmt: skip


def run(*objects: dict[str, Any], last_valid: dict[str, InForce] | None = None) -> Reconciled:
    return reconcile(objects, Past(last_valid or {}), Compiler())


def usd(result: Reconciled) -> dict[str, int]:
    return {e.budget.team: e.budget.monthly_nanousd // 10**9 for e in result.in_force}


BROKEN: dict[str, Any] = {"costRouting": {"enabled": True}}


def test_valid_documents_are_in_force_sorted_by_team() -> None:
    result = run(obj("b", "zeta"), obj("a", "alpha", 3))
    assert usd(result) == {"alpha": 3, "zeta": 10}
    assert [e.budget.team for e in result.in_force] == ["alpha", "zeta"]
    assert {v.state for v in result.verdicts.values()} == {DesiredState.READY}


def test_an_invalid_document_keeps_its_last_valid_generation() -> None:
    before = run(obj("a", usd=10)).in_force[0]
    result = run(obj("a", usd=99, generation=2, **BROKEN), last_valid={before.uid: before})
    assert usd(result) == {"t": 10}
    verdict = result.verdicts["ns", "a"]
    assert verdict.state is DesiredState.INVALID
    assert verdict.generation == 2 and verdict.in_force is before
    assert "spec.costRouting.cheapModel" in verdict.message


def test_an_invalid_document_that_never_was_valid_enforces_nothing() -> None:
    result = run(obj("a", **BROKEN))
    assert result.in_force == ()
    assert result.verdicts["ns", "a"].in_force is None
    assert [(x.team, x.why) for x in result.lapsed] == [("t", "invalid")]
    beside = run(obj("a", **BROKEN), obj("b"))
    assert beside.lapsed == () and usd(beside) == {"t": 10}


def test_a_document_made_anew_does_not_inherit_from_its_namesake() -> None:
    before = run(obj("a", uid="old")).in_force[0]
    result = run(obj("a", uid="new", **BROKEN), last_valid={"old": before})
    assert result.in_force == ()


def test_the_older_of_two_wins_and_the_other_names_it() -> None:
    young = obj("a", usd=1, created="2026-02-01T00:00:00Z")
    old = obj("z", usd=2, created="2026-01-01T00:00:00Z", namespace="other")
    result = run(young, old)
    assert usd(result) == {"t": 2}
    loser = result.verdicts["ns", "a"]
    assert loser.state is DesiredState.CONFLICT and "other/z" in loser.message and loser.in_force is None


def test_of_two_of_one_second_the_name_decides_whatever_the_order() -> None:
    a, b = obj("a", usd=1), obj("b", usd=2)
    assert usd(run(a, b)) == usd(run(b, a)) == {"t": 1}


def test_the_last_valid_generation_of_an_invalid_document_holds_its_team_against_a_younger_one() -> None:
    before = run(obj("a", usd=10)).in_force[0]
    result = run(
        obj("a", generation=2, **BROKEN),
        obj("b", usd=500, created="2026-03-01T00:00:00Z"),
        last_valid={before.uid: before},
    )
    assert usd(result) == {"t": 10}
    assert result.verdicts["ns", "b"].state is DesiredState.CONFLICT


def test_a_deleted_document_is_gone_even_if_it_is_remembered() -> None:
    before = run(obj("a")).in_force[0]
    assert run(last_valid={before.uid: before}).in_force == ()


def test_a_generation_is_compiled_once() -> None:
    compiler = Compiler()
    first = compiler.look(obj("a"))
    assert compiler.look(obj("a")) is first
    assert compiler.look(obj("a", usd=11, generation=2)) is not first


def test_a_snapshot_survives_the_wire_and_remembers_what_was_in_force() -> None:
    result = run(obj("a", "alpha", 0.1), obj("b", "beta", 1234.56))
    entries = result.in_force
    snapshot = decode(encode(snapshot_of(result, 7, 1_700_000_000_000)))
    back = remembered(snapshot, {})
    assert remembered(snapshot, back) == {}
    assert {e.uid: e.budget for e in entries} == {uid: e.budget for uid, e in back.items()}
    assert {e.generation for e in back.values()} == {1}


def test_a_status_alone_does_not_change_the_version() -> None:
    plain, busy = obj("a"), obj("a") | {"status": {"currentSpendUSD": 5}}
    busy["metadata"]["resourceVersion"] = "2"
    versions = {snapshot_of(run(o), 1, 0).version for o in (plain, busy)}
    assert len(versions) == 1


def test_the_compiler_does_not_grow_with_generations_that_are_gone() -> None:
    compiler = Compiler()
    for generation in range(1, 400):
        objects = [obj("a", generation=generation)]
        reconcile(objects, Past(), compiler)
        compiler.tidy(objects)
    assert len(compiler._known) <= 102
