"""One real API server on a real etcd for all tests here, and controllers as processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis
import yaml
from support.fake_slack import FakeSlack
from support.kube import ROOT, Cluster, binaries, environment
from support.ports import free_port
from support.processes import SPENDGATE, until
from support.tcp_proxy import TcpProxy

from spendgate.ledger.redis.embedded import EmbeddedRedis

LEASE = "llm-budget-controller"
WAIT_S = 60.0


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test may have to wait until an API server is compiled."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("kube"), *binaries())
    try:
        cluster.start()
        cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "k8s" / "base"))
        cluster.established()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def pristine(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own, with nothing of ours in it."""
    cluster = Cluster(tmp_path / "kube", *binaries())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """The cluster without any budget, Lease or event of a test before."""
    running.kubectl("delete", "llmbudgets", "-A", "--all")
    running.kubectl("delete", "lease", "-n", "llm-gateway", LEASE, "--ignore-not-found")
    running.kubectl("delete", "configmap", "-n", "llm-gateway", "spendgate-policy", "--ignore-not-found")
    namespaces = running.kubectl("get", "events", "-A", "-o", "jsonpath={.items[*].metadata.namespace}")
    for namespace in set(namespaces.split()):  # all at once: kubectl would delete and await each by itself
        running.kubectl("delete", "--raw", f"/api/v1/namespaces/{namespace}/events")
    for namespace in ("ml-platform", "other"):
        running.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return running


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """An empty Redis."""
    client = sync_redis.Redis.from_url(redis_server.url)
    client.flushall()
    client.close()
    return redis_server.url


def proxied(cluster: Cluster, folder: Path, proxy: TcpProxy) -> str:
    """A kubeconfig of the controller's that goes through a proxy."""
    config = yaml.safe_load(cluster.kubeconfig("controller").read_text())
    config["clusters"][0]["cluster"] = {
        "server": f"https://127.0.0.1:{proxy.port}",
        "certificate-authority": str(cluster.folder / "tls.crt"),
    }
    path = folder / f"proxied-{proxy.port}.kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


@pytest.fixture
def api_proxy(cluster: Cluster, tmp_path: Path) -> tuple[TcpProxy, str]:
    """A way to the API server that can be cut, and a kubeconfig that goes it."""
    proxy = TcpProxy(("127.0.0.1", cluster.port))
    return proxy, proxied(cluster, tmp_path, proxy)


class Replica:
    """One controller process."""

    def __init__(self, cluster: Cluster, folder: Path, name: str, redis_url: str, **env: str) -> None:
        self.name = name
        self.http, self.metrics_port = free_port(), free_port()
        self._log = folder / f"{name}.log"
        variables = environment(
            KUBECONFIG=str(cluster.kubeconfig("controller")),
            REDIS_URL=redis_url,
            POD_NAME=name,
            POD_NAMESPACE="llm-gateway",
            SPENDGATE_HTTP=f"127.0.0.1:{self.http}",
            SPENDGATE_METRICS=f"127.0.0.1:{self.metrics_port}",
            RECONCILE_INTERVAL="1s",
        )
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [SPENDGATE, "controller"], env=variables | env, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(x) for x in self._log.read_text().splitlines() if x.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        return [x for x in self.lines if x["event"] == event]

    def page(self, path: str, port: int = 0) -> tuple[int, str]:
        """Status and body of a page; (0, "") where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.http}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def metric(self, series: str) -> float:
        """One series of /metrics, 0 where it is not there."""
        for line in self.page("/metrics", self.metrics_port)[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0

    def ready(self) -> Replica:
        """Wait for /readyz."""
        until(lambda: self.page("/readyz")[0], lambda s: s == 200, f"{self.name} ready", WAIT_S)
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, and only to it."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it as Kubernetes does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class SlackThread:
    """The fake Slack, served beside the test."""

    def __init__(self) -> None:
        self.slack = FakeSlack()
        self._loop = asyncio.new_event_loop()
        begun = threading.Event()

        async def run() -> None:
            self._stop = asyncio.Event()
            async with self.slack:
                begun.set()
                await self._stop.wait()

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(run()), daemon=True)
        self._thread.start()
        assert begun.wait(30)

    def about(self, team: str) -> list[str]:
        """Posts that name a team, in order."""
        return [text for text in self.slack.texts if team in text]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()


@pytest.fixture
def slack() -> Iterator[SlackThread]:
    made = SlackThread()
    yield made
    made.close()


def begun(redis_url: str) -> bool:
    """Has the first look for crossings been taken on this Redis? What is crossed from now on is told."""
    with sync_redis.Redis.from_url(redis_url) as client:
        return bool(client.get("sg1:alerts") == b"ready")


Start = Callable[..., Replica]


@pytest.fixture
def start(cluster: Cluster, redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts controllers; all end with the test."""
    made: list[Replica] = []

    def one(name: str = "ctl-a", url: str = "", wait: bool = True, **env: str) -> Replica:
        made.append(Replica(cluster, tmp_path, name, url or redis_url, **env))
        return made[-1].ready() if wait else made[-1]

    yield one
    for replica in made:
        replica.stop()


def budget(
    team: str, usd: float = 100, name: str = "", namespace: str = "ml-platform", **spec: Any
) -> dict[str, Any]:
    """An LLMBudget."""
    return {
        "apiVersion": "ai.systemhardening.com/v1",
        "kind": "LLMBudget",
        "metadata": {"name": name or team, "namespace": namespace},
        "spec": {"team": team, "monthlyBudgetUSD": usd, **spec},
    }


def status_of(cluster: Cluster, name: str, namespace: str = "ml-platform") -> dict[str, Any]:
    """The status, empty where there is none."""
    path = f"/apis/ai.systemhardening.com/v1/namespaces/{namespace}/llmbudgets/{name}"
    found: dict[str, Any] = cluster.read(path).get("status", {})
    return found


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition, empty where it is not there."""
    return next((c for c in status.get("conditions", ()) if c["type"] == kind), {})


def holder(cluster: Cluster) -> str:
    """Who holds the Lease, by pod name; "" for nobody."""
    leases = cluster.read("/apis/coordination.k8s.io/v1/namespaces/llm-gateway/leases")["items"]
    return (leases[0]["spec"].get("holderIdentity") or "").rpartition("_")[0] if leases else ""


def await_status(
    cluster: Cluster,
    name: str,
    good: Callable[[dict[str, Any]], bool],
    what: str,
    namespace: str = "ml-platform",
) -> dict[str, Any]:
    """Wait for a status."""
    return until(lambda: status_of(cluster, name, namespace), good, f"{what} of {name}", WAIT_S)


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))
