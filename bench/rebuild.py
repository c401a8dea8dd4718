"""How long a rebuild takes: a month of 5,000 teams x 10 models in a real Prometheus, into an emptied real Redis.

    .venv/bin/python bench/rebuild.py [--teams 5000] [--models 10] [--days 26] [--gateways 1]

Samples stand before every midnight and at noon, and every 15 s in the last ten minutes: instant queries then read what
they would at a scrape interval of 15 s but for the last two hours (`last_over_time`), where they read a twelfth.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import psutil
from support.prometheus import Prometheus

from spendgate.budget.policy import Policy
from spendgate.ledger.recovery.heartbeat import Heartbeat
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.rebuild.counter_resets import STARTED, read_totals
from spendgate.rebuild.prometheus import COST, Counters
from spendgate.rebuild.rebuild import fill_up

DAY_S = 86_400


def cpu_s(pid: int) -> float:
    """Seconds of a core that a process used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def sample_times(start_s: int, days: int) -> list[int]:
    """Before every midnight and noon, then every 15 s for ten minutes."""
    times = [start_s - 60]
    for day in range(days):
        times += [start_s + day * DAY_S + DAY_S // 2 - 60, start_s + (day + 1) * DAY_S - 60]
    end_s = start_s + days * DAY_S + 7200
    return times + list(range(end_s - 600, end_s + 1, 15))


def samples(teams: int, models: int, gateways: int, times: list[int]) -> Iterator[str]:
    """OpenMetrics: every series grows by 0.001 USD a sample; gateways began before the month."""
    yield "# TYPE llm_cost_usd counter\n"
    for gateway in range(gateways):
        for team in range(teams):
            for model in range(models):
                labels = f'team="team-{team}",app="app",model="model-{model}",instance="g{gateway}"'
                yield "".join(f"{COST}{{{labels}}} {(i + 1) / 1000} {t}\n" for i, t in enumerate(times))
    yield f"# TYPE {STARTED} gauge\n"
    every_minute = range(times[0] - 600, times[-1] + 1, 60)
    for gateway in range(gateways):
        yield "".join(f'{STARTED}{{instance="g{gateway}"}} {times[0] - 600} {t}\n' for t in every_minute)
    yield "# EOF\n"


async def run(teams: int, models: int, days: int, gateways: int) -> None:
    start_s = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
    times = sample_times(start_s, days)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        text = "".join(samples(teams, models, gateways, times))
        print(
            f"{teams * models * gateways:,} series, {len(times)} samples each: {len(text) / 2**20:.0f} MiB of text"
        )
        with (
            Prometheus(folder / "prometheus", blocks=text) as prometheus,
            EmbeddedRedis(folder / "redis") as redis,
        ):
            del text
            print(f"backfilled in {time.monotonic() - began:.0f} s")
            ledger = RedisLedger.from_url(redis.url, timeout_s=30.0)
            pulse = Heartbeat()
            await pulse.beat(ledger)
            servers = {"Prometheus": prometheus.process.pid, "Redis": redis.pid, "reader": os.getpid()}
            for round_ in ("first", "again"):
                before = {name: cpu_s(pid) for name, pid in servers.items()}
                began = time.monotonic()
                with Counters(prometheus.url) as counters:
                    totals = await asyncio.to_thread(read_totals, counters, "202610", times[-1] * 1000)
                read_s = time.monotonic() - began
                done = await fill_up(ledger, pulse.epoch, Policy(), totals, dry=False)
                whole_s = time.monotonic() - began
                print(
                    f"{round_}: {len(totals.days):,} cells of {len(done.restored):,} teams, "
                    f"${done.added_nanousd / 1e9:,.2f} added of ${totals.total() / 1e9:,.2f}: "
                    f"{read_s:.1f} s reading Prometheus, {whole_s - read_s:.1f} s writing Redis, {whole_s:.1f} s in all"
                )
                used = {name: cpu_s(pid) - before[name] for name, pid in servers.items()}
                print("  of a core: " + ", ".join(f"{name} {s:.1f} s" for name, s in used.items()))
            await ledger.close()
    print(
        f"memory of the reader: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at its highest"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teams", type=int, default=5000)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--days", type=int, default=26)
    parser.add_argument("--gateways", type=int, default=1)
    a = parser.parse_args()
    asyncio.run(run(a.teams, a.models, a.days, a.gateways))


if __name__ == "__main__":
    main()
