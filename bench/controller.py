"""The controller on a real API server: what it costs, and how soon a change is enforced.

    .venv/bin/python bench/controller.py [--budgets 10000] [--seconds 60] [--changes 100] [--changes-only]

Prints JSON: memory and CPU of the leader with so many budgets (idle, then with spend on a tenth of them), and
the time from the API server's answer to a change until a gateway's policy source has it in force.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.kube import ROOT, Cluster, binaries, environment
from support.processes import SPENDGATE, free_port

from spendgate.controller.kube.access import from_kubeconfig
from spendgate.controller.kube.client import Kube
from spendgate.controller.kube.informer import object_path, resource_path
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.policy.source import RedisPolicySource

GROUP, VERSION, PLURAL = "ai.systemhardening.com", "v1", "llmbudgets"


def document(n: int) -> dict[str, Any]:
    """A budget of the usual size."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "LLMBudget",
        "metadata": {"name": f"team-{n}", "namespace": "default"},
        "spec": {
            "team": f"team-{n}",
            "monthlyBudgetUSD": 1000,
            "alertThresholds": [
                {"percent": 50, "action": "alert", "notifyChannel": "#costs"},
                {"percent": 80, "action": "alert_and_downgrade", "notifyChannel": "#costs"},
                {"percent": 100, "action": "reject", "notifyChannel": "#costs"},
            ],
            "modelLimits": [
                {"modelPattern": "claude-opus*", "maxMonthlyUSD": 300, "allowedApps": ["research"]},
                {"modelPattern": "gpt-4o", "maxMonthlyUSD": 200},
            ],
            "defaultModel": "gpt-4o-mini",
            "costRouting": {"enabled": True, "cheapModel": "gpt-4o-mini", "expensiveModel": "gpt-4o"},
        },
    }


async def fill(kube: Kube, n: int) -> None:
    """Create the budgets, sixteen at a time."""
    path = resource_path(GROUP, VERSION, PLURAL, "default")
    gate = asyncio.Semaphore(16)

    async def one(i: int) -> None:
        async with gate:
            await kube.create(path, document(i))

    await asyncio.gather(*(one(i) for i in range(n)))


async def usage(process: psutil.Process, seconds: float) -> dict[str, float]:
    """CPU (cores) and the highest resident memory over a time."""
    begin, started, peak = process.cpu_times(), time.monotonic(), 0
    while time.monotonic() - started < seconds:
        peak = max(peak, process.memory_info().rss)
        await asyncio.sleep(0.5)
    end = process.cpu_times()
    cpu = (end.user + end.system - begin.user - begin.system) / (time.monotonic() - started)
    return {"cpu_millicores": round(cpu * 1000), "rss_mib": round(peak / 2**20)}


async def reach(
    kube: Kube, source: RedisPolicySource, changes: int, process: psutil.Process
) -> dict[str, float]:
    """Seconds from a change to its enforcement, and what a change costs the controller."""
    took = []
    before = sum(process.cpu_times()[:2])
    for i in range(changes):
        usd = 2000 + i
        path = object_path(GROUP, VERSION, PLURAL, ("default", "team-0"))
        await kube.merge_patch(path, {"spec": {"monthlyBudgetUSD": usd}})
        begin = time.monotonic()
        while source.policy.budgets["team-0"].monthly_nanousd != usd * 10**9:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        took.append(time.monotonic() - begin)
        await asyncio.sleep(0.05)
    took.sort()
    return {
        "p50_s": round(statistics.median(took), 3),
        "p99_s": round(took[min(len(took) - 1, int(len(took) * 0.99))], 3),
        "max_s": round(took[-1], 3),
        "controller_cpu_ms_a_change": round(1000 * (sum(process.cpu_times()[:2]) - before) / changes),
    }


async def scrape(port: int, into: list[float], seen: dict[str, float]) -> None:
    """What Prometheus does: /metrics every 15 seconds; how long each took, and what the controller said of itself."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        while True:
            began = time.monotonic()
            try:
                answer = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status()
                into.append(time.monotonic() - began)
                for line in answer.text[:20_000].splitlines():
                    name, _, value = line.rpartition(" ")
                    if name.startswith("spendgate_") and "{" not in name:
                        seen[name] = float(value)
            except httpx.ConnectError:  # it is starting
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(15)


async def spend(url: str, n: int) -> None:
    """One settlement for every tenth team."""
    ledger = RedisLedger.from_url(url, timeout_s=10.0)
    now = time.time_ns()
    batch = [
        Settlement(f"bench-{now}-{i}", f"team-{i}", "app", "gpt-4o", 10**9, scopes=(("month", "month"),))
        for i in range(0, n, 10)
    ]
    await ledger.settle(batch)
    await ledger.close()


async def measure(args: argparse.Namespace, cluster: Cluster, url: str, folder: Path) -> dict[str, Any]:
    """The whole run."""
    kube = Kube(from_kubeconfig(cluster.kubeconfig("admin")), call_s=30.0)
    began = time.monotonic()
    await fill(kube, args.budgets)
    out: dict[str, Any] = {"budgets": args.budgets, "created_s": round(time.monotonic() - began)}
    out["machine"] = {"cores": os.cpu_count(), "load": round(os.getloadavg()[1], 1)}
    health, metrics = free_port(), free_port()
    env = environment(
        KUBECONFIG=str(cluster.kubeconfig("controller")), REDIS_URL=url, POD_NAMESPACE="llm-gateway",
        SPENDGATE_HTTP=f"127.0.0.1:{health}", SPENDGATE_METRICS=f"127.0.0.1:{metrics}",
        SLACK_WEBHOOK_URL="http://127.0.0.1:9/none",
    )  # fmt: skip
    with (folder / "controller.log").open("wb") as log:
        controller = subprocess.Popen(  # noqa: ASYNC220
            [SPENDGATE, "controller"], env=env, stdout=log, stderr=log
        )
    try:
        process = psutil.Process(controller.pid)
        source = RedisPolicySource(url, folder / "policy.snapshot")
        began = time.monotonic()
        await source.first()
        following = asyncio.create_task(source.run(lambda _: None))
        scrapes: list[float] = []
        seen: dict[str, float] = {}
        scraping = asyncio.create_task(scrape(metrics, scrapes, seen))
        while len(source.policy.budgets) < args.budgets:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        out["start_to_enforced_s"] = round(time.monotonic() - began, 1)
        out["while_statuses_are_first_written"] = await usage(process, args.seconds)
        if args.changes_only:
            out["apply_to_gateway"] = await reach(kube, source, args.changes, process)
        while not args.changes_only and seen.get("spendgate_status_patches_total", 0) < args.budgets:  # noqa: ASYNC110
            await asyncio.sleep(5)
        if not args.changes_only:
            out["idle"] = await usage(process, args.seconds)
            await spend(url, args.budgets)
            out["with_spend_on_a_tenth"] = await usage(process, args.seconds)
            out["apply_to_gateway"] = await reach(kube, source, args.changes, process)
        for task in (following, scraping):
            task.cancel()
        problems = await asyncio.gather(following, scraping, return_exceptions=True)
        out["scrapes"] = {"n": len(scrapes), "max_s": round(max(scrapes, default=0.0), 2)}
        out["faults"] = [repr(p) for p in problems if isinstance(p, Exception)]
    finally:
        controller.terminate()
        controller.wait(60)
        await kube.close()
    return out


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--changes-only", action="store_true", help="do not wait until all statuses stand")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    folder = Path(tempfile.mkdtemp(prefix="spendgate-bench-"))
    cluster = Cluster(folder / "kube", *binaries())
    try:
        cluster.start()
        cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "k8s" / "base"))
        cluster.established()
        with EmbeddedRedis(folder / "redis") as redis:
            print(json.dumps(asyncio.run(measure(args, cluster, redis.url, folder)), indent=1))
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
