"""Which namespace may hold which team, and what becomes of a team whose budget lost its right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.controller.test_reconcile import BROKEN, obj, usd

from spendgate.controller.ownership import OPEN, Ownership, command
from spendgate.controller.publisher import Publisher, snapshot_of
from spendgate.controller.reconcile import Compiler, DesiredState, Reconciled, reconcile
from spendgate.policy.store import Head, decode, encode, policy_of

NOW_MS = 1_795_000_000_000


def strict(**annotations: str) -> Ownership:
    return Ownership(True, frozenset({"llm-gateway"}), annotations)


class Redis:
    """What a PolicyStore holds, without the store."""

    def __init__(self) -> None:
        self.data = b""

    async def head(self) -> Head:
        return Head() if not self.data else Head(decode(self.data).generation, decode(self.data).version)

    async def read(self) -> Any:
        return decode(self.data) if self.data else None


class Controllers:
    """Controllers, one after another, on one Redis and one cluster."""

    def __init__(self) -> None:
        self.redis = Redis()
        self.restart()

    def restart(self) -> None:
        self.publisher = Publisher(self.redis)  # type: ignore[arg-type]

    async def judge(self, ownership: Ownership, *objects: dict[str, Any]) -> Reconciled:
        await self.publisher.follow()
        self.publisher.believe(objects)
        result = reconcile(objects, self.publisher.past, Compiler(), ownership)
        self.publisher.learn(result, [o["metadata"]["uid"] for o in objects])
        self.redis.data = encode(snapshot_of(result, self.publisher.generation + 1, NOW_MS))
        return result


@pytest.mark.parametrize(
    ("namespace", "team", "good"),
    [
        ("payments", "payments", True),
        ("team-a", "payments", False),
        ("team-a", "search-eu", True),
        ("team-a", "search", False),
        ("team-a", "Search-eu", False),
        ("team-a", "billing", True),
        ("team-a", "team-[x]", True),
        ("team-a", "team-x", False),
        ("llm-gateway", "payments", True),
        ("llm-gateway", "unattributed", True),
        ("everything", "payments", True),
        ("everything", "unattributed", False),
        ("named", "unattributed", True),
    ],
)
def test_a_namespace_holds_its_own_team_and_what_it_is_granted(namespace: str, team: str, good: bool) -> None:
    grants = {"team-a": " billing,search-*\n team-[x]", "everything": "*", "named": "unattributed"}
    assert strict(**grants).may(namespace, team) is good
    assert OPEN.may(namespace, team)


@given(st.text(), st.sampled_from(["payments", "unattributed"]))
def test_no_annotation_breaks_the_judgement(text: str, team: str) -> None:
    granted = strict(**{"team-a": text}).may("team-a", team)
    assert granted is False or team in text or "*" in text or "?" in text


def test_the_command_that_grants_keeps_what_was_granted() -> None:
    wanted = "kubectl annotate --overwrite namespace a 'ai.systemhardening.com/llm-teams=x, y-*, payments'"
    assert command("a", "x y-*", ["payments", "x"]) == wanted


async def test_a_squatter_neither_starves_nor_frees_a_team() -> None:
    house = Controllers()
    squatter = obj("mine", "payments", 0, namespace="team-a", created="2025-01-01T00:00:00Z")
    alone = await house.judge(strict(), squatter)
    verdict = alone.verdicts["team-a", "mine"]
    assert (verdict.state, verdict.in_force) == (DesiredState.NOT_OWNER, None)
    assert "kubectl annotate" in verdict.message
    assert alone.in_force == () and alone.lapsed == ()
    own = obj("own", "payments", 5000, namespace="payments")
    beside = await house.judge(strict(), squatter, own)
    assert usd(beside) == {"payments": 5000} and beside.lapsed == ()
    assert beside.verdicts["payments", "own"].state is DesiredState.READY
    broken = obj("mine", "payments", 0, namespace="team-a", uid="u2", **BROKEN)
    assert (await house.judge(strict(), broken)).lapsed == ()


async def test_what_was_in_force_before_stays_until_it_is_edited_also_over_restarts() -> None:
    house = Controllers()
    shared = obj("pay", "payments", 100, namespace="shared")
    assert usd(await house.judge(OPEN, shared)) == {"payments": 100}
    for _ in range(3):
        house.restart()
        kept = await house.judge(strict(), shared)
        assert usd(kept) == {"payments": 100} and kept.lapsed == ()
        verdict = kept.verdicts["shared", "pay"]
        assert verdict.state is DesiredState.NOT_OWNER and verdict.in_force is not None
    edited = obj("pay", "payments", 9_000_000, namespace="shared", generation=2)
    for _ in range(3):
        refused = await house.judge(strict(), edited)
        assert refused.in_force == () and [x.team for x in refused.lapsed] == ["payments"]
        house.restart()
    back = obj("pay", "payments", 100, namespace="shared", generation=3)
    assert (await house.judge(strict(), back)).in_force == ()
    assert usd(await house.judge(strict(shared="payments"), edited)) == {"payments": 9_000_000}


async def test_without_a_snapshot_the_statuses_say_what_was_in_force() -> None:
    shared = obj("pay", "payments", 100, namespace="shared") | {"status": {"enforcedGeneration": 1}}
    older = obj("old", "search", 100, namespace="shared", generation=2) | {
        "status": {"enforcedGeneration": 1}
    }
    result = await Controllers().judge(strict(), shared, older)
    assert usd(result) == {"payments": 100}


async def test_what_was_in_force_before_gives_way_to_the_owner_however_young() -> None:
    house = Controllers()
    shared = obj("pay", "payments", 0, namespace="shared", created="2025-01-01T00:00:00Z")
    own = obj("own", "payments", 5000, namespace="payments", created="2026-01-01T00:00:00Z")
    assert usd(await house.judge(OPEN, shared, own)) == {"payments": 0}
    result = await house.judge(strict(), shared, own)
    assert usd(result) == {"payments": 5000}
    assert result.verdicts["shared", "pay"].state is DesiredState.NOT_OWNER
    assert [x.team for x in (await house.judge(strict(), shared)).lapsed] == ["payments"]


async def test_a_team_whose_only_budget_lost_its_right_is_refused_until_it_has_another() -> None:
    house = Controllers()
    granted = obj("pay", "payments", 100, namespace="shared")
    assert usd(await house.judge(strict(shared="payments"), granted)) == {"payments": 100}
    for _ in range(3):
        lost = await house.judge(strict(), granted)
        assert lost.in_force == () and [(x.team, x.why) for x in lost.lapsed] == [("payments", "not_owner")]
        house.restart()
    assert policy_of(decode(house.redis.data)).lapsed == {"payments"}
    own = obj("own", "payments", 7, namespace="payments")
    assert usd(await house.judge(strict(), granted, own)) == {"payments": 7}
    assert usd(await house.judge(strict(shared="pay*"), granted)) == {"payments": 100}


async def test_a_budget_turned_to_a_foreign_team_frees_neither() -> None:
    house = Controllers()
    assert usd(await house.judge(strict(), obj("a", "team-a", 5, namespace="team-a"))) == {"team-a": 5}
    turned = await house.judge(strict(), obj("a", "payments", 5, namespace="team-a", generation=2))
    assert turned.in_force == () and [x.team for x in turned.lapsed] == ["team-a"]


async def test_an_invalid_document_keeps_what_it_had_only_while_it_may() -> None:
    house = Controllers()
    await house.judge(strict(shared="payments"), obj("pay", "payments", 100, namespace="shared"))
    broken = obj("pay", "payments", 1, namespace="shared", generation=2, **BROKEN)
    assert usd(await house.judge(strict(shared="payments"), broken)) == {"payments": 100}
    lost = await house.judge(strict(), broken)
    assert lost.in_force == () and [x.team for x in lost.lapsed] == ["payments"]
    assert lost.verdicts["shared", "pay"].state is DesiredState.INVALID


async def test_each_right_is_another_policy_so_that_it_is_remembered() -> None:
    shared = obj("pay", "payments", 100, namespace="shared")
    house, versions = Controllers(), set()
    for ownership in (OPEN, strict(), strict(shared="payments"), strict()):
        await house.judge(ownership, shared)
        versions.add(decode(house.redis.data).version)
    assert len(versions) == 4
