"""The ledger's cost as ratios, so that they hold on any machine: pairs of reserve and settle against raw PINGs.

Run: python bench/ledger.py [--fsync] [--pairs 3000]
`--fsync` compares appendfsync everysec with always, one caller at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time

import redis.asyncio as aioredis

from spendgate.budget.bounds import Bound, Candidate
from spendgate.ledger.embedded import EmbeddedRedis
from spendgate.ledger.port import ReserveRequest, Settlement
from spendgate.ledger.redis_ledger import RedisLedger

CEILING = 10**15
BOUNDS = (
    Bound("month", "month", CEILING, CEILING, "monthly_budget_exceeded"),
    Bound("model:gpt-*", "month", CEILING, CEILING, "model_budget_exceeded"),
    Bound("hour", "hour", CEILING, CEILING, "spend_rate_exceeded"),
)
SCOPES = tuple((b.scope, b.window) for b in BOUNDS)
CONCURRENT = 100


def reservation(exchange_id: str) -> ReserveRequest:
    return ReserveRequest(exchange_id, "red", "chat", 60_000, (Candidate("gpt-4o", 1000, BOUNDS),))


def settlement(exchange_id: str) -> Settlement:
    usage = {"input": 100, "output": 50}
    return Settlement(exchange_id, "red", "chat", "gpt-4o", 700, usage, 0, False, SCOPES)


async def pings(url: str, count: int) -> float:
    """Raw round trips a second, one after the other."""
    client = aioredis.Redis.from_url(url)
    await client.ping()
    began = time.perf_counter()
    for _ in range(count):
        await client.ping()
    seconds = time.perf_counter() - began
    await client.aclose()
    return count / seconds


async def one_by_one(ledger: RedisLedger, name: str, count: int) -> float:
    """Pairs a second, one after the other."""
    await ledger.reserve(reservation(f"{name}-warm"))
    await ledger.settle([settlement(f"{name}-warm")])
    began = time.perf_counter()
    for i in range(count):
        await ledger.reserve(reservation(f"{name}-{i}"))
        await ledger.settle([settlement(f"{name}-{i}")])
    return count / (time.perf_counter() - began)


async def batched(ledger: RedisLedger, name: str, count: int) -> float:
    """Pairs a second, 100 at once: they share pipelines and scripts."""
    began = time.perf_counter()
    for start in range(0, count, CONCURRENT):
        ids = [f"{name}-{i}" for i in range(start, start + CONCURRENT)]
        await asyncio.gather(*(ledger.reserve(reservation(i)) for i in ids))
        await ledger.settle([settlement(i) for i in ids])
    return count / (time.perf_counter() - began)


async def measure(fsync: str, pairs: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder, fsync=fsync) as server:
        ledger = RedisLedger.from_url(server.url, timeout_s=30.0)
        result = (
            await pings(server.url, pairs),
            await one_by_one(ledger, "one", pairs),
            await batched(ledger, "many", pairs),
        )
        await ledger.close()
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--fsync", action="store_true")
    parser.add_argument("--pairs", type=int, default=3000)
    options = parser.parse_args()
    ping, one, many = asyncio.run(measure("everysec", options.pairs))
    print(f"raw PING round trips               {ping:9,.0f} /s   1.00")
    print(f"reserve + settle, one by one       {one:9,.0f} /s   {one / ping:.2f}")
    print(f"reserve + settle, 100 at once      {many:9,.0f} /s   {many / ping:.2f}")
    if options.fsync:
        _, slow_one, slow_many = asyncio.run(measure("always", options.pairs))
        print(f"appendfsync always, one by one     {slow_one:9,.0f} /s   {one / slow_one:.1f} times the time")
        print(
            f"appendfsync always, 100 at once    {slow_many:9,.0f} /s   {many / slow_many:.1f} times the time"
        )


if __name__ == "__main__":
    main()
