"""One worker process: a gRPC server with ext_proc, ext_authz, access log and health on an endpoint of its own.

Started by the supervisor as `python -m spendgate.gateway.process.worker` with its WorkerConfig as JSON in the
environment. SIGTERM drains: health says NOT_SERVING, calls in flight get `drain_timeout` (a second SIGTERM ends it),
then everything is settled.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import Coroutine
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from prometheus_client import CollectorRegistry, values

from spendgate.budget.policy import Policy
from spendgate.errors import ConfigurationError, LedgerUnavailable
from spendgate.gateway.adapters.access_log import AccessLog
from spendgate.gateway.ledger_watch import LedgerWatch
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.process import leaving
from spendgate.gateway.process.heartbeat import beat_forever
from spendgate.gateway.process.learned_file import FILE as LEARNED_FILE
from spendgate.gateway.process.learned_file import LearnedFile
from spendgate.gateway.process.reload import Sources, watch
from spendgate.gateway.process.serving import Serving
from spendgate.gateway.runtime import Runtime
from spendgate.gateway.settler import Settler
from spendgate.ledger.recovery.checkpoint import FILE as MEMORY_FILE
from spendgate.ledger.recovery.resend import RecentSettlements
from spendgate.ledger.redis import url
from spendgate.ledger.redis.handed_over import Words
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.redis.shared_secret import read_or_make
from spendgate.ledger.spool.spool import Spool
from spendgate.policy.source import POLICY_FILE, PolicyMetrics, RedisPolicySource
from spendgate.records.otlp_exporter import OtlpExporter
from spendgate.records.writer import UsageLog
from spendgate.settings import logs
from spendgate.settings.config import Upstream, load_config
from spendgate.tasks import cancel_and_wait
from spendgate.tokens.count import count
from spendgate.values import dataclass

ENVIRONMENT = "SPENDGATE_WORKER_CONFIG"
LEFT_BEHIND = signal.SIGUSR1
"""Tells a worker that the Envoy before it is ended, with the calls that it still has."""
SERVING = health_pb2.HealthCheckResponse.SERVING
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
SECRET_S, SECRET_EVERY_S = 1.0, 10.0
SWITCH_S = 0.001
"""After so long the thread that reads long bodies gives the interpreter's lock to the event loop, if that wants it; by
default after five times as long."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What the supervisor tells a worker."""

    index: int
    grpc: str
    redis: str
    data_dir: str
    policy: tuple[str, ...] = ()
    prices: tuple[str, ...] = ()
    config: str = ""
    upstreams: tuple[dict[str, object], ...] = ()
    workers: int = 1
    """How many workers make up this replica: they share its fail-open allowance."""
    cluster: bool = False
    """The policy is the controller's, from Redis."""

    def to_json(self) -> str:
        """As the environment carries it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerConfig:
        """Read it back."""
        fields = json.loads(text)
        for key in ("policy", "prices", "upstreams"):
            fields[key] = tuple(fields[key])
        return cls(**fields)

    def sources(self) -> Sources:
        """The files that this worker serves by."""
        settings = load_config(Path(self.config) if self.config else None, os.environ)
        if self.upstreams:
            # not validated anew: the durations are milliseconds by now, and would be read as seconds
            upstreams = tuple(Upstream.model_validate(u) for u in self.upstreams)
            settings = settings.model_copy(update={"upstreams": upstreams})
        return Sources(tuple(map(Path, self.policy)), tuple(map(Path, self.prices)), settings)


async def serve(config: WorkerConfig) -> None:
    """Run until SIGTERM or SIGINT; return when everything is settled."""
    sources = config.sources()
    settings = sources.settings
    logs.configure(settings.log_level, worker=config.index)
    registry = CollectorRegistry()
    metrics = Metrics(registry, settings.max_label_values)
    data_dir = Path(config.data_dir)
    cluster: RedisPolicySource | None = None
    if config.cluster:
        own = data_dir / POLICY_FILE
        name = f"{socket.gethostname()}/{config.index}/{uuid.uuid4().hex[:8]}"
        cluster = RedisPolicySource(
            config.redis, own, PolicyMetrics(registry), settings.policy_snapshot, name
        )
        await cluster.first()
        sources = replace(sources, cluster=cluster)
    signature = sources.signature()
    snapshot = sources.load()
    count("warm")  # the ranks load here, not in the first request
    ledger = RedisLedger.from_url(config.redis, settings.ledger_timeout / 1000)
    spool = Spool(data_dir / "spool", f"worker-{config.index}")
    otlp = OtlpExporter(settings.otlp_endpoint, metrics.otlp_dropped.inc) if settings.otlp_endpoint else None
    usage_log = UsageLog(
        settings.usage_log or str(data_dir / "usage.jsonl"),
        settings.rotation(),
        also=otlp.put if otlp else None,
    )
    recent = RecentSettlements()
    settler = Settler(ledger, spool, recent, usage_log, metrics)
    runtime = Runtime(snapshot, ledger, settler, metrics, config.workers)

    async def when_lost() -> None:
        metrics.ledger_lost.inc()
        recent.ledger_lost()
        settler.hurry()
        await runtime.hold_again()

    runtime.knows_policy = cluster is None or cluster.known
    healthy = health.HealthServicer()
    standing = LedgerWatch(ledger, data_dir / MEMORY_FILE, when_lost)
    settler.clock_us = standing.pulse.ledger_us
    runtime.standing = standing
    runtime.left.elsewhere = Words(ledger.calls)

    def apply(fresh: Any) -> None:
        runtime.snapshot = fresh

    def apply_policy(policy: Policy) -> None:
        runtime.snapshot = replace(runtime.snapshot, policy=policy)
        if not runtime.knows_policy:
            runtime.knows_policy = True
            runtime.keep(asyncio.ensure_future(healthy.set("", SERVING)))

    access_log = AccessLog(runtime)
    serving = Serving(settings, runtime, access_log, healthy)
    serving.bind(config.grpc)
    settling = asyncio.create_task(settler.run())
    exporting = asyncio.create_task(otlp.run()) if otlp else None
    keeping = url.client(config.redis, SECRET_S)
    runtime.secret = await secret_of(keeping)
    helpers = [
        _forever(keep_secret(keeping, runtime)),
        _forever(runtime.renew_forever()),
        _forever(standing.run_forever()),
        _forever(runtime.watch_forever()),
        _forever(LearnedFile(data_dir / LEARNED_FILE, runtime.learned).share_forever()),
        _forever(watch(sources, signature, apply, metrics.reload_errors.inc)),
    ]
    if cluster is not None:
        helpers.append(_forever(cluster.run(apply_policy)))
    beating = _forever(beat_forever(os.environ, settings.message_timeout))
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector need not walk the price table again and again
    gc.set_threshold(20_000, 20, 50)
    await serving.start()
    await healthy.set("", SERVING if runtime.knows_policy else health_pb2.HealthCheckResponse.NOT_SERVING)
    log.info("serving", grpc=config.grpc, engine=serving.engine, policy=snapshot.policy.version[:12])

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    loop.add_signal_handler(LEFT_BEHIND, lambda: setattr(runtime, "draining", True))
    await stop.wait()
    stop.clear()  # told again, it waits for nobody any more

    await healthy.enter_graceful_shutdown()
    await access_log.drain()
    await leaving.stop(serving.server, runtime, settings.drain_timeout / 1000, stop)
    await asyncio.sleep(0.05)  # cancelled calls hand their endings over
    await cancel_and_wait(*helpers)
    runtime.left.flush()
    settler.close()
    await settling
    metrics.flush()
    if otlp is not None and exporting is not None:
        otlp.close()
        await exporting
    spool.close()
    usage_log.close()
    await ledger.close()
    await keeping.aclose()
    await cancel_and_wait(beating)
    log.info("stopped")


async def secret_of(client: Any) -> bytes:
    """What the gateways of the ledger share; b"" while it does not answer."""
    try:
        async with asyncio.timeout(SECRET_S):
            return await read_or_make(client)
    except (LedgerUnavailable, TimeoutError) as problem:
        log.warning("secret_unknown", error=str(problem))
        return b""


async def keep_secret(client: Any, runtime: Runtime) -> None:
    """Look whether it is still the same: a ledger that lost it gets another."""
    while True:
        await asyncio.sleep(SECRET_EVERY_S if runtime.secret else 1.0)
        runtime.secret = await secret_of(client) or runtime.secret


def _forever(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a helper for good; should it end by a fault, that is logged and the process ends: a worker
    without renewals or reloads must not look healthy."""
    task = asyncio.create_task(coroutine)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() is not None:
            log.critical("helper_failed", error=repr(done.exception()), exc_info=done.exception())
            os.kill(os.getpid(), signal.SIGTERM)

    task.add_done_callback(ended)
    return task


def keep_memory() -> None:
    """Keep what a long body took for the next one: glibc else asks the system for it anew each time, page by page, and
    those faults cost more than reading the body (2 MB: 1,000 pages, 1.5 of 2.1 ms). One heap for all threads, which
    take turns anyway, has the least of it lie idle; what is free at its end beyond 256 MiB goes back. (A parser asks
    for twelve bytes a byte, and touches two.)"""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's own
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 256 * 1024 * 1024)
        mallopt(_M_ARENA_MAX, 1)


def know_own_pid() -> None:
    """Counters in shared files are a process's own; prometheus_client asks the system who it is at each addition."""
    pid = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: pid)  # type: ignore[no-untyped-call]


def main() -> None:
    """Entry of the process."""
    import uvloop

    know_own_pid()
    keep_memory()
    sys.setswitchinterval(SWITCH_S)
    config = WorkerConfig.from_json(os.environ[ENVIRONMENT])
    try:
        uvloop.run(serve(config))
    except ConfigurationError as e:
        print(f"spendgate worker {config.index}: {e}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
