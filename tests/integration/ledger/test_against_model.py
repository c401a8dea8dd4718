"""Random histories on a real server, audited step by step by a model in plain Python."""

from __future__ import annotations

import asyncio

import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.asks import ask, bound, candidate, end, void
from support.model_ledger import ModelLedger

from spendgate.ledger.embedded import EmbeddedRedis
from spendgate.ledger.redis_ledger import RedisLedger
from spendgate.ledger.wire import SEP, team_prefix

START = 1_796_083_190_000
"""Ten seconds before December 2026, so that histories cross the turn of month, day and hour."""

ids = st.sampled_from([f"x{i}" for i in range(12)])
amounts = st.integers(0, 60)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), ids, amounts, amounts, st.integers(1, 6000)),
        st.tuples(st.just("settle"), ids, amounts),
        st.tuples(st.just("release"), ids),
        st.tuples(st.just("batch"), st.lists(st.tuples(ids, amounts, st.booleans()), max_size=6)),
        st.tuples(st.just("renew"), st.lists(ids, max_size=4, unique=True), st.integers(1, 6000)),
        st.tuples(st.just("expire"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.integers(0, 4000)),
    ),
    max_size=40,
)
SCOPES = (("month", "month"), ("day", "day"), ("hour", "hour"), ("run:r", "run"))


async def step(ledger: RedisLedger, model: ModelLedger, what: tuple, now: int) -> None:  # type: ignore[type-arg]
    verb, *rest = what
    if verb == "reserve":
        exchange, dear, cheap, ttl = rest
        month, hour = bound(200, 210), bound(90, scope="hour", window="hour")
        day, run = bound(scope="day", window="day"), bound(150, scope="run:r", window="run")
        request = ask(
            exchange,
            candidate(dear, month, hour, day, model="dear"),
            candidate(cheap, month, day, run, model="cheap"),
            ttl_ms=ttl,
        )
        result = await ledger.reserve(request, now)
        assert (result.candidate, result.held_nanousd) == model.reserve(request, now)
        month_now = "month:202611" if now < START + 10_000 else "month:202612"
        assert result.committed_nanousd == model.committed(month_now)
    elif verb in ("settle", "release", "batch"):
        wanted = {
            "settle": lambda: [(rest[0], rest[1], False)],
            "release": lambda: [(rest[0], 0, True)],
            "batch": lambda: rest[0],
        }[verb]()
        batch = [
            void(i, at_ms=now) if is_release else end(i, cost, at_ms=START, scopes=SCOPES)
            for i, cost, is_release in wanted
        ]
        assert await ledger.settle(batch, now) == [model.settle(s, now) for s in batch]
    elif verb == "renew":
        assert await ledger.renew([("red", i) for i in rest[0]], rest[1], now) == model.renew(*rest, now)
    elif verb == "expire":
        assert [e.exchange_id for e in await ledger.expire("red", now, rest[0])] == model.sweep(now, rest[0])


def audit(client: sync_redis.Redis, model: ModelLedger) -> None:
    prefix = team_prefix("red")
    settled: dict[str, int] = {}
    reserved: dict[str, int] = {}
    for key in client.keys(prefix.replace("[", r"\[") + "b:*"):
        name = key.decode().removeprefix(prefix + "b:")
        fields = client.hgetall(key)
        assert client.ttl(key) > 0
        settled[name] = int(fields.get(b"s", 0))
        reserved[name] = int(fields.get(b"r", 0))
        assert min(settled[name], reserved[name]) >= 0
    assert {k: v for k, v in settled.items() if v} == {k: v for k, v in model.settled.items() if v}
    assert {k: v for k, v in reserved.items() if v} == {k: v for k, v in model.reserved.items() if v}
    by_counter: dict[str, int] = {}
    for hold in model.holds.values():
        for name in hold.counters:
            by_counter[name] = by_counter.get(name, 0) + hold.amount
    assert {k: v for k, v in reserved.items() if v} == {k: v for k, v in by_counter.items() if v}
    assert client.hlen(prefix + "holds") == client.zcard(prefix + "due") == len(model.holds)
    for day in ("20261130", "20261201"):
        cells = {k.decode(): int(v) for k, v in client.hgetall(f"{prefix}d:{day}").items()}
        for sign, counts in (("$", model.cost), ("#", model.exchanges)):
            found = {k: v for k, v in cells.items() if k.endswith(SEP + sign) and v}
            assert found == {SEP.join((a, m, sign)): v for (d, a, m), v in counts.items() if d == day and v}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=steps)
def test_any_history_agrees_with_the_model_after_every_step(
    server: EmbeddedRedis,
    redis_client: sync_redis.Redis,
    history: list[tuple],  # type: ignore[type-arg]
) -> None:
    async def run() -> None:
        ledger, model, now = RedisLedger.from_url(server.url, timeout_s=5.0), ModelLedger(), START
        for what in history:
            if what[0] == "wait":
                now += what[1]
                continue
            await step(ledger, model, what, now)
            audit(redis_client, model)
        await ledger.close()

    redis_client.flushall()
    asyncio.run(run())
