"""Redis lost what it was told: noticed by the next beat, given back exactly, and nothing counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis as sync_redis
from support.asks import ask, bound, candidate, end
from support.policy import budget, policy

from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.ledger.recovery.heartbeat import Heartbeat
from spendgate.ledger.recovery.resend import RecentSettlements
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.spool.spool import Spool
from spendgate.months import month_key

pytestmark = pytest.mark.usefixtures("redis_client")
SCOPES = (("month", "month"), ("app:chat", "month"))


@pytest.fixture
def red(tmp_path: Path) -> Policy:
    path = tmp_path / "red.yaml"
    path.write_text(policy(budget("red", 1000, apps=[{"name": "chat", "maxMonthlyUSD": 500}])))
    return load_policy([path])


class Replica:
    """A gateway's ledger side: it settles, keeps its last seconds, and has a keeper."""

    def __init__(self, server: EmbeddedRedis, red: Policy, path: Path | None = None) -> None:
        self.ledger = RedisLedger.from_url(server.url, timeout_s=5.0)
        self.keeper = Checkpointer(self.ledger, lambda: red, path)
        self.recent = RecentSettlements()
        self.now_ms = 0

    async def settle(self, *ids: str, cost: int = 10, app: str = "chat") -> None:
        batch = [end(i, cost, app=app, at_ms=0, scopes=SCOPES, usage={"input": 3}) for i in ids]
        taken = await self.ledger.settle_timed(batch)
        self.recent.add(batch, [at for _, at in taken])

    async def read(self) -> None:
        """A reading of the memory."""
        self.keeper._recalled_at = float("-inf")
        await self.keeper._round()

    async def month(self) -> tuple[int, int, dict[str, int]]:
        month = month_key(self.keeper.pulse.ledger_us() // 1000)
        m = await self.ledger.month("red", month)
        assert m.settled_nanousd == sum(m.apps.values()) == sum(m.models.values())
        counter = f"b:app:chat:{month}"
        [(_, [app])] = await self.ledger.remember([("red", [counter])])
        return m.settled_nanousd, app, m.apps


@pytest.fixture
async def replicas(server: EmbeddedRedis, red: Policy, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    made = [Replica(server, red, tmp_path / f"memory-{i}.json") for i in range(2)]
    for replica in made:
        await replica.recent.check(replica.ledger)
        await replica.keeper.start()
    yield made
    for replica in made:
        await replica.ledger.close()


async def test_a_flush_is_noticed_by_the_next_beat_of_every_replica_and_begun_once(
    replicas: list[Replica], redis_client: sync_redis.Redis
) -> None:
    redis_client.flushall()
    for replica in replicas:
        await replica.keeper._round()
    epochs = [r.keeper.pulse.epoch for r in replicas]
    assert epochs[0] == epochs[1]
    assert (epochs[0].number, epochs[0].lost, epochs[0].empty) == (2, True, True)
    assert [r.keeper.lost_total for r in replicas] == [1, 1]
    await replicas[0].keeper.rebuilt()
    await replicas[1].keeper._round()
    assert not replicas[1].keeper.pulse.epoch.lost
    assert [r.keeper.lost_total for r in replicas] == [1, 1]


@pytest.mark.parametrize("order", ["memory first", "last seconds first", "mixed"])
async def test_after_a_flush_memory_and_last_seconds_give_back_every_nano_dollar_in_any_order(
    replicas: list[Replica], redis_client: sync_redis.Redis, order: str
) -> None:
    a, b = replicas
    await a.settle("x1", "x2")
    await a.read()
    await b.settle("y1", cost=7)
    await b.read()  # the younger memory has y1, the older has not
    await a.settle("x3", cost=100)
    await b.settle("y2", cost=1000, app="other")
    truth, app, apps = await a.month()
    assert (truth, app) == (1127, 1127)
    redis_client.flushall()
    for r in replicas:
        r.recent.ledger_lost()
    own, late = a.keeper._round, lambda: a.recent.check(a.ledger)
    others, others_late = b.keeper._round, lambda: b.recent.check(b.ledger)
    steps: dict[str, list[Callable[[], Awaitable[object]]]] = {
        "memory first": [own, others, late, others_late],
        "last seconds first": [others_late, late, others, own],
        "mixed": [own, others_late, others, late],
    }
    for step in steps[order]:
        await step()
    assert await a.month() == (truth, app, apps)
    await a.settle("x4", cost=5)  # life goes on
    for r in replicas:
        r.recent.ledger_lost()
        await r.recent.check(r.ledger)
    assert (await a.month())[0] == truth + 5


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not taken"])
async def test_what_was_sent_and_never_answered_counts_once_whether_the_ledger_took_it_or_not(
    replicas: list[Replica], redis_client: sync_redis.Redis, tmp_path: Path, taken: bool
) -> None:
    """The reply was lost on a busy machine, the memory was read, then all was lost: what the worker spooled may or may
    not be in what was given back."""
    a, b = replicas
    await a.settle("x1")
    await b.settle("y1", cost=20)
    sent_us = a.keeper.pulse.ledger_us()
    unheard = end("x2", 7, app="chat", at_ms=0, scopes=SCOPES, usage={"input": 3})
    if taken:
        await a.ledger.settle([unheard])
    await asyncio.sleep(0.2)
    await b.read()
    spool = Spool(tmp_path / "spool", "w")
    spool.append([replace(unheard, acknowledged_us=sent_us, counted_us=a.keeper.pulse.ledger_us())])
    redis_client.flushall()
    for r in replicas:
        await r.keeper._round()
        r.recent.ledger_lost()
    assert await spool.replay(a.ledger, a.recent.add) == 1
    for r in replicas:
        await r.recent.check(r.ledger)
    assert await a.month() == (37, 37, {"chat": 37})
    spool.close()


async def test_what_came_home_from_the_spool_is_sent_again_after_a_loss(
    replicas: list[Replica], redis_client: sync_redis.Redis, tmp_path: Path
) -> None:
    a = replicas[0]
    spool = Spool(tmp_path / "spool", "w")
    spool.append([end("s1", 25, app="chat", at_ms=0, scopes=SCOPES, usage={"input": 3})])
    assert await spool.replay(a.ledger, a.recent.add) == 1
    redis_client.flushall()  # before anybody read the memory
    for r in replicas:
        await r.keeper._round()
    a.recent.ledger_lost()
    await a.recent.check(a.ledger)
    assert await a.month() == (25, 25, {"chat": 25})
    spool.close()


async def test_what_nobody_can_name_any_more_stays_in_the_total_as_rebuilt(
    replicas: list[Replica], redis_client: sync_redis.Redis
) -> None:
    a, b = replicas
    await a.settle("x1", "x2", "x3")
    await b.read()
    redis_client.flushall()
    await b.keeper._round()
    settled, app, apps = await b.month()
    assert (settled, app, apps) == (30, 30, {"(rebuilt)": 30})
    a.recent.ledger_lost()
    await a.recent.check(a.ledger)
    assert await b.month() == (30, 30, {"chat": 30})


async def test_an_older_copy_is_noticed_and_filled_up_and_its_dead_holds_are_dropped(
    server: EmbeddedRedis, replicas: list[Replica], redis_client: sync_redis.Redis
) -> None:
    a, b = replicas
    await a.settle("x1")
    await a.ledger.reserve(ask("h1", candidate(50, bound())))
    for r in replicas:
        await r.read()
    copy = {key: redis_client.dump(key) for key in redis_client.keys("*")}
    await a.ledger.settle([end("h1", 40, at_ms=0, scopes=SCOPES)])
    await a.settle("x2", "x3")
    await b.read()
    await b.settle("y1", cost=3)
    truth = await a.month()
    redis_client.flushall()
    for key, value in copy.items():
        assert value is not None
        redis_client.restore(key, 0, value)
    await a.keeper._round()  # its own last beat is in the copy: it cannot notice
    assert a.keeper.lost_total == 0
    for r in (b, a):
        await r.keeper._round()
        r.recent.ledger_lost()
        await r.recent.check(r.ledger)
    assert [r.keeper.lost_total for r in replicas] == [1, 1]
    assert not a.keeper.pulse.epoch.empty
    assert (await a.month())[0] == truth[0]
    assert await a.ledger.open_holds("red") == 0


async def test_a_loss_while_all_were_down_is_noticed_at_the_start(
    server: EmbeddedRedis,
    replicas: list[Replica],
    red: Policy,
    redis_client: sync_redis.Redis,
    tmp_path: Path,
) -> None:
    await replicas[0].settle("x1")
    await replicas[0].read()
    redis_client.flushall()
    again = Replica(server, red, tmp_path / "memory-0.json")
    await again.keeper.start()
    assert again.keeper.lost_total == 1
    assert (await again.month())[0] == 10
    await again.ledger.close()


async def test_what_a_flushed_redis_says_is_never_remembered(
    replicas: list[Replica], redis_client: sync_redis.Redis
) -> None:
    a = replicas[0]
    await a.settle("x1")
    await a.read()
    whole, recall = a.keeper.memory, a.ledger.remember

    async def flushed_meanwhile(asked: list[tuple[str, list[str]]]) -> list[tuple[int, list[int]]]:
        redis_client.flushall()
        return await recall(asked)

    a.ledger.remember = flushed_meanwhile  # type: ignore[method-assign]
    await a.read()
    assert a.keeper.memory is whole
    assert a.keeper.lost_total == 1
    assert (await a.month())[0] == 10


async def test_a_process_that_knows_nothing_begins_no_second_epoch_and_a_lost_reply_is_no_loss(
    ledger: RedisLedger,
) -> None:
    first, second = Heartbeat(), Heartbeat()
    assert not await first.beat(ledger)
    assert not await second.beat(ledger)
    assert first.epoch == second.epoch
    first._sent += 10**9  # beats that were sent, and whose replies were lost
    assert not await first.beat(ledger)
    assert not await first.beat(ledger)
    assert first.epoch.number == 1


async def test_a_spool_that_comes_home_after_the_totals_is_not_counted_beside_them(
    replicas: list[Replica], redis_client: sync_redis.Redis, tmp_path: Path
) -> None:
    """It was counted into the metrics when it went to disk; totals from metrics have it."""
    from spendgate.ledger.recovery.checkpoint import restore_argument

    a = replicas[0]
    await a.settle("x1")
    await a.read()
    spool = Spool(tmp_path / "spool", "w")
    away = end("s1", 25, at_ms=0, scopes=SCOPES)
    spool.append([replace(away, counted_us=a.keeper.pulse.ledger_us())])
    redis_client.flushall()
    await a.keeper._round()
    month = a.keeper.memory.month
    await asyncio.sleep(0.01)
    counters = [[f"b:month:{month}", "month"], [f"b:app:chat:{month}", "month"]]
    totals = [["chat", "gpt-4o", [[f"{month}01", 35]], counters]]
    argument = restore_argument(a.keeper.pulse.epoch, month, None, totals, a.keeper.pulse.ledger_us())
    [done] = await a.ledger.restore([("red", argument)])
    assert (done.before_nanousd, done.after_nanousd) == (10, 35)
    assert done.rows == (("chat", "gpt-4o", 0, 35, 35),)
    [again] = await a.ledger.restore([("red", argument)])
    assert (again.before_nanousd, again.after_nanousd, again.rows) == (35, 35, ())
    assert await spool.replay(a.ledger) == 1
    a.recent.ledger_lost()
    await a.recent.check(a.ledger)
    assert await a.month() == (35, 35, {"chat": 35})
    spool.close()
