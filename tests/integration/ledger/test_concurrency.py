"""Many callers at once, from several processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import redis as sync_redis
import uvloop
from support.asks import T0, ask, bound, candidate, end

from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger

WORKER = """
import asyncio, sys
from support.asks import T0, ask, bound, candidate
from spendgate.ledger.redis.ledger import RedisLedger

async def main(url, name):
    ledger = RedisLedger.from_url(url, timeout_s=30.0)
    limits = bound(1000, 1050), bound(1000, 1050, scope="app:chat")
    asks = [ledger.reserve(ask(f"{name}-{i}", candidate(37, *limits)), T0) for i in range(200)]
    results = await asyncio.gather(*asks)
    print(sum(r.candidate == 0 for r in results), max(r.committed_nanousd for r in results))
    await ledger.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_parallel_reserves_of_several_processes_never_pass_the_ceiling(
    server: EmbeddedRedis, ledger: RedisLedger
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, server.url, f"w{i}", env=environment, stdout=subprocess.PIPE
        )
        for i in range(4)
    ]
    outputs = [(await w.communicate())[0].split() for w in workers]
    admitted = sum(int(count) for count, _ in outputs)
    assert admitted == 1050 // 37  # 28 × 37 = 1036 ≤ 1050, and 27 × 37 = 999 is still below the bound
    assert max(int(most) for _, most in outputs) == admitted * 37
    month = await ledger.month("red", "202611")
    assert (month.reserved_nanousd, month.open_holds) == (admitted * 37, admitted)


def test_reserves_of_one_turn_of_the_loop_share_one_round_trip(tmp_path: Path) -> None:
    """How many pieces the server reads one joined write in is the kernel's to say; written one by one they would be a
    hundred each time."""

    async def reads(url: str, client: sync_redis.Redis, turn: int) -> int:
        ledger = RedisLedger.from_url(url, timeout_s=30.0)
        await ledger.reserve(ask(f"warm{turn}", candidate(1)), T0)
        before = client.info("stats")["total_reads_processed"]
        await asyncio.gather(*(ledger.reserve(ask(f"x{turn}-{i}", candidate(1)), T0) for i in range(100)))
        after = client.info("stats")["total_reads_processed"]
        await ledger.close()
        return int(after - before)

    # a server of its own: what other tests' clients still send counts as reads too
    with EmbeddedRedis(tmp_path) as own, sync_redis.Redis.from_url(own.url) as client:
        # workers' loop: it joins what is written in one turn
        assert min(uvloop.run(reads(own.url, client, turn)) for turn in range(8)) < 20


async def test_the_same_reserve_sent_many_times_at_once_holds_once(ledger: RedisLedger) -> None:
    results = await asyncio.gather(*(ledger.reserve(ask("x", candidate(10)), T0) for _ in range(50)))
    assert sum(not r.replayed for r in results) == 1
    assert (await ledger.month("red", "202611")).reserved_nanousd == 10


async def test_the_same_settle_sent_many_times_at_once_charges_once(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x", candidate(10)), T0)
    words = await asyncio.gather(*(ledger.settle([end("x", 7)], T0) for _ in range(30)))
    assert sorted(w for (w,) in words) == ["replayed"] * 29 + ["settled"]
    assert (await ledger.month("red", "202611")).settled_nanousd == 7


async def test_one_bad_reserve_of_a_shared_trip_fails_alone(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    redis_client.set("sg1:{blue}:holds", "somebody wrote over it")
    results = await asyncio.gather(
        ledger.reserve(ask("x1", candidate(10, bound(100)), team="red"), T0),
        ledger.reserve(ask("x2", candidate(10, bound(100)), team="blue"), T0),
        return_exceptions=True,
    )
    assert [type(r).__name__ for r in results] == ["ReserveResult", "LedgerUnavailable"]


async def test_a_caller_that_left_does_not_disturb_the_others(ledger: RedisLedger) -> None:
    tasks = [asyncio.ensure_future(ledger.reserve(ask(f"x{i}", candidate(1)), T0)) for i in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r).__name__ for r in results] == ["ReserveResult", "CancelledError", "ReserveResult"]
