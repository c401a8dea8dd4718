"""The component redis-ha: its script and configuration make three Redis and three sentinels, here on three
addresses of the loopback; the ledger goes on after the master's death, and the dead one comes back as a replica."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from support.manifests import K8S, documents
from support.ports import free_port
from support.processes import program, until

from spendgate.ledger.redis.embedded import find_redis_server
from spendgate.ledger.redis.url import parse

NODES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
OVERLAY = "overlays/istio-ha"


def pod() -> dict[str, Any]:
    [found] = [d for d in documents(OVERLAY) if d["kind"] == "StatefulSet"]
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


class Pods:
    """What the kubelet would run for the StatefulSet's pods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.sentinel = free_port(), free_port()
        self.running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        [init] = pod()["initContainers"]
        assert init["command"] == ["sh", "/etc/redis-ha/start.sh"]
        names = {e["name"] for e in init["env"]}
        assert names == {"NODES", "POD_NAME", "SELF"}
        self.commands = {c["name"]: c["command"] for c in pod()["containers"]}

    def start(self, node: str) -> None:
        """The init container, then both containers."""
        data, run = self.folder / node / "data", self.folder / node / "run"
        for path in (data, run):
            path.mkdir(parents=True, exist_ok=True)
        config = self.folder / node / "given.conf"
        text = (K8S / "components/redis/redis.conf").read_text()
        config.write_text(text.replace("bind * -::*", f"bind {node}").replace("dir /data", f"dir {data}"))
        tools = f"{Path(program('redis-cli')).parent}:{os.environ['PATH']}"
        subprocess.run(
            ["sh", str(K8S / "components/redis-ha/start.sh")], check=True, timeout=60,
            env={"PATH": tools, "NODES": " ".join(NODES), "SELF": node, "REDIS_PORT": str(self.port),
                 "SENTINEL_PORT": str(self.sentinel), "OUT": str(run), "CONFIG": str(config),
                 "DOWN_AFTER_MS": "1000", "FAILOVER_MS": "5000"},
        )  # fmt: skip
        with (run / "sentinel.conf").open("a") as f:
            f.write(f"bind {node}\n")
        for name, command in self.commands.items():
            argv = [w.replace("/run/redis", str(run)) for w in command]
            assert argv[0] == "redis-server"
            with (self.folder / node / f"{name}.log").open("ab") as log:
                self.running[node, name] = subprocess.Popen(
                    [find_redis_server(), *argv[1:]], stdout=log, stderr=log, cwd=run
                )

    def kill(self, node: str) -> None:
        for name in self.commands:
            self.running[node, name].kill()
            self.running[node, name].wait()

    def role(self, node: str) -> str:
        client = redis.Redis(node, self.port, socket_timeout=5)
        try:
            found: Any = client.role()
            return found[0].decode() if isinstance(found[0], bytes) else found[0]
        except redis.RedisError:
            return ""
        finally:
            client.close()

    def url(self) -> str:
        """The pods' own REDIS_URL, with addresses of this machine."""
        [deployment] = [
            d
            for d in documents(OVERLAY)
            if d["kind"] == "Deployment" and d["metadata"]["name"] == "spendgate"
        ]
        env = {
            e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        text: str = env["REDIS_URL"]
        for n, node in enumerate(NODES):
            text = text.replace(
                f"redis-{n}.redis.llm-gateway.svc.cluster.local:26379", f"{node}:{self.sentinel}"
            )
        assert "cluster.local" not in text
        return text


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    made = Pods(tmp_path)
    try:
        for node in NODES:
            made.start(node)
            until(partial(made.role, node), bool, f"Redis on {node}", 60)
        yield made
    finally:
        for process in made.running.values():
            process.kill()
            process.wait()


def test_a_replica_takes_over_and_the_dead_master_comes_back_as_a_replica(pods: Pods) -> None:
    from redis.sentinel import Sentinel

    until(lambda: [pods.role(n) for n in NODES], lambda r: r == ["master", "slave", "slave"], "the roles", 60)
    address = parse(pods.url())
    assert address.kind == "sentinel"
    sentinels: Any = cast(Any, Sentinel)(list(address.hosts), sentinel_kwargs={"socket_timeout": 5})
    until(
        lambda: [s.sentinel_masters()[address.master] for s in sentinels.sentinels],
        lambda seen: all(m["num-other-sentinels"] == 2 and m["num-slaves"] == 2 for m in seen),
        "sentinels that know all", 60,
    )  # fmt: skip

    def write(value: str) -> bool:
        try:
            master = sentinels.master_for(address.master, socket_timeout=5)
            return bool(master.set("money", value)) and master.get("money") == value.encode()
        except redis.RedisError:
            return False

    until(lambda: write("before"), bool, "a write", 60)
    sentinels.master_for(address.master, socket_timeout=5).wait(2, 5000)
    pods.kill(NODES[0])
    until(lambda: write("after"), bool, "a write on the new master", 120)
    assert sorted(pods.role(n) for n in NODES[1:]) == ["master", "slave"]
    pods.start(NODES[0])
    until(lambda: pods.role(NODES[0]), lambda r: r == "slave", "the dead one as a replica", 60)

    def replicated() -> Any:
        client = redis.Redis(NODES[0], pods.port, socket_timeout=5)
        try:
            return client.get("money")
        except redis.RedisError:
            return None
        finally:
            client.close()

    until(replicated, lambda v: v == b"after", "what was written meanwhile", 60)


def test_a_master_that_sees_no_replica_takes_no_writes(pods: Pods) -> None:
    until(lambda: [pods.role(n) for n in NODES], lambda r: r == ["master", "slave", "slave"], "the roles", 60)
    config = redis.Redis(NODES[0], pods.port, socket_timeout=5).config_get("min-replicas-*")
    assert config == {"min-replicas-to-write": "1", "min-replicas-max-lag": "10"}
