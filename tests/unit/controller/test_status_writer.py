"""Which statuses wait to be written, and in which order."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, cast

import pytest
from unit.controller.test_reconcile import obj, run

from spendgate.controller.kube.client import Kube, KubeError, Object
from spendgate.controller.kube.informer import Informer, key_of
from spendgate.controller.reconcile import Compiler, Past, Reconciled, changes, reconcile
from spendgate.controller.status import Numbers
from spendgate.controller.status_writer import BURST, Pending, StatusWriter

NOW_MS = 1_795_000_000_000


class Answers:
    """An API server that takes every patch."""

    def __init__(self) -> None:
        self.patched: list[str] = []
        self.versions = 100
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def merge_patch(self, path: str, body: Object) -> Object:
        name = path.split("/")[-2]
        self.asked.append(name)
        if name in self.refused:
            raise KubeError(403, "Forbidden", "no")
        self.patched.append(name)
        self.versions += 1
        answer = obj(name, f"team-{name}", 10)
        answer["metadata"]["resourceVersion"] = str(self.versions)
        answer["status"] = {k: v for k, v in body["status"].items() if v is not None}
        return answer

    async def create(self, path: str, body: Object) -> Object:
        return body


class House:
    """A writer over budgets that nobody watches."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.kube = Answers()
        self.informer = Informer(cast(Kube, self.kube), "/budgets", lambda _: None)
        self.writer = StatusWriter(cast(Kube, self.kube), self.informer, "us", **settings)
        self.compiler = Compiler()
        for name in names:
            self.put(obj(name, f"team-{name}"))

    def put(self, made: dict[str, Any]) -> None:
        self.informer.objects[key_of(made)] = made

    def judged(self) -> Reconciled:
        return reconcile(self.informer.objects.values(), Past(), self.compiler)

    def pending(self, verdicts: Any, usd: float = 0, later_ms: int = 0) -> list[Pending]:
        spent = Numbers(int(usd * 10**9), 0)
        numbers = {v.in_force.budget.team: spent for v in verdicts.values() if v.in_force}
        return self.writer.pending(verdicts, numbers, NOW_MS + later_ms, lambda _: ())

    async def write(self, todo: list[Pending]) -> None:
        await self.writer.write(todo, lambda: True, lambda: NOW_MS)


async def test_a_look_at_some_leaves_the_others_waiting() -> None:
    house = House("a", "b", "c")
    every = house.judged().verdicts
    assert len(house.pending(every)) == 3 == house.writer.backlog
    [only] = house.pending({("ns", "b"): every["ns", "b"]})
    await house.write([only])
    assert house.kube.patched == ["b"]
    assert house.writer.backlog == 2
    assert {p.key[1] for p in house.pending(house.judged().verdicts)} == {"a", "c"}


async def test_what_was_written_is_not_written_again() -> None:
    house = House("a")
    await house.write(house.pending(house.judged().verdicts))
    assert house.pending(house.judged().verdicts) == []
    assert (house.kube.patched, house.writer.backlog) == (["a"], 0)


async def test_a_deleted_budget_waits_no_more() -> None:
    house = House("a", "b")
    house.pending(house.judged().verdicts)
    del house.informer.objects["ns", "a"]
    house.pending({})
    assert house.writer.backlog == 1


async def test_never_faster_than_the_bound() -> None:
    names = [f"n{i:03}" for i in range(int(BURST) + 30)]
    house = House(*names)
    await house.write(house.pending(house.judged().verdicts))
    assert int(BURST) <= len(house.kube.patched) < len(names)
    assert house.writer.backlog == len(names) - len(house.kube.patched)


async def test_what_waits_is_written_on_as_the_bound_allows() -> None:
    house = House(*(f"n{i:03}" for i in range(int(BURST) + 5)))
    await house.write(house.pending(house.judged().verdicts))
    while house.writer.backlog:
        await asyncio.sleep(0.05)
        await house.writer.go_on(lambda: True, lambda: NOW_MS)
    assert len(set(house.kube.patched)) == len(house.kube.patched) == int(BURST) + 5


async def test_what_changed_while_it_waited_is_judged_anew_first() -> None:
    house = House("a", "b")
    todo = house.pending(house.judged().verdicts)
    changed = obj("a", "team-a", 20, generation=2)
    changed["metadata"]["resourceVersion"] = "2"
    house.put(changed)
    await house.write(todo)
    assert house.kube.patched == ["b"]
    [again] = house.pending(house.judged().verdicts)
    assert (again.key, again.new["observedGeneration"]) == (("ns", "a"), 2)
    await house.write([again])
    assert house.kube.patched == ["b", "a"]


def test_only_what_became_of_a_document_anew_is_a_change() -> None:
    compiler = Compiler()
    one, two = obj("a", "red"), obj("b", "blue")
    before = reconcile([one, two], Past(), compiler)
    assert changes(before.verdicts, reconcile([one, two], Past(), compiler).verdicts) == {}
    raised = obj("b", "blue", 20, generation=2)
    after = reconcile([one, raised], Past(), compiler)
    assert changes(before.verdicts, after.verdicts) == {("ns", "b"): after.verdicts["ns", "b"]}


@pytest.mark.parametrize("gone", ["a", "b"])
def test_who_takes_over_from_a_deleted_rival_is_a_change(gone: str) -> None:
    rivals = {
        "a": obj("a", "red", created="2026-01-01T00:00:00Z"),
        "b": obj("b", "red", created="2026-02-01T00:00:00Z"),
    }
    before = run(*rivals.values())
    [left] = [name for name in rivals if name != gone]
    after = run(rivals[left])
    assert (("ns", left) in changes(before.verdicts, after.verdicts)) == (left == "b")


async def test_numbers_alone_are_written_once_an_interval_and_a_condition_at_once() -> None:
    house = House("a", interval_ms=30_000)
    await house.write(house.pending(house.judged().verdicts))
    assert house.pending(house.judged().verdicts, 1, 29_000) == []
    [due] = house.pending(house.judged().verdicts, 1, 30_000)
    assert not due.urgent
    [exhausted] = house.pending(house.judged().verdicts, 10, 1_000)
    assert exhausted.urgent


async def test_less_than_the_quantum_is_told_after_many_intervals() -> None:
    house = House("a", interval_ms=30_000, quantum_percent=Decimal(1))
    await house.write(house.pending(house.judged().verdicts))
    assert house.pending(house.judged().verdicts, 0.09, 570_000) == []
    assert house.pending(house.judged().verdicts, 0.1, 30_000) != []
    assert house.pending(house.judged().verdicts, 0.09, 600_000) != []


async def test_a_refused_status_is_tried_less_and_less_often_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house, clock = House("a", "b"), [1000.0]
    monkeypatch.setattr("spendgate.controller.status_writer.time.monotonic", lambda: clock[0])
    house.kube.refused = {"a"}
    for _ in range(3600):  # an hour of looks
        await house.write(house.pending(house.judged().verdicts))
        clock[0] += 1
    assert house.kube.patched == ["b"]
    assert 10 <= house.kube.asked.count("a") <= 25
    assert house.writer.errors == {"Forbidden": house.kube.asked.count("a")}
    assert house.writer.backlog == 0
    house.kube.refused = set()
    clock[0] += 400
    await house.write(house.pending(house.judged().verdicts))
    assert house.kube.patched == ["b", "a"]
