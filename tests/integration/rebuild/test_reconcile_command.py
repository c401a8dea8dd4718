"""`spendgate reconcile redis`: a real Prometheus, real usage logs, an emptied Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis
from support.policy import budget, policy
from support.prometheus import Prometheus

from spendgate.alerts.message import text_of
from spendgate.alerts.watcher import system_alert
from spendgate.budget.policy import Policy
from spendgate.cli.main import main
from spendgate.ledger.accounts import TeamMonth
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.ledger.recovery.heartbeat import Heartbeat
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key, month_text
from spendgate.rebuild.counter_resets import STARTED
from spendgate.rebuild.job import RebuildJob
from spendgate.rebuild.prometheus import COST
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord

NOW_S = int(time.time())
MONTH = month_key(NOW_S * 1000)
MODELS = [{"modelPattern": "gpt-*", "maxMonthlyUSD": 40}]
LIMITS = policy(budget("red", 100, apps=[{"name": "a", "maxMonthlyUSD": 50}], modelLimits=MODELS))
SPENT = {("red", "a", "gpt-4o"): 2.5, ("red", "b", "claude"): 0.125, ("blue", "x", "gpt-4o"): 1.0}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A gateway that began a minute ago, and counted at once."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), blocks=scraped(NOW_S)) as running:
        yield running


@pytest.fixture(scope="module")
def long_gone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The same, when nothing was scraped for a quarter of an hour: to Prometheus its series are no more."""
    with Prometheus(tmp_path_factory.mktemp("gone"), blocks=scraped(NOW_S - 900)) as running:
        yield running


def scraped(until_s: int) -> str:
    """A minute of samples until then, as OpenMetrics."""
    times = range(until_s - 60, until_s, 10)
    cost = [
        f'{COST}{{team="{t}",app="{a}",model="{m}",instance="g"}} {usd} {at}'
        for (t, a, m), usd in SPENT.items()
        for at in times
    ]
    started = [f'{STARTED}{{instance="g"}} {until_s - 61} {at}' for at in times]
    lines = ["# TYPE llm_cost_usd counter", *cost, f"# TYPE {STARTED} gauge", *started, "# EOF", ""]
    return "\n".join(lines)


async def run(server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    path = tmp_path / "policy.yaml"
    path.write_text(LIMITS)
    argv = ["reconcile", "redis", "--redis", server.url, "--policy", str(path), "-o", "json", *more]

    def quietly() -> None:
        try:
            main(argv)
        except SystemExit as e:
            assert not e.code

    await asyncio.to_thread(quietly)
    return json.loads(capsys.readouterr().out)


async def state(ledger: RedisLedger) -> tuple[dict[str, TeamMonth], list[int]]:
    months = {m.team: m for m in await ledger.months(["red", "blue"], MONTH)}
    scopes = [f"b:app:a:{MONTH}", f"b:model:gpt-*:{MONTH}"]
    [(_, limits)] = await ledger.remember([("red", scopes)])
    return months, limits


def record(n: int, team: str, app: str, model: str, nano: int, ago_s: int = 30) -> bytes:
    at_ms = (NOW_S - ago_s) * 1000
    return UsageRecord(
        f"x{n}", "", at_ms, team, app, "", "", "openai", model, model, "", {"input": 7, "output": 3}, nano, nano,
        "v", "allow", "within_budget", Outcome.COMPLETE,
    ).line()  # fmt: skip


async def test_a_dry_run_prints_the_difference_and_changes_nothing(
    prometheus: Prometheus, server: EmbeddedRedis, ledger: RedisLedger, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = sync_redis.Redis.from_url(server.url).keys("*")
    told = await run(server, tmp_path, capsys, "--prometheus", prometheus.url, "--dry-run")
    assert (told["month"], told["added_usd"], told["dry_run"]) == (month_text(MONTH), "3.625", True)
    assert {(r["team"], r["app"], r["added_usd"]) for r in told["rows"]} == {
        ("red", "a", "2.50"), ("red", "b", "0.125"), ("blue", "x", "1.00"),
    }  # fmt: skip
    assert set(sync_redis.Redis.from_url(server.url).keys("*")) - set(before) <= {b"sg1:teams"}


async def test_an_emptied_ledger_is_filled_up_from_prometheus_and_a_second_time_changes_nothing(
    prometheus: Prometheus, server: EmbeddedRedis, ledger: RedisLedger, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await Heartbeat().beat(ledger)
    told = await run(server, tmp_path, capsys, "--prometheus", prometheus.url)
    assert {t["team"]: t["after_usd"] for t in told["teams"]} == {"red": "2.625", "blue": "1.00"}
    first = await state(ledger)
    assert first[0]["red"].apps == {"a": 2_500_000_000, "b": 125_000_000}
    assert first[1] == [2_500_000_000, 2_500_000_000]
    again = await run(server, tmp_path, capsys, "--prometheus", prometheus.url)
    assert (again["added_usd"], again["rows"]) == ("0.00", [])
    assert await state(ledger) == first


@pytest.mark.parametrize("logs_first", [True, False])
async def test_usage_logs_and_prometheus_together_count_nothing_twice_in_either_order(
    prometheus: Prometheus, server: EmbeddedRedis, ledger: RedisLedger, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], logs_first: bool,
) -> None:  # fmt: skip
    await Heartbeat().beat(ledger)
    log = tmp_path / "usage.jsonl"
    lines = [record(1, "red", "a", "gpt-4o", 2_000_000_000), record(2, "red", "a", "gpt-4o", 500_000_000)]
    log.write_bytes(b"".join(x + b"\n" for x in lines))
    steps = [("--usage-log", str(log)), ("--prometheus", prometheus.url)]
    told = [await run(server, tmp_path, capsys, *step) for step in (steps if logs_first else steps[::-1])]
    assert sum(t["replayed"] for t in told) == 2
    months, limits = await state(ledger)
    red = months["red"]
    assert (red.settled_nanousd, red.requests) == (2_625_000_000, 2)
    assert red.tokens == {"input": 14, "output": 6}
    assert red.cells == {("a", "gpt-4o"): 2_500_000_000, ("b", "claude"): 125_000_000}
    assert limits == [2_500_000_000, 2_500_000_000]
    told = [await run(server, tmp_path, capsys, *steps[0])]
    assert told[0]["replayed"] == 0


async def test_what_gateways_counted_that_are_long_gone_is_not_counted_twice_either(
    long_gone: Prometheus, server: EmbeddedRedis, ledger: RedisLedger, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await Heartbeat().beat(ledger)
    log = tmp_path / "usage.jsonl"
    log.write_bytes(record(1, "red", "a", "gpt-4o", 2_500_000_000, ago_s=930) + b"\n")
    for step in (("--prometheus", long_gone.url), ("--usage-log", str(log))):
        await run(server, tmp_path, capsys, *step)
    months, _ = await state(ledger)
    assert (months["red"].settled_nanousd, months["red"].requests) == (2_625_000_000, 1)


def test_without_a_source_it_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(["reconcile", "redis", "--redis", "redis://127.0.0.1:1"])
    assert e.value.code == 2
    assert "give --prometheus URL or --usage-log PATH" in capsys.readouterr().err


async def test_the_job_tells_of_drift_and_changes_nothing_and_of_a_rebuild_with_its_sum(
    prometheus: Prometheus, server: EmbeddedRedis, ledger: RedisLedger
) -> None:
    told: list[tuple[str, str, str]] = []

    async def tell(kind: str, key: str, detail: str) -> None:
        told.append((kind, key, detail))

    keeper = Checkpointer(ledger, Policy)
    await keeper.start()
    job = RebuildJob(keeper, ledger, Policy, prometheus.url, grace_s=0.0, tell=tell)
    await keeper.rebuilt()  # whatever the first beat found, it is whole now: a comparison
    await job.round()
    ((kind, key, detail),) = told
    assert (kind, key[:11]) == ("drift", "prometheus:")
    assert "$3.63 that the ledger lacks, 100.0% of $3.63" in detail
    assert (await state(ledger))[0]["red"].settled_nanousd == 0

    sync_redis.Redis.from_url(server.url).flushall()
    async with asyncio.timeout(60):
        while not keeper.pulse.epoch.lost:
            await keeper._round()
    await job.round()
    assert told[1][0] == "rebuilt"
    assert "$3.63 of 2 teams were filled up from Prometheus" in told[1][2]
    assert (await state(ledger))[0]["red"].settled_nanousd == 2_625_000_000
    while keeper.pulse.epoch.lost:
        await keeper._round()
    await job.round()
    assert len(told) == 2
    text = text_of(system_alert("rebuilt", told[1][1], told[1][2], NOW_S * 1000))
    assert text.startswith(f"The ledger of all teams was rebuilt for {month_text(MONTH)}: ")
