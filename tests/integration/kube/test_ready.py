"""`Ready` is what the gateways say, on a real API server, with a real `spendgate serve`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kube import ROOT, Cluster
from support.ports import free_port
from support.processes import Command, until
from support.tcp_proxy import TcpProxy

from .conftest import Start, await_status, budget, condition


@pytest.fixture
def proxy(redis_url: str) -> Iterator[TcpProxy]:
    made = TcpProxy(redis_url.removeprefix("unix://"))
    yield made
    made.close()


@pytest.fixture
def gateway(proxy: TcpProxy, tmp_path: Path) -> Iterator[Command]:
    """A gateway whose way to Redis can be cut."""
    made = Command(
        tmp_path / "serve",
        ["serve", "--grpc", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}",
         "--redis", f"redis://127.0.0.1:{proxy.port}/0", "--data-dir", str(tmp_path / "data")],
    )  # fmt: skip
    until(lambda: made.stdout + made.stderr, lambda x: "ready:" in x or "no_policy" in x, "serve", 60)
    yield made
    made.stop()


def ready(status: dict[str, Any]) -> tuple[str, str, int]:
    found = condition(status, "Ready")
    return found.get("status", ""), found.get("reason", ""), found.get("observedGeneration", 0)


def test_ready_waits_for_the_gateways(
    cluster: Cluster, start: Start, proxy: TcpProxy, gateway: Command
) -> None:
    start(RECONCILE_INTERVAL="30s")
    cluster.apply(budget("search", 5000))
    await_status(cluster, "search", lambda s: ready(s) == ("True", "Enforced", 1), "Enforced")
    proxy.cut()
    cluster.apply(budget("search", 0))
    behind = await_status(cluster, "search", lambda s: ready(s)[2] == 2, "an answer to the edit")
    assert ready(behind) == ("False", "GatewaysBehind", 2), "its last word is not 15 s old"
    proxy.heal()
    await_status(cluster, "search", lambda s: ready(s) == ("True", "Enforced", 2), "Enforced again")
    gateway.stop()
    await_status(cluster, "search", lambda s: ready(s) == ("Unknown", "NoGateway", 2), "NoGateway")


def test_statuses_that_are_refused_are_counted_and_not_hammered(cluster: Cluster, start: Start) -> None:
    cluster.kubectl(
        "patch",
        "clusterrole",
        "llm-budget-controller",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/rules/1"}]',
    )
    try:
        cluster.apply(*(budget(f"t{n}", 10) for n in range(10)))
        replica = start()
        until(
            lambda: replica.metric('spendgate_status_errors_total{reason="Forbidden"}'),
            lambda n: n >= 20, "refusals", 60,
        )  # fmt: skip
        assert replica.metric("spendgate_status_patches_total") == 0
        lines = [x["again_in_s"] for x in replica.said("status_refused")]
        assert max(lines) >= 3
    finally:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "k8s" / "base"))
    await_status(cluster, "t3", lambda s: bool(s.get("phase")), "a status")
