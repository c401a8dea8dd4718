"""What the gateways' reports say of a budget."""

from __future__ import annotations

from unit.controller.test_reconcile import obj, run

from spendgate.controller.confirmation import VERSIONS_KEPT, Confirmation, History
from spendgate.controller.publisher import snapshot_of
from spendgate.controller.reconcile import InForce
from spendgate.ledger.redis.gateways import Report

A, B = obj("a", "red", 1), obj("b", "blue", 1)
RAISED = obj("a", "red", 2, generation=2)


class Policies:
    """Policies, published one after another."""

    def __init__(self) -> None:
        self.history = History()
        self.reports: dict[str, Report] = {}

    def publish(self, *objects: dict[str, object]) -> str:
        snapshot = snapshot_of(run(*objects), 1, 0)
        self.history.learn(snapshot)
        return str(snapshot.version)

    def tell(self, name: str, version: str, *misread: str) -> None:
        self.reports[name] = Report(version, 1, frozenset(misread))

    def of(self, document: dict[str, object]) -> Confirmation:
        entry = run(document).in_force[0]
        assert isinstance(entry, InForce)
        return self.history.of(entry, self.reports)


def test_only_what_changed_waits_for_the_gateways() -> None:
    p = Policies()
    first = p.publish(A, B)
    p.tell("one", first)
    p.tell("two", first)
    assert p.of(A).everywhere and p.of(B).everywhere
    second = p.publish(RAISED, B)
    assert p.of(B).everywhere
    assert p.of(RAISED) == Confirmation(2, 2, "one")
    p.tell("one", second)
    assert p.of(RAISED) == Confirmation(2, 1, "two")
    p.tell("two", second)
    assert p.of(RAISED).everywhere


def test_what_is_not_published_is_enforced_by_nobody() -> None:
    p = Policies()
    p.tell("one", p.publish(A))
    assert p.of(RAISED) == Confirmation(1, 1, "one")
    assert p.of(B) == Confirmation(1, 1, "one")


def test_without_gateways_nothing_is_enforced_everywhere() -> None:
    p = Policies()
    p.publish(A)
    assert p.of(A) == Confirmation(0) and not p.of(A).everywhere


def test_a_policy_that_nobody_knows_and_a_budget_that_was_misread_do_not_count() -> None:
    p = Policies()
    version = p.publish(A, B)
    p.tell("strange", "f00d")
    assert p.of(A) == Confirmation(1, 1, "strange")
    p.tell("strange", version, "uid-ns-a")
    assert p.of(A) == Confirmation(1, 1, "strange") and p.of(B).everywhere


def test_a_policy_that_comes_back_is_as_new() -> None:
    p = Policies()
    first = p.publish(A)
    p.publish(RAISED)
    assert p.publish(A) == first
    p.tell("one", first)
    assert p.of(A).everywhere


def test_old_versions_are_forgotten() -> None:
    p = Policies()
    p.tell("one", p.publish(A, B))
    for n in range(VERSIONS_KEPT + 1):
        p.publish(A, obj("b", "blue", n + 2, generation=n + 2))
    assert p.of(A) == Confirmation(1, 1, "one")
