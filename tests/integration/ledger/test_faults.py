"""Redis slow, gone, restarted or emptied: what the caller sees, and that trying again is safe."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis as sync_redis
from support.asks import T0, ask, bound, candidate, end

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.recovery.resend import RecentSettlements
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.spool.spool import Spool
from spendgate.months import month_key

MONTH = "202611"


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    """A server of the test's own, that may be stopped and killed."""
    with EmbeddedRedis(tmp_path) as running:
        yield running


@pytest.fixture
async def quick(own: EmbeddedRedis) -> AsyncIterator[RedisLedger]:
    made = RedisLedger.from_url(own.url, timeout_s=0.1)
    yield made
    await made.close()


def freeze(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGSTOP)


def thaw(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGCONT)


async def until_answers(ledger: RedisLedger) -> None:
    while not await ledger.ping():  # noqa: ASYNC110  another process is waited for
        await asyncio.sleep(0.01)


async def test_a_flushed_script_cache_is_filled_again_unnoticed(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.reserve(ask("x1", candidate(10), ttl_ms=1000), T0)
    redis_client.script_flush()
    await asyncio.gather(*(ledger.reserve(ask(f"y{i}", candidate(10), team=f"t{i}"), T0) for i in range(5)))
    redis_client.script_flush()
    assert await ledger.settle([end("y0", 3, team="t0"), end("y1", 3, team="t1")], T0) == ["settled"] * 2
    redis_client.script_flush()
    assert await ledger.renew([("red", "x1")], 1000, T0) == 1
    redis_client.script_flush()
    assert len(await ledger.expire("red", T0 + 5000)) == 1


async def test_an_emptied_server_learns_its_teams_again(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.reserve(ask("x1", candidate(10)), T0)
    redis_client.flushall()
    redis_client.script_flush()
    await ledger.settle([end("x1", 10)], T0)
    await ledger.settle([end("x2", 10)], T0)
    assert await ledger.teams() == ["red"]


async def test_a_silent_server_is_unavailable_in_time_and_replies_never_get_mixed_up(
    own: EmbeddedRedis, quick: RedisLedger
) -> None:
    await quick.reserve(ask("warm", candidate(1)), T0)
    freeze(own)
    results = await asyncio.gather(
        *(quick.reserve(ask(f"x{i}", candidate(100 + i, bound(10**9))), T0) for i in range(20)),
        return_exceptions=True,
    )
    assert {type(r) for r in results} == {LedgerUnavailable}
    assert not await quick.ping()
    thaw(own)
    await until_answers(quick)
    again = [await quick.reserve(ask(f"x{i}", candidate(100 + i, bound(10**9))), T0) for i in range(20)]
    assert [r.held_nanousd for r in again] == [100 + i for i in range(20)]
    month = await quick.month("red", MONTH)
    assert (month.reserved_nanousd, month.open_holds) == (1 + sum(range(100, 120)), 21)


async def test_a_batch_whose_reply_was_lost_may_be_sent_again(own: EmbeddedRedis) -> None:
    slow, patient = (RedisLedger.from_url(own.url, timeout_s=t) for t in (0.05, 5.0))
    await slow.settle([end("warm", 0, scopes=())], T0)
    slow.calls.bulk_timeout_s = 0.05
    batch = [end(f"x{i}", 10) for i in range(10)]
    freeze(own)
    with pytest.raises(LedgerUnavailable):
        await slow.settle(batch, T0)
    thaw(own)
    words = await patient.settle(batch, T0)
    assert set(words) <= {"settled", "replayed"}
    slow.calls.bulk_timeout_s = 5.0
    assert await slow.settle(batch, T0) == ["replayed"] * 10
    assert (await patient.month("red", MONTH)).settled_nanousd == 100
    await slow.close()
    await patient.close()


async def test_nobody_there_is_unavailable_for_every_verb(tmp_path: Path) -> None:
    ledger = RedisLedger.from_url(f"unix://{tmp_path}/none.sock", timeout_s=0.5)
    calls = [
        ledger.reserve(ask("x", candidate(1))),
        ledger.settle([end("x", 1)]),
        ledger.renew([("red", "x")], 1),
        ledger.expire("red"),
        ledger.teams(),
        ledger.month("red", MONTH),
        ledger.open_holds("red"),
        ledger.run_id(),
    ]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, LedgerUnavailable)
    assert await ledger.ping() is False
    await ledger.close()


async def test_a_server_that_may_not_write_is_unavailable_and_holds_nothing(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.reserve(ask("x0", candidate(10)), T0)
    before = redis_client.config_get("maxmemory")["maxmemory"]
    redis_client.config_set("maxmemory", "1mb")
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(LedgerUnavailable, match="maxmemory"):
            await ledger.reserve(ask("x1", candidate(10)), T0)
        with pytest.raises(LedgerUnavailable, match="maxmemory"):
            await ledger.settle([end("x0", 10)], T0)
    finally:
        redis_client.config_set("maxmemory", str(before))
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.open_holds) == (0, 10, 1)


async def test_a_killed_server_comes_back_with_all_it_acknowledged(
    own: EmbeddedRedis, quick: RedisLedger
) -> None:
    for i in range(50):
        await quick.reserve(ask(f"x{i}", candidate(10)), T0)
    await quick.settle([end(f"x{i}", 7) for i in range(25)], T0)
    first = await quick.run_id()
    os.kill(own.pid, signal.SIGKILL)
    while own.alive():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert own.restart_if_dead()
    await until_answers(quick)
    month = await quick.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.open_holds) == (175, 250, 25)
    assert await quick.run_id() != first
    assert (await quick.reserve(ask("x30", candidate(10)), T0)).replayed


async def test_settlements_that_a_crash_lost_are_made_up_from_memory(
    own: EmbeddedRedis, quick: RedisLedger
) -> None:
    recent = RecentSettlements()
    await recent.check(quick)
    kept, lost = [end(f"k{i}", 5, at_ms=0) for i in range(3)], [end(f"l{i}", 11, at_ms=0) for i in range(4)]
    for batch in (kept, lost):
        await quick.settle(batch)  # by Redis' own clock, as the check below: marks live for seven days
        recent.add(batch)
    month = month_key(time.time_ns() // 1_000_000)  # the resending has no other clock than Redis' own
    truth = await quick.month("red", month)
    journal = next(p for p in (own.data_dir / "redis").rglob("*") if p.is_file())
    whole = journal.read_bytes()
    own.stop()
    journal.write_bytes(whole[: whole.rindex(b"MULTI")])  # what a crash of the machine may leave
    with EmbeddedRedis(own.data_dir):
        await until_answers(quick)
        assert (await quick.month("red", month)).settled_nanousd < truth.settled_nanousd
        assert await recent.check(quick) == 7
        assert await quick.month("red", month) == truth


async def test_the_spool_carries_settlements_over_an_outage_exactly_once(
    own: EmbeddedRedis, quick: RedisLedger, tmp_path: Path
) -> None:
    quick.calls.bulk_timeout_s = 0.05
    spool = Spool(tmp_path / "spool", "w1")
    for i in range(300):
        await quick.reserve(ask(f"x{i}", candidate(10)), T0)
    freeze(own)
    batches = [[end(f"x{i}", 7) for i in range(start, start + 100)] for start in (0, 100, 200)]
    for batch in batches:
        with pytest.raises(LedgerUnavailable):
            await quick.settle(batch)
        spool.append(batch)
    with pytest.raises(LedgerUnavailable):
        await spool.replay(quick)
    assert spool.depth() == 300
    thaw(own)
    await until_answers(quick)
    quick.calls.bulk_timeout_s = 5.0
    assert await spool.replay(quick) == 300
    month = await quick.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (2100, 0, 300)
    spool.close()
