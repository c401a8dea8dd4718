"""Settling: batched, never lost, counted once the money is safe."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from prometheus_client import CollectorRegistry
from unit.gateway.driver import Drive, chat, chat_answer, snapshot_of

from spendgate.errors import LedgerUnavailable
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.record import Ending
from spendgate.gateway.settler import Settler
from spendgate.gateway.usage_log import UsageLog
from spendgate.ledger.port import Settlement


class Ledger:
    def __init__(self) -> None:
        self.away = False
        self.batches: list[list[Settlement]] = []

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        if self.away:
            raise LedgerUnavailable("away")
        self.batches.append(batch)
        return ["settled"] * len(batch)


class Spool:
    def __init__(self, fails: int = 0) -> None:
        self.kept: list[Settlement] = []
        self.fails = fails

    def append(self, batch: list[Settlement]) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("disk full")
        self.kept.extend(batch)

    async def replay(self, ledger: Ledger) -> int:
        await ledger.settle(self.kept)
        n, self.kept = len(self.kept), []
        return n

    def depth(self) -> int:
        return len(self.kept)


class Recent:
    def add(self, batch: list[Settlement]) -> None: ...

    async def check(self, ledger: Ledger) -> int:
        return 0


def ending(i: int) -> Ending:
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
            ending(0) if i == 0 else Ending(**{f: getattr(FIRST, f) for f in ("record", "settlement")})
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
    settler, ledger, spool, path, _ = house(tmp_path, Spool(fails=2))
    ledger.away = True
    settler.put(FIRST)
    settler.close()
    await asyncio.wait_for(settler.run(), 10)
    assert spool.depth() == 1 or sum(map(len, ledger.batches)) == 1
    assert len(path.read_bytes().splitlines()) == 1


FIRST = ending(1)
