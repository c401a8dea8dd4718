"""What is to be annotated, told by the snapshot of the policy."""

from __future__ import annotations

from pathlib import Path

from unit.controller.test_ownership import NOW_MS, Controllers, strict
from unit.controller.test_reconcile import BROKEN, obj

from spendgate.controller.local import objects
from spendgate.controller.ownership import OPEN
from spendgate.controller.publisher import snapshot_of
from spendgate.controller.reconcile import Compiler, Past, reconcile
from spendgate.doctor.finding import Finding
from spendgate.doctor.ownership_checks import check_ownership
from spendgate.policy.store import decode

SHARED = [obj("pay", "payments", namespace="shared"), obj("search", "search", namespace="shared")]
OWN = obj("own", "billing", namespace="billing")


def found(house: Controllers) -> dict[str, Finding]:
    return {f.code: f for f in check_ownership(decode(house.redis.data))}


async def test_before_strict_is_switched_on_it_says_what_to_annotate() -> None:
    house = Controllers()
    await house.judge(OPEN, *SHARED, OWN)
    (only,) = found(house).values()
    assert (only.code, only.severity) == ("ownership-open", "info")
    assert "namespace shared 'ai.systemhardening.com/llm-teams=payments, search'" in only.fix


async def test_what_stays_in_force_without_a_right_is_named_with_the_whole_annotation() -> None:
    house = Controllers()
    await house.judge(OPEN, *SHARED, OWN)
    await house.judge(strict(shared="search"), *SHARED, OWN)
    finding = found(house)["budget-not-owned"]
    assert "llm-teams=search, payments'" in finding.fix and "payments" in finding.problem
    await house.judge(strict(shared="search payments"), *SHARED, OWN)
    assert found(house) == {}


async def test_a_refused_team_is_an_error_with_its_remedy() -> None:
    house = Controllers()
    await house.judge(strict(shared="search,payments"), *SHARED, OWN)
    await house.judge(strict(shared="search"), *SHARED, OWN)
    finding = found(house)["team-lapsed"]
    assert finding.severity == "error" and "shared/pay" in finding.problem
    assert "llm-teams=search, payments'" in finding.fix
    await house.judge(strict(), obj("bad", "billing", namespace="billing", **BROKEN))
    assert "kubectl describe lb bad -n billing" in found(house)["team-lapsed"].fix


def test_budgets_of_files_have_no_namespace_to_annotate() -> None:

    sample = Path(__file__).parents[3] / "k8s" / "samples" / "ml-team-budget.yaml"
    result = reconcile(objects([sample]), Past(), Compiler())
    assert list(check_ownership(snapshot_of(result, 1, NOW_MS))) == []
