"""Settling: batched, never lost, counted once the money is safe."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry
from unit.exchange.driver import Drive, chat, chat_answer, snapshot_of

from spendgate.errors import LedgerUnavailable
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.rejection_counter import LATEST_MAX, NAMES_MAX, Refusals
from spendgate.gateway.settler import Settler
from spendgate.ledger.accounts import RefusedRequest
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.spool.spool import Taken
from spendgate.records.outcome import Outcome
from spendgate.records.record import ExchangeResult
from spendgate.records.writer import UsageLog


class Ledger:
    def __init__(self) -> None:
        self.away = False
        self.batches: list[list[Settlement]] = []
        self.words: dict[str, str] = {}
        self.noted: list[RefusedRequest] = []
        self.seen: set[tuple[str, str]] = set()

    async def settle_timed(self, batch: list[Settlement], now_ms: int = 0) -> list[tuple[str, int]]:
        if self.away:
            raise LedgerUnavailable("away")
        self.batches.append(batch)
        return [(self.words.get(s.exchange_id, "settled"), 1) for s in batch]

    async def first_seen(self, keys: list[tuple[str, str]], ttl_ms: int) -> list[bool]:
        if self.away:
            raise LedgerUnavailable("away")
        fresh = [key not in self.seen for key in keys]
        self.seen.update(keys)
        return fresh

    async def note_refusals(self, refused: list[RefusedRequest]) -> None:
        if self.away:
            raise LedgerUnavailable("away")
        self.noted += refused


class Spool:
    def __init__(self, fails: int = 0) -> None:
        self.kept: list[Settlement] = []
        self.fails = fails
        self.tried: list[Settlement] = []

    def append(self, batch: list[Settlement]) -> None:
        self.tried.extend(batch)
        if self.fails:
            self.fails -= 1
            raise OSError("disk full")
        self.kept.extend(batch)

    async def replay(self, ledger: Ledger, taken: Taken | None = None) -> int:
        times = [at for _, at in await ledger.settle_timed(self.kept)]
        if taken is not None:
            taken(self.kept, times)
        n, self.kept = len(self.kept), []
        return n

    def depth(self) -> int:
        return len(self.kept)

    size = corrupt = 0


class Recent:
    def add(self, batch: list[Settlement], times_us: Sequence[int] = ()) -> None: ...

    async def check(self, ledger: Ledger) -> int:
        return 0


def ending(i: int) -> ExchangeResult:
    d = Drive(snapshot_of(), exchange_id=f"x{i}")
    d.send(chat())
    d.answer()
    d.piece(chat_answer(), end=True)
    return d.ending


def house(
    tmp_path: Path, spool: Spool | None = None
) -> tuple[Settler, Ledger, Spool, Path, CollectorRegistry]:
    registry = CollectorRegistry()
    ledger, spool, path = Ledger(), spool or Spool(), tmp_path / "log" / "usage.jsonl"
    settler = Settler(ledger, spool, Recent(), UsageLog(str(path)), Metrics(registry))  # type: ignore[arg-type]
    return settler, ledger, spool, path, registry


async def test_what_was_put_before_the_close_is_settled_logged_and_counted(tmp_path: Path) -> None:
    settler, ledger, _, path, registry = house(tmp_path)
    for i in range(1200):
        settler.put(
            ending(0)
            if i == 0
            else ExchangeResult(**{f: getattr(FIRST, f) for f in ("record", "settlement")})
        )
    settler.close()
    await settler.run()
    assert sum(map(len, ledger.batches)) == 1200
    assert len(ledger.batches) == 3
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(lines) == 1200
    assert lines[0]["cost_usd"] == "0.000075"
    assert registry.get_sample_value("spendgate_exchanges_total", {"outcome": "complete"}) == 1200


async def test_while_the_ledger_is_away_settlements_go_to_disk_and_come_home_later(tmp_path: Path) -> None:
    settler, ledger, spool, _, _ = house(tmp_path)
    ledger.away = True
    task = asyncio.create_task(settler.run())
    settler.put(FIRST)
    await asyncio.sleep(0.05)
    assert spool.depth() == 1
    ledger.away = False
    settler.close()
    await task
    assert spool.depth() == 0
    assert sum(map(len, ledger.batches)) == 1


async def test_a_full_disk_keeps_the_ending_in_memory_until_there_is_room(tmp_path: Path) -> None:
    settler, ledger, spool, path, registry = house(tmp_path, Spool(fails=2))
    ledger.away = True
    settler.put(FIRST)
    settler.close()
    running = asyncio.create_task(settler.run())
    while not spool.tried:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert settler.is_full
    first_us = spool.tried[0].acknowledged_us
    await asyncio.wait_for(running, 10)
    assert {s.acknowledged_us for s in spool.tried} == {
        first_us
    }  # since the first try the ledger may have it
    assert first_us > 0
    assert not settler.is_full
    assert registry.get_sample_value("spendgate_spool_failures_total") == 2
    assert spool.depth() == 1 or sum(map(len, ledger.batches)) == 1
    assert len(path.read_bytes().splitlines()) == 1


async def test_it_says_that_all_is_home_only_when_nothing_waits_anywhere(tmp_path: Path) -> None:
    settler, ledger, spool, _, _ = house(tmp_path)
    home: list[int] = []
    settler.when_home = lambda: home.append(spool.depth() + len(settler._queue))
    ledger.away = True
    settler.put(FIRST)
    task = asyncio.create_task(settler.run())
    while not spool.kept:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert not home
    assert spool.kept[0].counted_us > spool.kept[0].acknowledged_us > 0  # it may have been taken all the same
    ledger.away = False
    settler.hurry()
    while not home:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    settler.close()
    await task
    assert set(home) == {0}


def refused(n: int) -> list[ExchangeResult]:
    record = replace(FIRST.record, outcome=Outcome.REFUSED, cost_nanousd=0, reason="monthly_budget_exceeded")
    return [ExchangeResult(replace(record, exchange_id=f"r{i}", app=f"app{i % 2}")) for i in range(n)]


async def test_refusals_reach_the_ledger_together_and_not_one_by_one(tmp_path: Path) -> None:
    settler, ledger, _, _, registry = house(tmp_path)
    for each in refused(1001):
        settler.put(each)
    settler.close()
    await settler.run()
    sent = [s for batch in ledger.batches for s in batch]
    by_app = {a: sum(s.refused for s in sent if s.app == a) for a in ("app0", "app1")}
    assert by_app == {"app0": 501, "app1": 500}
    assert len(sent) <= 6
    assert all(s.cost_nanousd == 0 and not s.usage and s.exchange_id.startswith("refused-") for s in sent)
    labels = {"team": FIRST.record.team, "app": "app0", "model": FIRST.record.model}
    assert registry.get_sample_value("spendgate_refused_total", labels) == 501
    assert registry.get_sample_value("spendgate_requests_total", labels) is None


async def test_refusals_that_nobody_took_are_handed_over_again_under_the_same_ids(tmp_path: Path) -> None:
    settler, ledger, spool, _, _ = house(tmp_path, Spool(fails=1))
    ledger.away = True
    for each in refused(3):
        settler.put(each)
    settler.close()
    await settler.run()
    assert sum(s.refused for s in spool.kept) == 3
    assert [s.exchange_id for s in spool.tried] == [s.exchange_id for s in spool.kept] * 2


async def test_an_exchange_that_was_counted_when_its_hold_expired_says_what_to_take_off(
    tmp_path: Path,
) -> None:
    settler, ledger, _, _, registry = house(tmp_path)
    ledger.words = {FIRST.record.exchange_id: "corrected"}
    late = replace(FIRST, held_nanousd=7_000_000)
    settler.put(late)
    settler.put(ending(2))
    settler.close()
    await settler.run()
    labels = {"team": FIRST.record.team, "app": FIRST.record.app, "model": FIRST.record.model}
    assert registry.get_sample_value("spendgate_corrected_requests_total", labels) == 1
    assert registry.get_sample_value("spendgate_corrected_usd_total", labels) == 0.007
    assert registry.get_sample_value("spendgate_requests_total", labels) == 2


def test_names_that_clients_invent_do_not_fill_the_ledger() -> None:
    refusals = Refusals()
    for i in range(5000):
        refusals.add(replace(FIRST.record, model=f"invented-{i}"))
    handed = refusals.settlements()
    assert len(handed) <= NAMES_MAX + 1
    assert sum(s.refused for s in handed) == 5000
    assert refusals.settlements() == handed
    refusals.done()
    assert not refusals


FIRST = ending(1)


async def test_the_newest_refusals_are_noted_for_people_each_once(tmp_path: Path) -> None:
    settler, ledger, _, _, _ = house(tmp_path)
    for each in refused(LATEST_MAX + 50):
        settler.put(each)
    settler.close()
    await settler.run()
    assert [r.exchange_id for r in ledger.noted] == [f"r{i}" for i in range(50, LATEST_MAX + 50)]
    assert {r.reason for r in ledger.noted} == {"monthly_budget_exceeded"}


async def test_a_ledger_away_costs_only_the_memory_of_refusals(tmp_path: Path) -> None:
    settler, ledger, spool, _, _ = house(tmp_path)
    ledger.away = True
    for each in refused(3):
        settler.put(each)
    settler.close()
    await settler.run()
    assert sum(s.refused for s in spool.kept) == 3
    assert ledger.noted == []
