"""The ledger's cost, on a real Redis. Four tables; docs/explanation/ledger-costs.md has a run of each.

Run: python bench/ledger.py [ratios] [gateways] [teams] [limits] [--redis-server PATH] [--fsync]
ratios    pairs of reserve and settle against raw PINGs: ratios hold on any machine (`--fsync`: and everysec against
          always)
gateways  50 gateways x 200 clients on one team until its budget is gone: the bound, latency, what a core of Redis does
teams     what a reservation costs Redis as teams grow from 1 to 100,000
limits    what a reservation and its settlement cost Redis with 0, 1, 10 and 40 limits, in rounds that take turns
Costs in Redis are its own (INFO commandstats, INFO cpu), so that the load's Python does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import count
from statistics import median
from typing import Any

import redis.asyncio as aioredis
import uvloop

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.bounds import Bound, Candidate
from spendgate.budget.limits import bounds_of
from spendgate.budget.load import budget_from_document
from spendgate.budget.model import API_VERSION, KIND
from spendgate.ledger.exchanges import ReserveRequest, Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger

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


async def measure(fsync: str, pairs: int, executable: str | None) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder, executable, fsync) as server:
        ledger = RedisLedger.from_url(server.url, timeout_s=30.0)
        result = (
            await pings(server.url, pairs),
            await one_by_one(ledger, "one", pairs),
            await batched(ledger, "many", pairs),
        )
        await ledger.close()
        return result


def ratios(options: argparse.Namespace) -> None:
    ping, one, many = asyncio.run(measure("everysec", options.pairs, options.redis_server))
    print(f"raw PING round trips               {ping:9,.0f} /s   1.00")
    print(f"reserve + settle, one by one       {one:9,.0f} /s   {one / ping:.2f}")
    print(f"reserve + settle, 100 at once      {many:9,.0f} /s   {many / ping:.2f}")
    if options.fsync:
        _, slow_one, slow_many = asyncio.run(measure("always", options.pairs, options.redis_server))
        print(f"appendfsync always, one by one     {slow_one:9,.0f} /s   {one / slow_one:.1f} times the time")
        print(
            f"appendfsync always, 100 at once    {slow_many:9,.0f} /s   {many / slow_many:.1f} times the time"
        )


# -- 50 gateways x 200 clients on one team ---------------------------------------------------------------------

ESTIMATE, COST = 1000, 700
PATIENCE_S = 0.005
"""As the gateway's settler: endings of one moment share a round trip."""


class Gateway:
    """One gateway's side of the ledger: reservations at once, settlements gathered. Clients ask until refused."""

    def __init__(self, url: str, name: str, bound: int) -> None:
        self.ledger = RedisLedger.from_url(url, timeout_s=120.0)
        limits = tuple(Bound(b.scope, b.window, bound, bound, b.reason) for b in BOUNDS[:2])
        self._bounds = (*limits, BOUNDS[2])
        self._name = name
        self._ids = count()
        self._ended: list[Settlement] = []
        self.admitted = self.refused = 0
        self.waits: list[float] = []

    async def client(self) -> None:
        dice = random.Random()
        while True:
            exchange = f"{self._name}-{next(self._ids)}"
            began = time.perf_counter()
            result = await self.ledger.reserve(
                ReserveRequest(
                    exchange, "red", "chat", 600_000, (Candidate("gpt-4o", ESTIMATE, self._bounds),)
                )
            )
            self.waits.append(time.perf_counter() - began)
            if result.candidate < 0:
                self.refused += 1
                if not self._ended:  # nothing comes back any more: the budget is gone
                    return
                await asyncio.sleep(dice.uniform(0.05, 0.2))
                continue
            self.admitted += 1
            await asyncio.sleep(dice.uniform(0, 0.05))  # the provider answers
            usage = {"input": 100, "output": 50}
            self._ended.append(Settlement(exchange, "red", "chat", "gpt-4o", COST, usage, 0, False, SCOPES))

    async def settle_forever(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE_S)
            batch = self._ended[:500]
            if batch:
                await self.ledger.settle(batch)
                del self._ended[: len(batch)]


async def some_gateways(url: str, first: int, gateways: int, clients: int, bound: int) -> dict[str, Any]:
    """The gateways of one process."""
    made = [Gateway(url, f"g{first + i}", bound) for i in range(gateways)]
    settlers = [asyncio.create_task(g.settle_forever()) for g in made]
    await asyncio.gather(*(g.client() for g in made for _ in range(clients)))
    for task in settlers:
        task.cancel()
    for g in made:
        await g.ledger.settle(g._ended)
        await g.ledger.close()
    return {
        "admitted": sum(g.admitted for g in made),
        "refused": sum(g.refused for g in made),
        "waits": sorted(w for g in made for w in g.waits),
    }


async def highest_committed(url: str, stop: asyncio.Event) -> tuple[int, int]:
    """(highest committed seen, readings), until stopped."""
    client, highest, readings = aioredis.Redis.from_url(url), 0, 0
    month = time.strftime("%Y%m", time.gmtime())
    while not stop.is_set():
        amounts: list[Any] = await client.hmget(f"sg1:{{red}}:b:month:{month}", ["s", "r"])  # type: ignore[misc]
        highest = max(highest, sum(int(n or 0) for n in amounts))
        readings += 1
        await asyncio.sleep(0.01)
    await client.aclose()
    return highest, readings


async def one_team(options: argparse.Namespace, server: EmbeddedRedis) -> None:
    processes, each = options.processes, options.gateways // options.processes
    bound = options.exchanges * COST
    client = aioredis.Redis.from_url(server.url)
    await client.config_resetstat()
    cpu = await cpu_s(client)
    stop = asyncio.Event()
    watching = asyncio.create_task(highest_committed(server.url, stop))
    began = time.perf_counter()
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, __file__, "worker", server.url, str(i * each), str(each), str(options.clients), str(bound),
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": str(i)}, limit=2**30,
        )
        for i in range(processes)
    ]  # fmt: skip
    outputs = await asyncio.gather(*(c.communicate() for c in children))
    seconds = time.perf_counter() - began
    stop.set()
    highest, readings = await watching
    found = [json.loads(out) for out, _ in outputs]
    stats, busy = await client.info("commandstats"), await cpu_s(client) - cpu
    ledger = RedisLedger.from_url(server.url, 30.0)
    month = await ledger.month("red", time.strftime("%Y%m", time.gmtime()))
    await ledger.close()
    await client.aclose()
    admitted, refused = (sum(f[k] for f in found) for k in ("admitted", "refused"))
    waits = sorted(w for f in found for w in f["waits"])
    asked = admitted + refused
    print(f"{options.gateways} gateways x {options.clients} clients on one team, three bounds a reservation")
    print(
        f"  admitted {admitted:,}, refused {refused:,} in {seconds:.1f} s: {asked / seconds:,.0f} reservations/s here"
    )
    print(f"  bound {bound:,} nano-USD; settled {month.settled_nanousd:,}; reserved {month.reserved_nanousd}")
    share = highest / bound
    print(f"  highest committed of {readings} readings {highest:,} ({share:.2%} of the bound)")
    print(
        f"  reserve as a client waits: median {percentile(waits, 50):.1f} ms, p99 {percentile(waits, 99):.1f} ms"
    )
    calls = stats["cmdstat_evalsha"]["calls"]
    print(
        f"  Redis worked {busy:.1f} s for {calls:,} script calls: {busy / asked * 1e6:.0f} us a reservation with its"
    )
    print(f"  settlement, {asked / busy:,.0f} per core and second")
    assert highest <= bound and month.settled_nanousd <= bound, "the bound was passed"
    assert month.settled_nanousd == admitted * COST and month.reserved_nanousd == 0, "a cent was lost"


async def cpu_s(client: Any) -> float:
    """Seconds that Redis' main thread has worked: what a core gives, whatever else the machine does."""
    info = await client.info("cpu")
    return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


async def calm(options: argparse.Namespace, server: EmbeddedRedis) -> None:
    """Latency where nothing queues: one gateway, a hundred reservations a second."""
    ledger = RedisLedger.from_url(server.url, timeout_s=30.0)
    await ledger.reserve(reservation("warm"))
    waits = []
    for i in range(options.calm):
        began = time.perf_counter()
        await ledger.reserve(reservation(f"calm-{i}"))
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    await ledger.close()
    waits.sort()
    print("one gateway, a hundred reservations a second")
    print(f"  reserve: median {percentile(waits, 50):.2f} ms, p99 {percentile(waits, 99):.2f} ms")


def percentile(ordered: list[float], percent: int) -> float:
    """In milliseconds."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000


def gateways(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder, options.redis_server) as server:
        uvloop.run(calm(options, server))
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder, options.redis_server) as server:
        uvloop.run(one_team(options, server))


# -- as teams grow ---------------------------------------------------------------------------------------------


async def growing(options: argparse.Namespace, server: EmbeddedRedis) -> None:
    ledger, client = RedisLedger.from_url(server.url, 120.0), aioredis.Redis.from_url(server.url)
    names, dice, made = count(), random.Random(5), 0
    print("teams      us of Redis a reservation   bytes a team")
    empty = (await client.info("memory"))["used_memory"]
    for teams in options.teams:
        while made < teams:
            batch = [f"team-{i}" for i in range(made, min(teams, made + 500))]
            ids = [f"s{next(names)}" for _ in batch]
            asks = zip(ids, batch, strict=True)
            await asyncio.gather(*(ledger.reserve(of_team(reservation(i), t)) for i, t in asks))
            await ledger.settle([of_team(settlement(i), t) for i, t in zip(ids, batch, strict=True)])
            made += len(batch)
        used = (await client.info("memory"))["used_memory"] - empty
        best = []
        for _ in range(3):
            before = await cpu_s(client)
            for _ in range(20):
                await asyncio.gather(
                    *(
                        ledger.reserve(
                            of_team(reservation(f"m{next(names)}"), f"team-{dice.randrange(teams)}")
                        )
                        for _ in range(100)
                    )
                )
            best.append((await cpu_s(client) - before) / 2000 * 1e6)
        print(f"{teams:7,}    {min(best):25.1f}   {used // teams:12,}")
    await ledger.close()
    await client.aclose()


def of_team(what: Any, team: str) -> Any:
    from dataclasses import replace

    return replace(what, team=team)


def teams(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder, options.redis_server) as server:
        uvloop.run(growing(options, server))


# -- as limits are added ---------------------------------------------------------------------------------------

KINDS = [
    {"per": per, "unit": unit, "max": 10**6 if unit == "usd" else 10**9, "window": window}
    for window in ("month", "week", "total", "day")
    for unit in ("usd", "requests", "tokens")
    for per in ("user", "run", "app", "model")
]
"""Limits as people write them; in Berlin the ledger is told the windows."""


class Limited:
    """A team with so many limits. Its 200 users take turns; a run has 20 requests."""

    def __init__(self, limits: int) -> None:
        spec = {"team": f"team-{limits}", "monthlyBudgetUSD": 10**6, "timeZone": "Europe/Berlin"}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "red"}, "spec": spec}
        self.budget = budget_from_document(document | {"spec": spec | {"limits": KINDS[:limits]}})
        self.made = 0
        self.spent: dict[str, list[float]] = {"reserve": [], "settle": [], "pair": []}

    def exchange(self) -> tuple[ReserveRequest, Settlement]:
        """The next reservation and its settlement."""
        self.made += 1
        exchange_id, team, now_ms = f"x{self.made}", self.budget.team, time.time_ns() // 1_000_000
        user, run = f"user-{self.made % 200}", f"run-{self.made // 20}"
        ask = Ask(team, "chat", "gpt-4o", "openai-chat", 100, run, user=user)
        bounds = bounds_of(self.budget, ask, "gpt-4o", now_ms, DecisionSettings())
        reserve = ReserveRequest(
            exchange_id, team, "chat", 60_000, (Candidate("gpt-4o", 1000, bounds, tokens=200),)
        )
        scopes = tuple((b.scope, b.window_at(now_ms)) for b in bounds)
        usage = {"input": 100, "output": 50}
        return reserve, Settlement(
            exchange_id, team, "chat", "gpt-4o", 700, usage, 0, False, scopes, tokens=150
        )

    async def round(self, ledger: RedisLedger, client: Any, batches: int) -> None:
        """Redis' own microseconds for each, 100 at once as a busy gateway has them."""
        spent = {"reserve": 0.0, "settle": 0.0}
        for _ in range(batches):
            some = [self.exchange() for _ in range(CONCURRENT)]
            began = await cpu_s(client)
            found = await asyncio.gather(*(ledger.reserve(r) for r, _ in some))
            reserved = await cpu_s(client)
            await ledger.settle([s for _, s in some])
            spent["reserve"] += reserved - began
            spent["settle"] += await cpu_s(client) - reserved
            assert all(r.candidate == 0 for r in found), "a limit that nobody should meet refused"
        for what, seconds in spent.items():
            self.spent[what].append(seconds / batches / CONCURRENT * 1e6)
        self.spent["pair"].append(self.spent["reserve"][-1] + self.spent["settle"][-1])


async def limiting(options: argparse.Namespace, server: EmbeddedRedis) -> None:
    ledger, client = RedisLedger.from_url(server.url, 120.0), aioredis.Redis.from_url(server.url)
    teams = {n: Limited(n) for n in (0, 1, 10, 40)}
    for team in teams.values():
        await team.round(ledger, client, 1)  # scripts are loaded, the first keys made
        team.spent = {what: [] for what in team.spent}
    for _ in range(options.rounds):
        for team in teams.values():
            await team.round(ledger, client, options.batches)
    await ledger.close()
    await client.aclose()
    base = teams[1].spent["pair"]
    print("limits    us of Redis: reserve   settle     both   x one limit")
    for n, team in teams.items():
        reserve, settle, pair = (median(team.spent[what]) for what in ("reserve", "settle", "pair"))
        ratio = median(a / b for a, b in zip(team.spent["pair"], base, strict=True))
        print(f"{n:6}    {reserve:20.1f} {settle:8.1f} {pair:8.1f} {ratio:13.2f}")


def limits(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder, options.redis_server) as server:
        uvloop.run(limiting(options, server))


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        url, *numbers = sys.argv[2:]
        print(json.dumps(uvloop.run(some_gateways(url, *map(int, numbers)))))
        return
    tables = {"ratios": ratios, "gateways": gateways, "teams": teams, "limits": limits}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(tables)}; default: all")
    parser.add_argument("--redis-server", help="the redis-server to measure; default: the embedded one")
    parser.add_argument("--fsync", action="store_true")
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--gateways", type=int, default=50)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2, help="that the gateways share; give one a core")
    parser.add_argument("--exchanges", type=int, default=60_000, help="how many the budget pays for")
    parser.add_argument("--calm", type=int, default=1000)
    parser.add_argument("--teams", type=int, nargs="*", default=[1, 10, 100, 1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7, help="of the table of limits")
    parser.add_argument(
        "--batches", type=int, default=20, help="of a hundred exchanges, in each of these rounds"
    )
    options = parser.parse_args()
    unknown = set(options.tables) - set(tables)
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(tables)}")
    for name in options.tables or tables:
        tables[name](options)


if __name__ == "__main__":
    main()
