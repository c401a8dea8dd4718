"""A running gateway: the embedded Redis, the workers, Envoy, the admin pages; started, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.registry import Collector
from starlette.types import ASGIApp

from spendgate.alerts.environment import senders_from
from spendgate.budget.policy import Policy
from spendgate.errors import ConfigurationError, SpendgateError
from spendgate.exchange.snapshot import Snapshot
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.process.heartbeat import silence_s
from spendgate.gateway.process.leaving import STAYS_S
from spendgate.gateway.process.reload import Sources, watch
from spendgate.gateway.process.worker import ENVIRONMENT, LEFT_BEHIND, WorkerConfig
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.recovery.checkpoint import FILE as MEMORY_FILE
from spendgate.ledger.recovery.checkpointer import Checkpointer
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.policy.source import POLICY_FILE, RedisPolicySource
from spendgate.rebuild.job import RebuildJob, Records
from spendgate.records.otlp_exporter import OtlpExporter
from spendgate.records.writer import UsageLog
from spendgate.settings.config import Settings
from spendgate.settings.upstreams import check_credentials
from spendgate.supervisor import state
from spendgate.supervisor.addresses import accepts, endpoints, host_port, joined, run_dir
from spendgate.supervisor.admin import application
from spendgate.supervisor.alerting import Alerting
from spendgate.supervisor.envoy_counters import EnvoyCounters
from spendgate.supervisor.front import Front
from spendgate.supervisor.health import GrpcHealth
from spendgate.supervisor.processes import Child
from spendgate.supervisor.replica import Replica
from spendgate.supervisor.sweeper import Sweeper
from spendgate.supervisor.watchdog import Watchdog
from spendgate.tasks import cancel_and_wait
from spendgate.values import dataclass
from spendgate.views.gauges import BudgetGauges

log = structlog.get_logger()

START_S = 30.0
WATCH_S = 0.1


MakeRecords = Callable[[tuple[Path, ...], Policy, int, int], Iterable[Settlement]]
"""Reads usage logs as settlements since a time (ms), with the bounds of a policy. The last argument: by how much the
ledger's clock is ahead of ours (ms)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `listen` None: no Envoy (`serve`). `redis` "": an embedded one. `records` reads the usage log
    back after a loss of the ledger."""

    settings: Settings
    data_dir: Path
    admin: str
    listen: str | None = None
    grpc: str = ""
    redis: str = ""
    workers: int = 1
    policy: tuple[Path, ...] = ()
    prices: tuple[Path, ...] = ()
    config: Path | None = None
    records: MakeRecords | None = None


MakeConsole = Callable[[RedisLedger, Callable[[], Snapshot]], ASGIApp]
"""The console over a ledger and whatever snapshot is in force; made by who knows of it."""


class Supervisor:
    """Owns every child process. `start`, then `watch` until told to stop, then `stop`."""

    def __init__(self, plan: Plan, console: MakeConsole | None = None) -> None:
        self.plan = plan
        self._make_console = console
        self.data_dir = plan.data_dir.resolve()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.sources = Sources(plan.policy, plan.prices, plan.settings)
        self.cluster = plan.listen is None and bool(plan.redis) and not plan.policy
        """The policy is the controller's, from Redis: `serve` without policy files."""
        self._signature = self.sources.signature()
        self.snapshot: Snapshot = self.sources.load()
        self.admin_host, self.admin_port = host_port(plan.admin, "--admin")
        self.listen = ""
        if plan.listen is not None:
            host, port = host_port(plan.listen, "--listen")
            self.listen = joined(host, port)
            check_credentials(plan.settings.upstreams)
        self.run_dir = run_dir(self.data_dir)
        self.grpc = endpoints(plan.grpc or f"unix:{self.run_dir / 'worker.sock'}", plan.workers)
        self.metrics_dir = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        self.redis: EmbeddedRedis | None = None
        self.redis_url = plan.redis
        self._health = GrpcHealth(self.grpc)
        self.workers: list[Child] = []
        self.front: Front | None = None
        self.ledger: RedisLedger | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._http: uvicorn.Server | None = None
        self._pages: asyncio.Task[None] | None = None
        self._serving = False
        self._hurry = asyncio.Event()
        self.rotation = plan.settings.rotation()
        self.usage_path = plan.settings.usage_log or str(self.data_dir / "usage.jsonl")
        # behind Envoy of our own only: `serve` leaves the telling to the controller
        self._senders = senders_from(os.environ) if self.listen else []

    @property
    def url(self) -> str:
        """Where clients reach it, "" without an Envoy of ours."""
        scheme = "http" if self.plan.settings.tls is None else "https"
        return f"{scheme}://{self.listen}" if self.listen else ""

    # -- start ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything; returns when requests are decided (in a cluster: once a policy is known). Raises
        SpendgateError with the reason."""
        ledger = await self._open_ledger()
        if self.cluster:
            source = RedisPolicySource(
                self.redis_url, self.data_dir / POLICY_FILE, second=self.plan.settings.policy_snapshot
            )
            await source.first()
            self.sources = replace(self.sources, cluster=source)
            self.snapshot = self.sources.load()
        shutil.rmtree(self.metrics_dir, ignore_errors=True)
        self.metrics_dir.mkdir(parents=True)
        keeper = Checkpointer(ledger, lambda: self.snapshot.policy, self.data_dir / MEMORY_FILE)
        await keeper.start()  # before anybody can spend: the workers know its epoch
        metrics = Metrics(CollectorRegistry(), self.plan.settings.max_label_values)
        gauges = BudgetGauges(ledger, self.snapshot.policy, copies=self.cluster)
        alerting = None if self.cluster else Alerting(
            ledger, self.redis_url, lambda: self.snapshot.policy, self._senders, self.data_dir, self.usage_path
        )  # fmt: skip
        if alerting is not None:
            await alerting.begin()  # before anybody can spend
        self._start_workers()
        watchdog = Watchdog(self.workers, metrics.hung.inc)
        self._tasks.append(asyncio.create_task(watchdog.run()))
        if self.listen:
            log_file, settings = self._log_path("envoy"), self.plan.settings
            self.front = Front(self.listen, self.grpc, settings, self.data_dir, self.run_dir, log_file)
            self.front.start()
        # `serve` leaves this to the controller
        job = self._rebuild_job(keeper, alerting) if self.listen else None
        await self._start_admin(gauges, keeper, job)
        await self._until_ready()
        endpoint = self.plan.settings.otlp_endpoint
        otlp = OtlpExporter(endpoint, metrics.otlp_dropped.inc) if endpoint else None
        if otlp is not None:
            self._tasks.append(asyncio.create_task(otlp.run()))
        usage_log = UsageLog(self.usage_path, self.rotation, also=otlp.put if otlp else None)

        def apply(fresh: Snapshot) -> None:
            self.snapshot = fresh
            gauges.apply(fresh.policy)

        if self.sources.cluster is not None:

            def apply_policy(policy: Policy) -> None:
                apply(replace(self.snapshot, policy=policy))

            self._tasks.append(asyncio.create_task(self.sources.cluster.run(apply_policy)))
        self._tasks += [
            asyncio.create_task(Sweeper(ledger, usage_log, metrics, self.snapshot.prices.version).run()),
            asyncio.create_task(keeper.run()),
            asyncio.create_task(watch(self.sources, self._signature, apply, metrics.reload_errors.inc)),
        ]
        if job is not None:
            self._tasks.append(asyncio.create_task(job.run()))
        if alerting is not None:
            self._tasks.append(asyncio.create_task(alerting.run()))
        state.StateFile(
            pid=os.getpid(),
            redis=self.redis_url,
            admin=joined(self.admin_host, self.admin_port),
            listen=self.listen,
            policy=tuple(str(p.resolve()) for p in self.plan.policy),
            prices=tuple(str(p.resolve()) for p in self.plan.prices),
            config=str(self.plan.config.resolve()) if self.plan.config else "",
            url=self.url,
        ).write(self.data_dir)
        self._serving = True

    async def _open_ledger(self) -> RedisLedger:
        """In a Redis of our own where none is named. Raises ConfigurationError where it is away, and is needed."""
        if not self.redis_url:
            self.redis = EmbeddedRedis(self.data_dir)
            self.redis_url = self.redis.url
        ledger = self.ledger = RedisLedger.from_url(self.redis_url, 2.0)
        if not await ledger.ping():
            if not self.cluster:
                why = "is it running, is the URL right?"
                raise ConfigurationError(f"Redis does not answer at {self.redis_url}; {why}")
            log.error("redis_away", why="starting with the last known policy; what is spent is spooled")
        return ledger

    def _start_workers(self) -> None:
        for i, endpoint in enumerate(self.grpc):
            config = WorkerConfig(
                index=i,
                workers=len(self.grpc),
                grpc=endpoint,
                redis=self.redis_url,
                data_dir=str(self.data_dir),
                policy=tuple(str(p.resolve()) for p in self.plan.policy),
                prices=tuple(str(p.resolve()) for p in self.plan.prices),
                config=str(self.plan.config.resolve()) if self.plan.config else "",
                upstreams=tuple(u.model_dump() for u in self.plan.settings.upstreams),
                cluster=self.cluster,
            )
            child = Child(
                f"worker-{i}",
                [sys.executable, "-m", "spendgate.gateway.process.worker"],
                self._log_path(f"worker-{i}"),
                {
                    ENVIRONMENT: config.to_json(),
                    "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_dir),
                    "MALLOC_ARENA_MAX": "1",
                },  # before any thread is (`worker.keep_memory`)
                silence_s(self.plan.settings.message_timeout),
            )
            child.start()
            self.workers.append(child)

    def _log_path(self, name: str) -> Path | None:
        return self.data_dir / "log" / f"{name}.log" if self.plan.settings.log_to == "files" else None

    async def _start_admin(self, gauges: BudgetGauges, keeper: Checkpointer, job: RebuildJob | None) -> None:
        assert self.ledger is not None
        make = self._make_console
        pages = make(self.ledger, lambda: self.snapshot) if make is not None else None
        collectors: list[Collector] = [keeper, Replica(lambda: self.snapshot.policy)]
        if job is not None:
            collectors.append(job)
        counters = EnvoyCounters(str(self.run_dir / "envoy.sock")) if self.listen else None
        if counters is not None:
            collectors.append(counters)
        refresh = counters.refresh if counters is not None else None
        app = application(gauges, self.metrics_dir, self.not_ready, collectors, pages, refresh, self.ledger)
        config = uvicorn.Config(
            app, host=self.admin_host, port=self.admin_port, log_level="error", lifespan="off", ws="none"
        )
        self._http = uvicorn.Server(config)
        # the signals are ours: uvicorn must not take them
        self._http.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        self._pages = asyncio.create_task(self._http.serve())

    def _rebuild_job(self, keeper: Checkpointer, alerting: Alerting | None) -> RebuildJob:
        """After a loss: from our own usage log, and from Prometheus where one is named."""
        assert self.ledger is not None
        read, path = self.plan.records, Path(self.usage_path)
        records: Records | None = None
        if read is not None and self.usage_path not in ("-", "off"):

            def records(since_ms: int) -> Iterable[Settlement]:
                if not path.exists():
                    return ()
                return read((path,), self.snapshot.policy, since_ms, keeper.pulse.ahead_ms)

        return RebuildJob(
            keeper,
            self.ledger,
            lambda: self.snapshot.policy,
            self.plan.settings.prometheus,
            records,
            tell=alerting.tell if alerting is not None and self._senders else None,
        )

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            for child in self._children():
                if not child.alive():
                    raise SpendgateError(f"{child.name} did not start; its log ends with:\n{child.tail()}")
            if await self._all_there():
                return
            if time.monotonic() > deadline:
                raise SpendgateError(
                    f"not ready after {START_S:.0f} s; see the logs in {self.data_dir / 'log'}"
                )
            await asyncio.sleep(0.05)

    async def _all_there(self) -> bool:
        """Is each worker asked, and the door open? Without an Envoy of ours: could each be asked?"""
        if self.front is None:
            return all([await accepts(endpoint) for endpoint in self.grpc])
        await self.front.look(len(self.grpc))
        return await self.front.is_open()

    def knows_policy(self) -> bool:
        """Is there a policy to decide by? In a cluster it comes from Redis, or from the last run's disk."""
        return self.sources.cluster is None or self.sources.cluster.known

    async def not_ready(self) -> list[str]:
        """What does not run or serve at the moment; workers are asked as Envoy asks them."""
        missing = [c.name for c in self._children() if not c.alive()]
        missing += [f"gRPC {endpoint}" for endpoint in await self._health.unhealthy()]
        if self.redis is not None and not self.redis.alive():
            missing.append("redis")
        if self.front is not None and not await self.front.is_open():
            missing.append("the listener")
        if not self.knows_policy():
            missing.append(f"policy (neither Redis nor {self.data_dir / POLICY_FILE} has one)")
        if not self._serving:
            missing.append("starting or stopping")
        return missing

    def _children(self) -> list[Child]:
        return [*self.workers, *([self.front.child] if self.front is not None else [])]

    async def _hurry_workers(self) -> None:
        await self._hurry.wait()
        for worker in self.workers:
            worker.signal()

    # -- watch ----------------------------------------------------------------------------------------------

    async def watch(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Start again what dies, until `stop` is set. `ready` is called once, when requests are decided."""
        waiting = True
        while not stop.is_set():
            # in a cluster each worker looks for the policy by itself
            if waiting and self.knows_policy() and not (self.cluster and await self._health.unhealthy()):
                waiting = False
                ready()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_S)
            if self.front is not None:
                await self.front.look()
            for worker in self.workers:
                if dead := worker.revive():
                    mark_process_dead(dead, str(self.metrics_dir))  # type: ignore[no-untyped-call]
            if self.redis is not None:
                try:
                    if self.redis.restart_if_dead():
                        log.error("redis_restarted", pid=self.redis.pid)
                except SpendgateError as problem:
                    log.critical("redis_restart_failed", error=str(problem))
                    await asyncio.sleep(1)
            for task in (*self._tasks, *([self._pages] if self._pages is not None else [])):
                if task.done() and not task.cancelled() and task.exception() is not None:
                    raise SpendgateError(f"internal: {task.exception()!r}")

    def hurry(self) -> None:
        """Do not wait for calls in flight any longer; what they leave behind is charged."""
        self._hurry.set()

    # -- stop -----------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End everything in order: no new requests, let those in flight end, settle, then the store."""
        self._serving = False
        drain_s = self.plan.settings.drain_timeout / 1000
        if self.front is not None:
            if not await self.front.drain(drain_s, self._hurry):
                for worker in self.workers:
                    worker.signal(LEFT_BEHIND)
            self.front.child.signal()
            await asyncio.to_thread(self.front.child.wait, 10.0)
        for worker in self.workers:
            worker.signal()
        hurrying = asyncio.create_task(self._hurry_workers())
        waits = (asyncio.to_thread(w.wait, max(drain_s, STAYS_S) + 15.0) for w in self.workers)
        await asyncio.gather(*waits)
        await cancel_and_wait(hurrying)
        if self._http is not None:
            self._http.should_exit = True
        await cancel_and_wait(*self._tasks)
        if self._pages is not None:
            await asyncio.gather(self._pages, return_exceptions=True)
        await self._health.close()
        if self.ledger is not None:
            await self.ledger.close()
        if self.redis is not None:
            self.redis.stop()
        state.remove(self.data_dir)
        shutil.rmtree(self.run_dir, ignore_errors=True)
