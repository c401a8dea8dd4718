"""Nothing grows without bound, and every key lives in its team's slot."""

from __future__ import annotations

from typing import cast

import pytest
import redis as sync_redis
from support.asks import T0, ask, bound, candidate, end, void

from spendgate.ledger.redis.codec import TEAMS_KEY, team_prefix
from spendgate.ledger.redis.ledger import RedisLedger

DAY_S = 86_400
SCOPES = (("month", "month"), ("day", "day"), ("hour", "hour"), ("run:r", "run"))


async def use_every_verb(ledger: RedisLedger, team: str) -> None:
    bounds = tuple(bound(10**12, scope=scope, window=window) for scope, window in SCOPES)
    for i in range(5):
        await ledger.reserve(ask(f"x{i}", candidate(10, *bounds), team=team, ttl_ms=1000), T0)
    await ledger.settle([end("x0", 5, team=team), void("x1", team=team)], T0)
    await ledger.renew([(team, "x2")], 60_000, T0)
    await ledger.expire(team, T0 + 2000)
    await ledger.settle([end("x3", 5, team=team), end("lost", 5, team=team, scopes=SCOPES)], T0 + 2000)


async def test_every_key_but_the_open_holds_has_an_end_of_life(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await use_every_verb(ledger, "red")
    prefix = team_prefix("red")
    endless = {
        key.decode() for key in cast("list[bytes]", redis_client.keys("*")) if redis_client.ttl(key) < 0
    }
    assert endless == {prefix + "holds", prefix + "due", TEAMS_KEY}
    longest = {"month": 400, "day": 40, "hour": 3, "run": 7}
    for scope, days in longest.items():
        for key in redis_client.keys(f"{prefix}b:{scope}*"):
            assert 0 < redis_client.ttl(key) <= days * DAY_S
    await ledger.settle([end("x2", 1), void("x4")], T0 + 3000)
    assert redis_client.exists(prefix + "holds", prefix + "due") == 0


async def test_a_counter_that_was_lost_and_comes_back_by_a_settlement_has_an_end_of_life(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.reserve(ask("x1", candidate(10)), T0)
    month = team_prefix("red") + "b:month:202611"
    redis_client.delete(month)
    await ledger.settle([void("x1")], T0)
    assert redis_client.hgetall(month) == {b"r": b"0"}
    assert redis_client.ttl(month) > 0


async def test_all_keys_of_a_team_stand_in_one_slot(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    for team in ("red", "", "{a}b", "日本"):
        redis_client.flushall()
        await use_every_verb(ledger, team)
        keys = [k for k in cast("list[bytes]", redis_client.keys("*")) if k != TEAMS_KEY.encode()]
        assert len(keys) > 8
        assert all(k.startswith(team_prefix(team).encode()) for k in keys)
        tag = team_prefix(team).removeprefix("sg1:").removesuffix(":")
        assert tag.count("{") == tag.count("}") == 1
        assert len(tag) > 2


async def test_client_made_model_names_fill_a_bounded_number_of_cells_and_lose_no_money(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    batch = [end(f"x{i}", 1, model=f"m{i}", usage={"input": 1}) for i in range(3000)]
    for start in range(0, len(batch), 500):
        await ledger.settle(batch[start : start + 500], T0)
    assert redis_client.hlen(team_prefix("red") + "d:20261118") < 4010
    month = await ledger.month("red", "202611")
    assert (month.settled_nanousd, month.requests, month.tokens) == (3000, 3000, {"input": 3000})
    assert month.apps["other"] == month.models["other"] > 1000
    assert sum(month.models.values()) == sum(month.apps.values()) == 3000


async def test_an_ended_exchange_costs_few_bytes_on_a_busy_day(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    async def day_of(count: int, name: str, at_ms: int) -> int:
        before = redis_client.info("memory")["used_memory"]
        batch = [void(f"{name}{i}") for i in range(count)]
        for start in range(0, count, 1000):
            await ledger.settle(batch[start : start + 1000], at_ms)
        return int(redis_client.info("memory")["used_memory"]) - before

    await day_of(1500, "first", T0)
    await day_of(6000, "second", T0 + DAY_S * 1000)
    third = await day_of(20_000, "third", T0 + 2 * DAY_S * 1000)
    sets = redis_client.keys(team_prefix("red") + "m:*:*")
    encodings = {redis_client.object("encoding", key) for key in sets}
    assert b"intset" in encodings
    words = cast("list[bytes]", redis_client.keys(team_prefix("red") + "m:?????"))
    parts = [int(v) for v in cast("list[bytes]", redis_client.mget(sorted(words)))]
    assert parts == [4, 8, 32]
    assert third / 20_000 < 100


@pytest.mark.parametrize(
    ("apps", "models", "bytes_max"), [(1, 1, 500), (5, 4, 6_000), (10, 10, 80_000), (60, 60, 480_000)]
)
async def test_a_team_s_day_costs_no_more_bytes_than_the_docs_say(
    ledger: RedisLedger, redis_client: sync_redis.Redis, apps: int, models: int, bytes_max: int
) -> None:
    """docs/explanation/ledger-costs.md has the table."""
    usage = {"input": 123_456, "output": 23_456, "cached_input": 3_456, "reasoning": 777}
    batch = [
        end(f"x{a}-{m}", 123_456_789, app=f"app-name-{a}", model=f"gpt-4o-mini-{m}", usage=usage)
        for a in range(apps)
        for m in range(models)
    ]
    for start in range(0, len(batch), 500):
        await ledger.settle(batch[start : start + 500], T0)
    used = redis_client.memory_usage(team_prefix("red") + "d:20261118", samples=0)
    assert used is not None
    assert used <= bytes_max
