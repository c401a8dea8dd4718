"""What is measured side by side: Envoy alone, Envoy with a Python processor that does nothing, on each gRPC engine, and
spendgate on each engine; one worker each (and once the two that `up` starts on two cores), before one upstream. And the
CPU time of their processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from ledger import KINDS
from load import closed_loop, request_bytes

from spendgate.budget.model import API_VERSION, KIND

HERE = Path(__file__).parent
SPENDGATE = Path(sys.executable).parent / "spendgate"
ENVOY = Path(sys.executable).parent / "envoy"
SOCKET = "processor.sock"
READY_S = 180.0


@dataclass(frozen=True)
class Target:
    """One way through an Envoy. `kind`: `envoy` (alone), `no-op`, `spendgate` or `lean` (it, with `--lean`)."""

    kind: str
    engine: str = ""
    workers: int = 1
    teams: int = 1
    limits: int = 0
    """So many in each team's budget."""

    @property
    def name(self) -> str:
        """As tables and results show it."""
        many = f" {self.workers} workers" if self.workers > 1 else ""
        if self.limits:
            many += f" {self.teams} team{'s' * (self.teams > 1)} x {self.limits} limits"
        return f"{self.kind} {self.engine}{many}".strip()

    @property
    def is_ours(self) -> bool:
        """Is it a whole gateway, which brings its own Envoy?"""
        return self.kind in ("spendgate", "lean")


BASE = Target("envoy")
YARDSTICK = Target("no-op", "grpcio")
TARGETS = (
    BASE,
    YARDSTICK,
    Target("no-op", "ngh2"),
    Target("spendgate", "ngh2"),
    Target("spendgate", "ngh2", workers=2),
    Target("lean", "ngh2"),
    Target("spendgate", "h2"),
    Target("spendgate", "grpcio"),
)
CROWDS = tuple(Target("spendgate", "ngh2", teams=n, limits=20) for n in (1, 100, 1_000))
"""As teams and their limits grow."""


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def cpu_ns(pids: list[int]) -> int:
    """CPU time of processes, all their threads, in nanoseconds."""
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:
                continue  # a thread that has just ended
    return total


def budgets(target: Target) -> list[dict[str, Any]]:
    """The documents of a target's policy: the team `bench`, and those with limits, if there are any."""
    crowd = [f"team-{n}" for n in range(target.teams)] if target.limits else []
    limits = KINDS[: target.limits]
    specs = [{"team": "bench"}, *({"team": team, "limits": limits} for team in crowd)]
    return [
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": spec["team"]},
            "spec": {"monthlyBudgetUSD": 1_000_000, **spec},
        }
        for spec in specs
    ]


class Lab:
    """All targets, running."""

    def __init__(self, folder: Path, targets: tuple[Target, ...]) -> None:
        self.folder = folder
        self.targets = targets
        self.ports = {t: free_port() for t in targets}
        self.upstream = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the upstream, the processors, their Envoys (spendgate brings its own)."""
        self._run("upstream", [sys.executable, str(HERE / "upstream.py"), str(self.upstream)])
        for target in self.targets:
            if target.is_ours:
                self._start_spendgate(target)
                continue
            home = self.folder / target.name.replace(" ", "-")
            home.mkdir()
            if target.kind == "no-op":
                argv = [sys.executable, str(HERE / "noop.py"), target.engine, f"unix:{home / SOCKET}"]
                self._run(f"{target.name} processor", argv)
            path = home / "envoy.yaml"
            path.write_text(self._bootstrap(target, home))
            self._run(target.name, [str(ENVOY), "-c", str(path), "--use-dynamic-base-id", "-l", "error"])

    def _bootstrap(self, target: Target, home: Path) -> str:
        rendered = subprocess.run(
            [SPENDGATE, "render", "bootstrap", "--listen", f"127.0.0.1:{self.ports[target]}",
             "--upstream", f"http://127.0.0.1:{self.upstream}", "--grpc", f"unix:{home / SOCKET}"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        config = yaml.safe_load(rendered)
        resources = config["static_resources"]
        [chain] = resources["listeners"][0]["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        # the no-op takes no access log
        manager.pop("access_log", None)
        manager["http_filters"][-1]["typed_config"].pop("upstream_log", None)
        if target.kind == "envoy":
            manager["http_filters"] = manager["http_filters"][1:]
            for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
                route.pop("typed_per_filter_config", None)
            resources["clusters"] = [c for c in resources["clusters"] if c["name"] != "spendgate"]
        return yaml.safe_dump(config)

    def _start_spendgate(self, target: Target) -> None:
        name = target.name.replace(" ", "-")
        policy = self.folder / f"policy-{name}.yaml"
        policy.write_text(yaml.safe_dump_all(budgets(target)))
        self._run(
            target.name,
            [str(SPENDGATE), "up", "--quiet", "--workers", str(target.workers), "--policy", str(policy),
             *(["--lean"] if target.kind == "lean" else []),
             "--upstream", f"http://127.0.0.1:{self.upstream}", "--listen", f"127.0.0.1:{self.ports[target]}",
             "--admin", f"127.0.0.1:{free_port()}", "--data-dir", str(self.folder / f"data-{name}")],
            {"SPENDGATE_GRPC_ENGINE": target.engine},
        )  # fmt: skip

    def _run(self, name: str, argv: list[str], more: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            env = {**os.environ, **(more or {})}
            self._processes[name] = subprocess.Popen(argv, stdout=log, stderr=log, env=env)

    async def until_ready(self) -> None:
        """Wait until all answer through their whole chain."""
        request = request_bytes("/v1/chat/completions", b'{"model":"gpt-4o","max_tokens":9,"messages":[]}')
        deadline = time.monotonic() + READY_S
        for target in self.targets:
            while time.monotonic() < deadline:
                try:
                    if (await closed_loop(self.ports[target], request, 1, 0.1)).statuses.get(200):
                        break
                except OSError:
                    await asyncio.sleep(0.1)
            else:
                log = (self.folder / f"{target.name}.log").read_text()
                raise SystemExit(f"{target.name} does not answer: {log[-800:]}")
        await asyncio.sleep(2)  # health checks, warm caches

    def pids(self, target: Target) -> dict[str, list[int]]:
        """The processes of a target by what they do: `processor`, `envoy`, `redis`, `up`."""
        parent = psutil.Process(self._processes[target.name].pid)
        if not target.is_ours:
            out = {"envoy": [parent.pid]}
            if target.kind == "no-op":
                out["processor"] = [self._processes[f"{target.name} processor"].pid]
            return out
        out = {"up": [parent.pid]}
        for child in parent.children(recursive=True):
            line = " ".join(child.cmdline())
            kind = (
                "redis" if "redis" in child.name() else "processor" if "process.worker" in line else "envoy"
            )
            out.setdefault(kind, []).append(child.pid)
        return out

    def listens(self, target: Target) -> tuple[str, int]:
        """The socket of a target's processor, and its process."""
        [pid] = self.pids(target)["processor"]
        unix = psutil.Process(pid).net_connections(kind="unix")
        return next(c.laddr for c in unix if str(c.laddr).endswith(".sock")), pid

    def memory_mb(self, target: Target) -> float:
        """Resident memory of the processor."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids(target)["processor"]) / 1e6

    def stop(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
