"""Runs `up` and `serve` in this process until a signal ends them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import click

from spendgate.cli.options import GatewayOptions
from spendgate.console.pages import UsageLogs, console
from spendgate.console.settings import ConsoleSettings
from spendgate.envoy.bootstrap import one_upstream
from spendgate.finops.replay import settlements
from spendgate.records.tail import Tail
from spendgate.settings import logs
from spendgate.settings.config import Settings, load_config
from spendgate.supervisor.decision_printer import follow
from spendgate.supervisor.supervisor import Plan, Supervisor
from spendgate.tasks import cancel_and_wait


def run_up(
    upstream: str | None, listen: str, follow_as: str | None, given: GatewayOptions, *, lean: bool = False
) -> None:
    """Run `spendgate up`. `follow_as`: how decisions are printed (`text`, `json`), None: not at all. `lean`: also where
    the settings do not say so."""
    settings = load_config(given.config, os.environ)
    if lean:
        settings = settings.model_copy(update={"lean": True})
    if upstream:
        settings = settings.model_copy(update={"upstreams": (one_upstream(upstream),)})
    if not settings.upstreams:
        raise click.UsageError("no upstream; give --upstream URL, or `upstreams:` in the config file")
    asyncio.run(_run(_plan(settings, given, listen=listen), settings, follow_as))


def run_serve(grpc: str, given: GatewayOptions) -> None:
    """Run `spendgate serve`."""
    settings = load_config(given.config, os.environ)
    asyncio.run(_run(_plan(settings, given, grpc=grpc), settings, None))


def _plan(settings: Settings, given: GatewayOptions, *, listen: str | None = None, grpc: str = "") -> Plan:
    return Plan(
        settings=settings,
        data_dir=given.data_dir,
        admin=given.admin,
        listen=listen,
        grpc=grpc,
        redis=given.redis_url,
        workers=given.workers,
        policy=given.policy,
        prices=given.prices,
        config=given.config,
        records=settlements,
    )


async def _run(plan: Plan, settings: Settings, follow_as: str | None) -> None:
    logs.configure(settings.log_level, process="supervisor")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    pages = ConsoleSettings.from_environment(os.environ)
    house = Supervisor(
        plan,
        lambda ledger, snapshot: console(
            ledger, snapshot, pages, usage=UsageLogs.of(pages, house.usage_path, house.data_dir)
        ),
    )
    follower: asyncio.Task[None] | None = None

    def told() -> None:
        if stop.is_set():
            house.hurry()
        stop.set()

    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, told)
    try:
        starting = asyncio.create_task(house.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            if follow_as is not None and house.usage_path not in ("-", "off"):
                follower = asyncio.create_task(follow(Tail(Path(house.usage_path)), follow_as))
            await house.watch(stop, lambda: _announce(house, follow_as))
        else:
            await cancel_and_wait(starting)
    finally:
        await house.stop()
        if follower is not None:
            await asyncio.sleep(0.3)  # the last lines
            await cancel_and_wait(follower)
        shutil.rmtree(house.metrics_dir, ignore_errors=True)


def _announce(house: Supervisor, follow_as: str | None) -> None:
    redis = f"pid {house.redis.pid}" if house.redis is not None else house.redis_url
    teams = len(house.snapshot.policy.teams)
    lines = [
        f"redis    {redis}",
        *(f"{w.name} pid {w.pid}  {e}" for w, e in zip(house.workers, house.grpc, strict=True)),
    ]
    if house.front is not None:
        lines.append(f"envoy    pid {house.front.child.pid}")
    lines += [
        f"admin    http://{house.admin_host}:{house.admin_port}/",
        f"usage    {house.usage_path}",
        f"policy   {teams} budget{'' if teams == 1 else 's'}, version {house.snapshot.policy.version[:12]}",
    ]
    if follow_as == "text":
        print("\n".join(lines))
    print(f"ready: {house.url}" if house.url else f"ready: {' '.join(house.grpc)}")
    sys.stdout.flush()
