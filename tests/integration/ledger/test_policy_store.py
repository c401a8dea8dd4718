"""The policy's snapshot in Redis: who may write it, and what a gateway takes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import redis as sync_redis
import redis.asyncio as aioredis
from support.snapshots import snapshot

from spendgate.budget.policy import Policy
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.policy.source import RedisPolicySource
from spendgate.policy.store import (
    POLICY_KEY,
    BadSnapshot,
    PolicyStore,
    canonical_json,
    decode,
    encode,
)


@pytest.fixture
async def store(server: EmbeddedRedis, redis_client: sync_redis.Redis) -> AsyncIterator[PolicyStore]:
    client = aioredis.Redis.from_url(server.url)
    yield PolicyStore(client)
    await client.aclose()


async def test_a_later_leader_s_claim_stops_the_former_one(store: PolicyStore) -> None:
    assert (await store.write(snapshot(1, a=1), after=0, fence=3)).outcome == "written"
    assert (await store.claim(4)).outcome == "claimed"
    refused = await store.write(snapshot(2, a=2), after=1, fence=3)
    assert (refused.outcome, refused.number) == ("fenced", 4)
    assert (await store.head()).generation == 1
    assert (await store.write(snapshot(2, a=2), after=1, fence=4)).outcome == "written"


async def test_a_write_that_did_not_see_the_last_one_is_refused(store: PolicyStore) -> None:
    await store.write(snapshot(1, a=1), after=0, fence=1)
    moved = await store.write(snapshot(1, a=2), after=0, fence=1)
    assert (moved.outcome, moved.number) == ("moved", 1)


async def test_a_snapshot_that_was_damaged_is_never_read(
    store: PolicyStore, redis_client: sync_redis.Redis
) -> None:
    await store.write(snapshot(1, a=1), after=0, fence=1)
    data = bytearray(cast(bytes, redis_client.hget(POLICY_KEY, "snapshot")))
    data[10] ^= 1
    redis_client.hset(POLICY_KEY, "snapshot", bytes(data))
    with pytest.raises(BadSnapshot, match="checksum"):
        await store.read()


def test_every_cut_of_a_snapshot_is_noticed() -> None:
    data = encode(snapshot(1, a=1, b=2))
    assert decode(data).generation == 1
    for end in range(len(data)):
        with pytest.raises(BadSnapshot):
            decode(data[:end])


def limits(policy: Policy) -> dict[str, int]:
    return {t: b.monthly_nanousd // 10**9 for t, b in policy.budgets.items()}


async def source_after(server: EmbeddedRedis, file: Path) -> RedisPolicySource:
    made = RedisPolicySource(server.url, file)
    await made.first()
    return made


async def test_a_gateway_takes_newer_ones_and_never_an_older_one(
    server: EmbeddedRedis, store: PolicyStore, redis_client: sync_redis.Redis, tmp_path: Path
) -> None:
    await store.write(snapshot(5, 5_000, a=5), after=0, fence=1)
    source = await source_after(server, tmp_path / "policy")
    task = asyncio.create_task(source.run(lambda _: None))
    async with asyncio.timeout(30):
        await store.write(snapshot(6, 6_000, a=6), after=5, fence=1)
        await reaches(source, {"a": 6})
        redis_client.delete(POLICY_KEY)  # a replica that lagged behind became the master
        await store.write(snapshot(4, 4_000, a=4), after=0, fence=1)
        await asyncio.sleep(0.5)
        assert limits(source.policy) == {"a": 6}
        redis_client.delete(POLICY_KEY)  # Redis was lost and the count began anew, later
        await store.write(snapshot(1, 9_000, a=9), after=0, fence=1)
        await reaches(source, {"a": 9})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def reaches(source: RedisPolicySource, wanted: dict[str, int]) -> None:
    """Wait until a policy is in force."""
    while limits(source.policy) != wanted:  # noqa: ASYNC110  there is no event for a test to wait for
        await asyncio.sleep(0.01)


async def test_a_budget_that_can_not_be_read_keeps_its_last_valid_form(
    server: EmbeddedRedis, store: PolicyStore, tmp_path: Path
) -> None:
    await store.write(snapshot(1, 1_000, a=1, b=1), after=0, fence=1)
    source = await source_after(server, tmp_path / "policy")
    broken = snapshot(2, 2_000, a=2, b=2, c=2)
    for entry in broken.budgets:
        if entry.uid in ("b", "c"):
            document = json.loads(entry.json)
            document["spec"]["fromTheFuture"] = True
            entry.json = canonical_json(document)
    await store.write(broken, after=1, fence=1)
    task = asyncio.create_task(source.run(lambda _: None))
    async with asyncio.timeout(30):
        await reaches(source, {"a": 2, "b": 1})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cold_start_without_redis_takes_what_the_disk_remembers(
    server: EmbeddedRedis, store: PolicyStore, tmp_path: Path
) -> None:
    await store.write(snapshot(1, a=7), after=0, fence=1)
    warm = await source_after(server, tmp_path / "policy")
    cold = RedisPolicySource("redis://127.0.0.1:1/0", tmp_path / "policy")
    assert limits(await cold.first()) == limits(warm.policy) == {"a": 7}
    assert cold.age_s() == float("inf") and warm.age_s() < 3600


async def test_a_new_gateway_without_redis_takes_the_newer_of_two_files(tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(encode(snapshot(2, a=2)))
    (tmp_path / "mounted").write_bytes(gzip.compress(encode(snapshot(3, a=3))))
    cold = RedisPolicySource("redis://127.0.0.1:1/0", tmp_path / "own", second=str(tmp_path / "mounted"))
    assert (limits(await cold.first()), cold.known) == ({"a": 3}, True)
    (tmp_path / "own").write_bytes(encode(snapshot(4, a=4)))
    again = RedisPolicySource("redis://127.0.0.1:1/0", tmp_path / "own", second=str(tmp_path / "mounted"))
    assert limits(await again.first()) == {"a": 4}


async def test_a_gateway_that_knows_no_policy_takes_the_file_when_it_comes(tmp_path: Path) -> None:
    taken = asyncio.Event()
    new = RedisPolicySource("redis://127.0.0.1:1/0", tmp_path / "own", second=str(tmp_path / "mounted"))
    await new.first()
    assert not new.known
    task = asyncio.create_task(new.run(lambda _: taken.set()))
    (tmp_path / "mounted").write_bytes(encode(snapshot(1, a=1)))
    async with asyncio.timeout(30):
        await taken.wait()
    assert limits(new.policy) == {"a": 1}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_damaged_file_is_no_policy_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(b"not a snapshot")
    cold = RedisPolicySource("redis://127.0.0.1:1/0", tmp_path / "policy")
    assert limits(await cold.first()) == {}


async def test_the_policy_is_one_owners_whatever_numbers_anothers_lease_has(
    store: PolicyStore, server: EmbeddedRedis
) -> None:
    client = aioredis.Redis.from_url(server.url)
    east, west = PolicyStore(client, "east/llm-gateway"), PolicyStore(client, "west/llm-gateway")
    assert (await east.claim(2)).outcome == "claimed"
    assert (await east.write(snapshot(1, a=1), after=0, fence=2)).outcome == "written"
    for answer in (await west.claim(99), await west.write(snapshot(2, b=1), after=1, fence=99)):
        assert (answer.outcome, answer.owner) == ("owned", "east/llm-gateway")
    assert (await east.write(snapshot(2, a=2), after=1, fence=2)).outcome == "written"
    await asyncio.sleep(0.05)
    assert (await west.claim(99)).outcome == "owned", "however long the owner was silent"
    await client.aclose()


async def test_a_silent_owner_is_followed_only_by_who_may(store: PolicyStore, server: EmbeddedRedis) -> None:
    client = aioredis.Redis.from_url(server.url)
    east, renamed = PolicyStore(client, "east/a"), PolicyStore(client, "east-renamed/a")
    assert (await east.claim(7)).outcome == "claimed"
    renamed.may_follow_after_ms = 60_000
    assert (await renamed.claim(1)).outcome == "owned", "it has just spoken"
    renamed.may_follow_after_ms = 20
    await asyncio.sleep(0.05)
    assert (await renamed.claim(1)).outcome == "claimed", "its own Lease begins to count anew"
    assert (await east.claim(8)).owner == "east-renamed/a"
    await client.aclose()
