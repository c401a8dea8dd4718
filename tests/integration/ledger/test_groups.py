"""Groups: accounts that stand on several servers hold both or neither, whoever dies in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.asks import T0, ask, bound, candidate, end
from support.topologies import Node, Place, raw, running, wait

from spendgate.budget.bounds import Bound, Clamp
from spendgate.errors import LedgerUnavailable
from spendgate.ledger.exchanges import (
    Expired,
    GroupShare,
    ReserveRequest,
    ReserveResult,
    Settlement,
    group_account,
)
from spendgate.ledger.redis.codec import team_prefix
from spendgate.ledger.redis.ledger import RedisLedger

MONTH = "202611"
DEPT, ORG = "dept", "org"
LONG = bool(os.environ.get("SPENDGATE_LONG_GROUPS"))


@pytest.fixture(
    scope="module", params=[("single", "redis-7.0"), ("cluster", "redis-8.2")], ids=lambda p: p[0]
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind, version = request.param
    with running(kind, version, tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture
async def ledger(place: Place) -> object:
    for node in place.masters():
        with contextlib.closing(node.client()) as c:
            raw(c, "FLUSHALL")
    made = RedisLedger.from_url(place.url, 20.0)
    yield made
    await made.close()


def of(group: str, floor: int, ceiling: int | None = None) -> Bound:
    return replace(bound(floor, ceiling), group=group, reason="group_budget_exceeded")


def request(name: str, team: str, estimate: int, *bounds: Bound) -> ReserveRequest:
    return ask(name, candidate(estimate, *(bounds or (bound(100), of(DEPT, 150), of(ORG, 1000)))), team=team)


def ended(name: str, team: str, cost: int, *, release: bool = False) -> Settlement:
    shares = tuple(GroupShare(g, (("month", "month"),)) for g in (DEPT, ORG))
    return replace(end(name, cost, team=team), groups=shares, release=release)


async def stands(ledger: RedisLedger, *accounts: str) -> list[tuple[int, int, int]]:
    """(settled, reserved, holds) of each account."""
    names = [group_account(a) if a in (DEPT, ORG) else a for a in accounts]
    months = await ledger.months(names, MONTH)
    return [(m.settled_nanousd, m.reserved_nanousd, m.open_holds) for m in months]


async def test_what_a_team_holds_and_settles_its_groups_hold_and_settle(ledger: RedisLedger) -> None:
    result = await ledger.reserve(request("x1", "red", 60), T0)
    assert (result.candidate, result.held_nanousd, result.counters) == (0, 60, ((0, 60),) * 3)
    assert await stands(ledger, "red", DEPT, ORG) == [(0, 60, 1)] * 3
    assert await ledger.settle([ended("x1", "red", 20)], T0) == ["settled"]
    assert await stands(ledger, "red", DEPT, ORG) == [(20, 0, 0)] * 3
    assert await ledger.settle([ended("x1", "red", 99)], T0) == ["replayed"]
    assert (await ledger.reserve(request("x1", "red", 60), T0)).replayed
    await ledger.reserve(request("x2", "blue", 60), T0)
    await ledger.settle([ended("x2", "blue", 0, release=True)], T0)
    assert await stands(ledger, "blue", DEPT, ORG) == [(0, 0, 0), (20, 0, 0), (20, 0, 0)]
    assert await ledger.groups() == [DEPT, ORG]
    assert await ledger.teams() == ["blue", "red"], "a group is no team"
    (month,) = await ledger.group_months([DEPT], MONTH)
    assert (month.team, month.apps) == (DEPT, {"red": 20}), "its apps are its teams"


async def test_a_group_that_refuses_leaves_nothing_held_and_is_named(ledger: RedisLedger) -> None:
    await ledger.reserve(request("x1", "red", 90), T0)
    refused = await ledger.reserve(request("x2", "blue", 90), T0)
    assert refused.candidate == -1 and refused.waits_for is not None
    (named,) = refused.refusals
    assert (named.bound.group, named.bound.key, named.settled_nanousd, named.reserved_nanousd) == (
        DEPT, "group:dept:month", 0, 90,
    )  # fmt: skip
    assert refused.in_flight and refused.in_flight[0][1] == 90
    assert await stands(ledger, "blue", DEPT, ORG) == [(0, 0, 0), (0, 90, 1), (0, 90, 1)]


async def test_a_team_that_refuses_leaves_nothing_held_in_its_groups(ledger: RedisLedger) -> None:
    refused = await ledger.reserve(request("x1", "red", 120), T0)
    assert [(r.bound.group, r.held) for r in refused.refusals] == [("", False)]
    assert (refused.settled_nanousd, refused.reserved_nanousd) == (0, 0)
    assert await stands(ledger, "red", DEPT, ORG) == [(0, 0, 0)] * 3
    assert (await ledger.reserve(request("x1", "red", 80), T0)).candidate == 0, (
        "the same id may be asked again"
    )


async def test_the_first_candidate_that_fits_everywhere_is_held_everywhere(ledger: RedisLedger) -> None:
    dear = candidate(120, bound(200), of(DEPT, 100), model="dear")
    middle = candidate(90, bound(80), of(DEPT, 100), model="middle")
    cheap = candidate(50, bound(80), of(DEPT, 100), model="cheap")
    result = await ledger.reserve(ask("x1", dear, middle, cheap), T0)
    assert (result.candidate, [r.bound.group for r in result.refusals]) == (2, [DEPT, ""])
    assert await stands(ledger, "red", DEPT) == [(0, 50, 1)] * 2


class SentTwice(RedisLedger):
    """Hears no first answer: each connection breaks after the server has done its part."""

    async def _reserve(self, now_ms: int, request: ReserveRequest, again: bool = False) -> ReserveResult:
        await super()._reserve(now_ms, request, again)
        return await super()._reserve(now_ms, request, again)


async def test_who_hears_only_the_second_answer_is_told_the_candidate_that_is_held(
    ledger: RedisLedger, place: Place
) -> None:
    unlucky = SentTwice.from_url(place.url, 20.0)
    dear = candidate(120, bound(200), of(DEPT, 100), model="dear")
    cheap = candidate(50, bound(80), of(DEPT, 100), model="cheap")
    result = await unlucky.reserve(ask("x1", dear, cheap), T0)
    assert (result.candidate, result.held_nanousd, result.counters[0]) == (1, 50, (0, 50))
    assert await stands(ledger, "red", DEPT) == [(0, 50, 1)] * 2
    again = await ledger.reserve(ask("x1", dear, cheap), T0)
    assert (again.candidate, again.held_nanousd, again.replayed) == (1, 50, True)
    assert await stands(ledger, "red", DEPT) == [(0, 50, 1)] * 2
    tight = candidate(90, bound(100), of(DEPT, 80), clamp=Clamp(10, 1000, 5))
    part = await unlucky.reserve(ask("x2", tight, team="blue"), T0)
    assert (part.candidate, part.held_nanousd, part.output_cap) == (0, 30, 20)
    assert await stands(ledger, "blue", DEPT) == [(0, 30, 1), (0, 80, 2)]
    await unlucky.close()


async def test_what_is_clamped_to_one_account_is_held_so_in_all(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x0", candidate(60, bound(), of(DEPT, 100))), T0)
    c = candidate(90, bound(100), of(DEPT, 100), clamp=Clamp(10, 1000, 5))
    result = await ledger.reserve(ask("x1", c, team="blue"), T0)
    assert (result.candidate, result.held_nanousd, result.output_cap) == (0, 40, 30)
    assert await stands(ledger, "blue", DEPT) == [(0, 40, 1), (0, 100, 2)]
    c = candidate(90, bound(30), of(DEPT, 200), clamp=Clamp(10, 1000, 5))
    result = await ledger.reserve(ask("x2", c, team="green"), T0)
    assert (result.held_nanousd, result.output_cap) == (30, 20)
    assert await stands(ledger, "green", DEPT) == [(0, 30, 1), (0, 130, 3)]


async def test_who_dies_between_the_accounts_leaves_a_hold_that_expires_and_no_charge_is_lost(
    ledger: RedisLedger,
) -> None:
    """As the first half of two phases leaves it: the group holds, the team does not."""
    half = replace(request("x1", "red", 60, bound(150)), team=group_account(DEPT), app="red", ttl_ms=1000)
    await ledger._reserve(T0, half)
    assert await stands(ledger, "red", DEPT) == [(0, 0, 0), (0, 60, 1)]
    await ledger.renew([(group_account(DEPT), "another")], 60_000, T0)
    gone = await ledger.expire_many([group_account(DEPT), "red"], T0 + 1001)
    assert gone == [Expired("x1", group_account(DEPT), "red", "gpt-4o", 60, T0)]
    assert await stands(ledger, "red", DEPT) == [(0, 0, 0), (60, 0, 0)], "charged the estimate, as every hold"
    assert await ledger.settle([ended("x1", "red", 25)], T0 + 2000) == ["settled"]
    assert await stands(ledger, "red", DEPT) == [(25, 0, 0)] * 2, (
        "its true cost, should it have been sent after all"
    )


async def test_a_try_that_nobody_heard_of_is_voided_in_every_account(ledger: RedisLedger) -> None:
    await ledger.reserve(request("x1", "red", 60), T0)
    void = Settlement("x1", "red", "chat", "", 0, release=True, groups=(GroupShare(DEPT), GroupShare(ORG)))
    await ledger.settle([void], T0)
    assert await stands(ledger, "red", DEPT, ORG) == [(0, 0, 0)] * 3
    late = await ledger.reserve(request("x1", "red", 60), T0)
    assert late.replayed and late.held_nanousd == 0
    assert await stands(ledger, "red", DEPT, ORG) == [(0, 0, 0)] * 3


async def test_an_adjustment_moves_the_groups_too(ledger: RedisLedger) -> None:
    from spendgate.ledger.accounts import Adjustment

    made = Adjustment("a1", "red", 40, "missed", groups=(DEPT,))
    for _ in range(2):
        await ledger.adjust([made], T0)
    assert await stands(ledger, "red", DEPT) == [(40, 0, 0)] * 2


# -- many gateways at once, with a failover in the middle ------------------------------------------------------

TEAMS = [f"team-{n}" for n in range(20)]
GATEWAYS, CLIENTS, BOUND = (50, 200, 50_000_000) if LONG else (5, 16, 700_000)
ESTIMATE, COST = 1000, 700


class Gateway:
    """One gateway's clients: each asks until the group has nothing left, and settles what it got."""

    def __init__(self, url: str, name: str) -> None:
        self.ledger = RedisLedger.from_url(url, 60.0)
        self.name, self.admitted, self.asked = name, 0, 0
        self.ended: list[Settlement] = []

    async def client(self, number: int) -> None:
        dice, misses = random.Random(f"{self.name} {number}"), 0
        while misses < 25:
            self.asked += 1
            name, team = f"{self.name}-{number}-{self.asked}", dice.choice(TEAMS)
            asked = request(name, team, ESTIMATE, bound(BOUND), of(DEPT, BOUND))
            try:
                result = await self.ledger.reserve(replace(asked, ttl_ms=600_000))
            except LedgerUnavailable:  # as the runtime: what may be held is voided
                self.ended.append(replace(ended(name, team, 0, release=True), groups=(GroupShare(DEPT),)))
                await asyncio.sleep(0.05)
                continue
            if result.candidate < 0:
                misses += not result.refusals[-1].held
                await asyncio.sleep(dice.uniform(0, 0.02))
                continue
            self.admitted += 1
            await asyncio.sleep(dice.uniform(0, 0.02))
            share = GroupShare(DEPT, (("month", "month"),))
            self.ended.append(replace(end(name, COST, team=team, at_ms=0), groups=(share,)))

    async def settle_until(self, over: asyncio.Event) -> None:
        while not over.is_set() or self.ended:
            batch = self.ended[:500]
            try:
                if batch:
                    await self.ledger.settle(batch)
                del self.ended[: len(batch)]
            except LedgerUnavailable:
                pass  # all is sent again
            await asyncio.sleep(0.005)


async def highest(place: Place, over: asyncio.Event) -> int:
    """The most that stood in the group's month at any reading."""
    seen, key = 0, f"{team_prefix(group_account(DEPT))}b:month:"
    while not over.is_set():
        with contextlib.suppress(Exception), contextlib.closing(place.master_of(key + "x").client()) as c:
            for name in c.keys(key.replace("[", r"\[") + "*"):
                seen = max(seen, sum(int(n or 0) for n in c.hmget(name, ["s", "r"])))
        await asyncio.sleep(0.05)
    return seen


def follower(place: Place, master: Node, folder: Path) -> Node:
    """A replica of a master, in step with it."""
    node = Node(master.executable, folder / "replica", dict(master.options)).start()
    with contextlib.closing(node.client()) as c, contextlib.closing(master.client()) as m:
        raw(c, "CLUSTER", "MEET", "127.0.0.1", master.port)
        own = raw(m, "CLUSTER", "MYID").decode()
        wait(lambda: own in raw(c, "CLUSTER", "NODES").decode(), "the new node knows its master")
        raw(c, "CLUSTER", "REPLICATE", own)
        wait(lambda: b"master_link_status:up" in raw(c, "INFO", "replication"), "the replica follows")
    place.nodes.append(node)
    return node


@pytest.mark.parametrize("kind", ["single", "cluster"])
async def test_no_bound_of_a_group_is_passed_by_many_gateways_with_a_failover_in_the_middle(
    kind: str, tmp_path: Path
) -> None:
    """Short here; `make groups` has fifty gateways of two hundred clients."""
    version = "redis-7.0" if kind == "single" else "redis-8.2"
    with running(kind, version, tmp_path / "place") as place:
        over = asyncio.Event()
        holds = f"{team_prefix(group_account(DEPT))}holds"
        replica = follower(place, place.master_of(holds), tmp_path) if kind == "cluster" else None
        gateways = [Gateway(place.url, f"g{n}") for n in range(GATEWAYS)]
        settling = [asyncio.create_task(g.settle_until(over)) for g in gateways]
        clients = [asyncio.create_task(g.client(n)) for g in gateways for n in range(CLIENTS)]
        watching = None
        if replica is not None:
            watching = asyncio.create_task(highest(place, over))
            quarter = BOUND // COST // 4
            await asyncio.to_thread(
                wait, lambda: sum(g.admitted for g in gateways) > quarter, "a quarter is spent"
            )
            with contextlib.closing(replica.client()) as c:
                raw(c, "CLUSTER", "FAILOVER")  # the master hands over when the replica has all that it has
            await asyncio.to_thread(wait, lambda: place.master_of(holds) is replica, "the replica took over")
            assert sum(g.admitted for g in gateways) < BOUND // COST, "in the middle"
        await asyncio.gather(*clients)
        over.set()
        await asyncio.gather(*settling)
        months = await gateways[0].ledger.months([*TEAMS, group_account(DEPT)], _month_now())
        *teams, group = months
        admitted = sum(g.admitted for g in gateways)
        assert [m.reserved_nanousd for m in months] == [0] * 21
        assert group.settled_nanousd == sum(m.settled_nanousd for m in teams) == admitted * COST
        assert BOUND - ESTIMATE - COST < group.settled_nanousd <= BOUND
        if watching is not None:
            assert await watching <= BOUND
        for g in gateways:
            await g.ledger.close()


def _month_now() -> str:
    import time

    return time.strftime("%Y%m", time.gmtime())
