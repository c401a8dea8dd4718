"""The job of the controller and of `up`: after a loss it rebuilds, else it only tells how far both stand apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis as sync_redis
from support.asks import end
from support.usage_lines import record, write_log

from spendgate.budget.policy import Policy
from spendgate.finops.replay import settlements
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.rebuild import job as job_module
from spendgate.rebuild.counter_resets import Totals
from spendgate.rebuild.job import RebuildJob
from spendgate.rebuild.prometheus import PrometheusError
from spendgate.records.record import UsageRecord


class House:
    """A ledger, its keeper, and a job whose Prometheus says what `total` is."""

    def __init__(self, server: EmbeddedRedis) -> None:
        self.client = sync_redis.Redis.from_url(server.url)
        self.client.flushall()
        self.ledger = RedisLedger.from_url(server.url, timeout_s=5.0)
        self.keeper = Checkpointer(self.ledger, Policy)
        self.total: int | Exception = 0
        self.reads = 0
        self.leads = True
        self.records: list[Settlement] = []
        self.job = self.made("http://prometheus")

    def made(self, prometheus: str) -> RebuildJob:
        job = RebuildJob(
            self.keeper,
            self.ledger,
            Policy,
            prometheus,
            lambda since: self.records,
            lambda: self.leads,
            grace_s=0,
        )
        job._read = self._read  # type: ignore[method-assign]
        return job

    def _read(self, month: str) -> Totals:
        self.reads += 1
        if isinstance(self.total, Exception):
            raise self.total
        return Totals(month, {("red", "chat", "gpt-4o"): {f"{month}01": self.total}}, 1)

    async def settled(self) -> int:
        return (await self.ledger.month("red", self.keeper.memory.month)).settled_nanousd


@pytest.fixture
async def house(server: EmbeddedRedis) -> AsyncIterator[House]:
    made = House(server)
    await made.keeper.start()
    await made.ledger.settle([end("x1", 10_000, at_ms=0)])
    yield made
    await made.ledger.close()
    made.client.close()


async def test_a_whole_ledger_is_only_compared_with(house: House) -> None:
    house.total = 40_000
    await house.job.round()
    assert house.job.drift_ratio == 0.75
    assert house.job.done_at_s > 0
    assert await house.settled() == 10_000
    house.total = 10_000
    await house.job.round()
    assert house.job.drift_ratio == 0


async def test_after_a_loss_logs_and_totals_fill_it_up_and_the_epoch_is_whole(house: House) -> None:
    house.client.flushall()
    await house.keeper._round()
    assert house.keeper.pulse.epoch.lost
    house.records = [end("x1", 10_000, at_ms=0), end("x2", 5_000, at_ms=0)]
    house.total = 40_000
    await house.job.round()
    assert await house.settled() == 40_000
    await house.keeper._round()
    assert not house.keeper.pulse.epoch.lost
    assert house.keeper.rebuilt_at_s > 0


async def test_it_works_only_where_it_leads_and_tries_again_after_a_failure(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_S", "AGAIN_S"):
        monkeypatch.setattr(job_module, name, 0.005)
    house.leads = False
    house.total = PrometheusError("away")
    house.client.flushall()
    await house.keeper._round()
    task = asyncio.create_task(house.job.run())
    await asyncio.sleep(0.1)
    assert house.reads == 0
    house.leads = True
    while house.job.failures < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert house.keeper.pulse.epoch.lost
    house.total = 20_000
    while not house.keeper.rebuilt_at_s:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    task.cancel()
    assert await house.settled() == 20_000


async def test_without_any_source_nobody_says_that_the_spend_is_whole(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job_module, "LOOK_S", 0.005)
    job = RebuildJob(house.keeper, house.ledger, Policy, grace_s=0)
    house.client.flushall()
    await house.keeper._round()
    task = asyncio.create_task(job.run())
    await asyncio.sleep(0.1)
    task.cancel()
    await house.keeper._round()
    assert house.keeper.pulse.epoch.lost


@pytest.mark.parametrize("passed", [False, True], ids=["reserved", "passed without the ledger"])
async def test_what_began_after_the_memory_was_read_is_charged_beside_it_while_its_gateway_still_has_it(
    house: House, tmp_path: Path, passed: bool
) -> None:
    """It stands in the usage log, and waits on the gateway's disk: Redis was away again when it ended."""
    now_ms = house.keeper.pulse.ledger_us() // 1000
    ahead_ms = -90_000  # the gateway's clock is a minute and a half ahead of the ledger's
    old, new = record(11, at_ms=now_ms - 1000), record(12, at_ms=now_ms + 60_000)
    if passed:
        own = {"reason": "ledger_unavailable"}
        old = record(11, at_ms=now_ms - 1000 - ahead_ms, **own)
        new = record(12, at_ms=now_ms + 60_000 - ahead_ms, **own)
    await house.ledger.settle([settlement_of(old)])
    await house.keeper._recall()
    house.client.flushall()
    await house.keeper._round()
    log = write_log(tmp_path / "usage.jsonl", [old, new])
    house.records = list(settlements((log,), Policy(), 0, ahead_ms))
    house.total = 0
    await house.job.round()
    both = 10_000 + old.cost_nanousd + new.cost_nanousd
    assert await house.settled() == both
    assert await house.ledger.settle([settlement_of(new)]) == ["replayed"]  # its gateway brings it home
    assert await house.settled() == both


def settlement_of(record: UsageRecord) -> Settlement:
    """As its gateway settles it."""
    return end(record.exchange_id, record.cost_nanousd, team=record.team, app=record.app, at_ms=record.at_ms)
