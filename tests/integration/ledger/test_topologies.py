"""Beyond the ledger's verbs: policy, alerts and refusals on Cluster, Sentinel and TLS; slots that move and masters
that fail while requests come in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.asks import T0, ask, bound, candidate, end
from support.snapshots import snapshot
from support.topologies import Node, Place, raw, running, wait

from spendgate.alerts.alert import Alert
from spendgate.alerts.claims import Claim, Claims
from spendgate.alerts.spend import standings
from spendgate.errors import LedgerUnavailable
from spendgate.ledger.accounts import Adjustment, RefusedRequest
from spendgate.ledger.redis import url as connect
from spendgate.ledger.redis.codec import team_prefix
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.policy.source import RedisPolicySource
from spendgate.policy.store import PolicyStore

MONTH = "202611"
TEAMS = [f"team {i}" for i in range(12)]


@pytest.fixture(
    scope="module", params=[("secured", "redis-7.0"), ("cluster-secured", "redis-7.0"), ("sentinel", "redis-7.0")],
    ids=lambda p: p[0],
)  # fmt: skip
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind, version = request.param
    with running(kind, version, tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("cluster", "redis-8.2", tmp_path_factory.mktemp("cluster")) as made:
        yield made


async def test_a_policy_is_announced_to_who_listens_and_read(place: Place, tmp_path: Path) -> None:
    client = connect.client(place.url, 10.0)
    store = PolicyStore(client)
    head = await store.head()
    await store.write(snapshot(head.generation + 1, 1, a=1), after=head.generation, fence=1)
    source = RedisPolicySource(place.url, tmp_path / "policy")
    assert set((await source.first()).budgets) == {"a"}
    heard = asyncio.Event()
    task = asyncio.create_task(source.run(lambda policy: heard.set() if "b" in policy.teams else None))
    async with asyncio.timeout(60):
        await store.write(snapshot(head.generation + 2, 2, b=1), after=head.generation + 1, fence=1)
        await heard.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()


async def test_an_announcement_reaches_every_node_s_listeners(place: Place) -> None:
    client, other = connect.client(place.url, 10.0), connect.client(place.url, 10.0)
    await other.initialize()
    async with asyncio.timeout(60), other.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe("sg1:policy")
        while True:
            await client.eval("return redis.call('PUBLISH', KEYS[1], '7')", 1, "sg1:policy")
            message = await channel.get_message(timeout=1.0)
            if message is not None:
                break
    assert message["data"] == b"7"
    await client.aclose()
    await other.aclose()


async def test_reports_of_many_teams_cross_all_slots(place: Place) -> None:
    ledger, client = RedisLedger.from_url(place.url, 10.0), connect.client(place.url, 10.0)
    await asyncio.gather(*(ledger.reserve(ask(f"h{t}", candidate(7), team=t), T0) for t in TEAMS))
    await ledger.settle([end(f"r{t}", 5, team=t) for t in TEAMS], T0)
    await ledger.adjust([Adjustment(f"a{t}", t, 3, "test", day="20261118") for t in TEAMS], T0)
    await ledger.note_refusals([RefusedRequest(t, T0, "a", "m", "why", f"x{t}") for t in TEAMS])
    months = await ledger.months(TEAMS, MONTH)
    assert [(m.settled_nanousd, m.reserved_nanousd, m.adjusted_nanousd) for m in months] == [(8, 7, 3)] * 12
    assert [len(await ledger.adjustments(t)) for t in TEAMS] == [1] * 12
    assert [len(await ledger.refusals(t)) for t in TEAMS] == [1] * 12
    assert {c.team for c in await ledger.cells(TEAMS, MONTH)} == set(TEAMS)
    daily = await ledger.daily(TEAMS, ["20261117", "20261118"])  # without adjustments: they are no pace
    assert {sum(d) for d in daily.values()} == {5}
    assert await ledger.balances(TEAMS, MONTH) == [(8, 7)] * 12
    assert {s.reserved_nanousd for s in await standings(client, TEAMS, MONTH)} == {7}
    assert set(TEAMS) <= set(await ledger.teams())
    assert await ledger.ping()
    await ledger.close()
    await client.aclose()


async def test_alerts_are_claimed_once(place: Place) -> None:
    client = connect.client(place.url, 10.0)
    one, two = Claims(client, "one"), Claims(client, "two")
    alert = Alert("50", "threshold", "red", MONTH, T0, percent=50)
    assert await one.open("red", MONTH, [(alert, ("slack",))]) == {alert.key}
    assert await two.open("red", MONTH, [(alert, ("slack",))]) == set()
    claim = await one.claim("red", MONTH, "slack")
    assert isinstance(claim, Claim)
    assert not isinstance(await two.claim("red", MONTH, "slack"), Claim)
    assert await one.finish(claim, "delivered")
    await client.aclose()


class TestSlots:
    """A slot on its way to another node."""

    async def spend(self, ledger: RedisLedger, team: str, n: int, start: int = 0) -> int:
        """Reserve and settle one nano-USD each; returns how many the bound of 1000 admitted."""
        admitted = 0
        for i in range(start, start + n):
            result = await ledger.reserve(ask(f"{team}{i}", candidate(1, bound(1000)), team=team), T0)
            if result.candidate == 0:
                admitted += 1
                await ledger.settle([end(f"{team}{i}", 1, team=team)], T0)
        return admitted

    async def test_a_moved_slot_is_followed_and_nothing_is_lost(self, cluster: Place) -> None:
        ledger = RedisLedger.from_url(cluster.url, 30.0)
        assert await self.spend(ledger, "mover", 50) == 50
        source, target, slot = self.sides(cluster, "mover")
        self.open_move(source, target, slot)
        self.move_keys(source, target, slot)
        self.close_move(cluster, target, slot)
        assert await self.spend(ledger, "mover", 50, start=50) == 50
        month = await ledger.month("mover", MONTH)
        assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (100, 0, 100)
        assert cluster.master_of(team_prefix("mover")) is target
        await ledger.close()

    async def test_while_a_slot_moves_nothing_is_written_on_either_side(self, cluster: Place) -> None:
        ledger, hasty = (RedisLedger.from_url(cluster.url, t) for t in (30.0, 0.3))
        hasty.calls.bulk_timeout_s = 0.3
        assert await self.spend(ledger, "slow", 30) == 30
        await ledger.reserve(ask("held", candidate(400, bound(1000)), team="slow"), T0)
        await hasty.reserve(ask("other", candidate(1), team="elsewhere"), T0)
        source, target, slot = self.sides(cluster, "slow")
        self.open_move(source, target, slot)
        with contextlib.closing(source.client()) as c:
            keys = raw(c, "CLUSTER", "GETKEYSINSLOT", slot, 1000)
        for moved in range(len(keys) + 1):  # at every point of the way
            with pytest.raises(LedgerUnavailable):
                await hasty.reserve(ask(f"no{moved}", candidate(600, bound(1000)), team="slow"), T0)
            with pytest.raises(LedgerUnavailable):
                await hasty.settle([end(f"no{moved}", 1, team="slow")], T0)
            if moved < len(keys):
                self.move_keys(source, target, slot, [keys[moved]])
        waiting = asyncio.create_task(
            ledger.reserve(ask("patient", candidate(570, bound(1000)), team="slow"), T0)
        )
        await asyncio.sleep(0.1)
        assert not waiting.done()
        self.close_move(cluster, target, slot)
        assert (await waiting).candidate == 0
        month = await ledger.month("slow", MONTH)
        assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (30, 970, 30)
        await ledger.close()
        await hasty.close()

    def sides(self, cluster: Place, team: str) -> tuple[Node, Node, int]:
        source = cluster.master_of(team_prefix(team))
        target = next(n for n in cluster.nodes if n is not source)
        with contextlib.closing(source.client()) as c:
            return source, target, raw(c, "CLUSTER", "KEYSLOT", team_prefix(team))

    def open_move(self, source: Node, target: Node, slot: int) -> None:
        self.tell(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.tell(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, source: Node, target: Node, slot: int, keys: list[bytes] | None = None) -> None:
        if keys is None:
            keys = self.tell(source, "CLUSTER", "GETKEYSINSLOT", slot, 1000)
        for key in keys:
            assert self.tell(source, "MIGRATE", "127.0.0.1", target.port, key, 0, 5000) == b"OK"

    def close_move(self, cluster: Place, target: Node, slot: int) -> None:
        new = self.id_of(target)
        for node in (target, *(n for n in cluster.nodes if n is not target)):
            self.tell(node, "CLUSTER", "SETSLOT", slot, "NODE", new)

    def id_of(self, node: Node) -> str:
        return self.tell(node, "CLUSTER", "MYID").decode()

    def tell(self, node: Node, *command: Any) -> Any:
        with contextlib.closing(node.client()) as c:
            return raw(c, *command)


async def test_a_master_that_was_failed_over_is_followed_and_nothing_is_charged_twice(
    tmp_path: Path,
) -> None:
    with running("sentinel", "redis-7.0", tmp_path) as place:
        ledger = RedisLedger.from_url(place.url, 60.0)
        for i in range(20):
            await ledger.reserve(ask(f"x{i}", candidate(10)), T0)
        first = await ledger.run_id()
        (master,) = place.masters()
        (replica,) = (n for n in place.nodes if n is not master)
        with contextlib.closing(master.client()) as c:
            assert raw(c, "WAIT", 1, 20_000) == 1
        with contextlib.closing(place.sentinels[0].client()) as c:
            raw(c, "SENTINEL", "FAILOVER", "books")
        wait(lambda: place.masters() == [replica], "the replica took over")
        async with asyncio.timeout(120):
            assert await ledger.settle([end(f"x{i}", 7) for i in range(20)], T0) == ["settled"] * 20
        month = await ledger.month("red", MONTH)
        assert (month.settled_nanousd, month.reserved_nanousd, month.open_holds) == (140, 0, 0)
        assert await ledger.run_id() != first
        with contextlib.closing(replica.client()) as c:
            assert int(c.hget(team_prefix("red") + f"b:month:{MONTH}", "s") or 0) == 140
        await ledger.close()
