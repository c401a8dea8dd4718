"""kubectl apply → controller → Redis → `spendgate serve` → a real Envoy: what a client meets."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support.kube import Cluster
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.provider import Provider

from spendgate.supervisor.front import envoy_binary

from .conftest import Start, await_status, budget


@dataclass
class Mesh:
    """A production gateway behind an Envoy of its own."""

    folder: Path
    provider: Provider
    envoy_port: int
    grpc_port: int
    redis_url: str
    gateway: Command | None = None

    def start_gateway(self, redis_url: str = "") -> None:
        """Start `spendgate serve` (again), on the same data dir."""
        self.gateway = Command(
            self.folder / "serve",
            ["serve", "--grpc", f"127.0.0.1:{self.grpc_port}", "--admin", f"127.0.0.1:{free_port()}",
             "--redis", redis_url or self.redis_url, "--data-dir", str(self.folder / "data")],
        )  # fmt: skip
        gateway = self.gateway
        # it is ready when the controller has written a policy
        marks = ("ready:", "no_policy")
        until(lambda: gateway.stdout + gateway.stderr, lambda x: any(m in x for m in marks), "serve", 60)

    def ask(self, team: str) -> int:
        """One chat completion; its status (0: no connection)."""
        try:
            return httpx.post(
                f"http://127.0.0.1:{self.envoy_port}/v1/chat/completions",
                headers={"x-llm-team": team, "x-llm-app": "app"},
                json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
                timeout=30, trust_env=False,
            ).status_code  # fmt: skip
        except httpx.HTTPError:
            return 0

    def until_answers(self, team: str, status: int, what: str) -> None:
        until(lambda: self.ask(team), lambda s: s == status, what, 60.0)


@pytest.fixture
def mesh(tmp_path: Path, redis_url: str) -> Iterator[Mesh]:
    with Provider(tmp_path / "provider") as provider:
        made = Mesh(tmp_path, provider, free_port(), free_port(), redis_url)
        bootstrap = subprocess.run(
            [SPENDGATE, "render", "bootstrap", "--listen", f"127.0.0.1:{made.envoy_port}",
             "--upstream", provider.url, "--grpc", f"127.0.0.1:{made.grpc_port}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        (tmp_path / "envoy.yaml").write_text(bootstrap.stdout)
        made.start_gateway()
        with (tmp_path / "envoy.log").open("wb") as log:
            envoy = subprocess.Popen(
                [envoy_binary(), "-c", str(tmp_path / "envoy.yaml"), "--use-dynamic-base-id", "-l", "warning"],
                stdout=log, stderr=log, env=dict(os.environ),
            )  # fmt: skip
        try:
            made.until_answers("nobody-in-particular", 200, "a first answer through Envoy")
            yield made
        finally:
            envoy.terminate()
            envoy.wait(30)
            if made.gateway is not None:
                made.gateway.stop()


def test_a_budget_bites_when_it_is_applied_and_a_raise_lets_the_next_request_pass(
    cluster: Cluster, start: Start, mesh: Mesh
) -> None:
    start()
    cluster.apply(budget("search", 0))
    mesh.until_answers("search", 429, "the refusal")
    assert mesh.ask("another") == 200
    cluster.apply(budget("search", 50))
    mesh.until_answers("search", 200, "the raise")
    await_status(
        cluster, "search", lambda s: s.get("currentSpendUSD", 0) > 0 and s["phase"] == "Ready", "live spend"
    )
    cluster.kubectl("delete", "lb", "search", "-n", "ml-platform")
    assert mesh.ask("search") == 200


def test_a_team_whose_only_budget_lost_its_right_is_refused_and_not_let_go(
    cluster: Cluster, start: Start, mesh: Mesh
) -> None:
    cluster.apply(budget("search", 50), budget("payments", 0, name="squatter"))
    start(SPENDGATE_OWNERSHIP="strict")
    await_status(cluster, "squatter", lambda s: s.get("phase") == "NotOwner", "NotOwner")
    assert mesh.ask("payments") == 200
    cluster.kubectl("annotate", "namespace", "ml-platform", "ai.systemhardening.com/llm-teams=search")
    try:
        await_status(cluster, "search", lambda s: s.get("enforcedGeneration") == 1, "the grant")
        assert mesh.ask("search") == 200
    finally:
        cluster.kubectl("annotate", "namespace", "ml-platform", "ai.systemhardening.com/llm-teams-")
    mesh.until_answers("search", 429, "the refusal")
    assert mesh.ask("payments") == 200


def test_with_both_controllers_dead_gateways_go_on_over_restarts_and_changes_apply_with_their_return(
    cluster: Cluster, start: Start, mesh: Mesh
) -> None:
    controllers = [start("ctl-a"), start("ctl-b")]
    cluster.apply(budget("search", 0, failurePolicy="closed"), budget("chat", 50))
    mesh.until_answers("search", 429, "the refusal")
    for controller in controllers:
        controller.signal(signal.SIGKILL)
        controller.process.wait()
    cluster.apply(budget("search", 50), budget("chat", 0))
    for redis_url in ("", "redis://127.0.0.1:1/0", ""):  # the second start: Redis is away as well
        assert mesh.gateway is not None
        assert mesh.gateway.stop() == 0
        mesh.start_gateway(redis_url)
        mesh.until_answers("search", 429, "the refusal after a restart")
    assert mesh.ask("chat") == 200
    begun = time.monotonic()
    start("ctl-c")
    mesh.until_answers("search", 200, "the raise made meanwhile")
    mesh.until_answers("chat", 429, "the cut made meanwhile")
    print(f"changes in force {time.monotonic() - begun:.1f} s after the start of a controller")
