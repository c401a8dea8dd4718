"""Redis as it is run in earnest, started here: single servers by TCP, with TLS and ACL users, three-node clusters,
masters with replicas and sentinels. Every server dies with the test process."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis as sync_redis
import trustme
from redis.crc import key_slot

from spendgate.children import dying_with_parent
from support.ports import free_port
from support.redis import server_of, versions

START_S = 60.0
USER, PASSWORD = "gateway", "p@ss:w/rd%"
RIGHTS = (
    "on >{password} ~sg1:* &sg1:* +@read +@write +@scripting +@connection +@pubsub +info +ping +time +cluster"
)
"""What a gateway needs of an ACL user; docs/how-to/redis.md says the same."""


def _port() -> int:
    """A port whose number plus 10,000 is free too: the bus of a cluster."""
    return free_port(bus=10_000)


@dataclass
class Node:
    """One server process. `port` speaks TLS where `tls` is given."""

    executable: str
    folder: Path
    options: dict[str, str]
    port: int = field(default_factory=_port)
    tls: Path | None = None
    password: str = ""
    sentinel: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Node:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"dir {self.folder}", "bind 127.0.0.1", f"logfile {self.folder}/log", "save ''"]
        lines.append(f"tls-port {self.port}\nport 0" if self.tls else f"port {self.port}")
        if self.tls:
            lines += [
                f"tls-cert-file {self.tls}/server.pem", f"tls-key-file {self.tls}/server.key",
                f"tls-ca-cert-file {self.tls}/ca.pem", "tls-auth-clients optional", "tls-replication yes",
            ]  # fmt: skip
            if self.options.get("cluster-enabled"):
                lines.append("tls-cluster yes")
        lines += [f"{name} {value}" for name, value in self.options.items()]
        conf = self.folder / "redis.conf"
        if not conf.exists():  # a sentinel writes into its file
            conf.write_text("\n".join([*lines, self.sentinel]) + "\n")
        argv = [self.executable, str(conf)] + (["--sentinel"] if self.sentinel else [])
        self.process = subprocess.Popen(dying_with_parent(argv), stdout=subprocess.DEVNULL)
        wait(self.answers, f"{argv} answers; its log: {self.folder}/log")
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with contextlib.closing(self.client()) as client:
                return bool(client.ping())
        except sync_redis.RedisError:
            return False

    def client(self, **options: Any) -> sync_redis.Redis:
        """An administrator's client."""
        ca: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.tls / "ca.pem")} if self.tls else {}
        if self.password:
            options.setdefault("password", self.password)
        return sync_redis.Redis("localhost" if self.tls else "127.0.0.1", self.port, **ca, **options)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def wait(good: Any, what: str, timeout_s: float = START_S) -> None:
    """Poll until `good()`."""
    deadline = time.monotonic() + timeout_s
    while not good():
        assert time.monotonic() < deadline, f"waited {timeout_s} s until {what}"
        time.sleep(0.02)


@dataclass
class Place:
    """A running topology: where it is, and an administrator's way to each server that holds data."""

    url: str
    nodes: list[Node]
    sentinels: list[Node] = field(default_factory=list)

    def masters(self) -> list[Node]:
        return [n for n in self.nodes if _role(n) == b"master"]

    def admin(self) -> Any:
        """A client for all keys: of the master, or of the whole cluster."""
        if "cluster" not in self.url.partition(":")[0]:
            return self.masters()[0].client(db=3 if "/3?" in self.url else 0)
        node = self.nodes[0]
        ca: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(node.tls / "ca.pem")} if node.tls else {}
        password = node.password or None
        return sync_redis.RedisCluster("127.0.0.1", node.port, password=password, **ca)

    def now_ms(self) -> int:
        """A server's own clock."""
        with contextlib.closing(self.masters()[0].client()) as c:
            seconds, micros = raw(c, "TIME")
            return int(seconds) * 1000 + int(micros) // 1000

    def master_of(self, key: str) -> Node:
        """The node that serves a key."""
        slot = key_slot(key.encode())
        for node in self.masters():
            with contextlib.closing(node.client()) as c:
                for first, last, master, *_ in raw(c, "CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(n for n in self.nodes if n.port == master[1])
        raise AssertionError(f"nobody serves {key}")

    def stop(self) -> None:
        for node in (*self.sentinels, *self.nodes):
            node.stop()


def raw(client: sync_redis.Redis, *command: Any) -> Any:
    """A command's reply as it came."""
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def _role(node: Node) -> bytes:
    with contextlib.closing(node.client()) as c:
        return bytes(raw(c, "ROLE")[0])


def certificates(folder: Path) -> Path:
    """A CA and a server's certificate for localhost and 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    cert = ca.issue_cert("localhost", "127.0.0.1")
    cert.private_key_pem.write_to_path(str(folder / "server.key"))
    for blob in cert.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)
    return folder


def acl(node: Node) -> None:
    """The gateway's user; the default one keeps the administrator's password."""
    with contextlib.closing(node.client()) as c:
        raw(c, "ACL", "SETUSER", USER, *RIGHTS.format(password=PASSWORD).split())


def places() -> tuple[tuple[str, str], ...]:
    """(kind, version) of everything that the ledger is tried on: each server, then each topology. Of the
    packaged servers only Debian's speaks TLS."""
    return (
        *(("single", v) for v in versions()),
        ("secured", "redis-7.0"),
        ("cluster", versions()[0]),
        ("cluster", versions()[-1]),
        ("cluster-secured", "redis-7.0"),
        ("sentinel", "redis-7.0"),
    )


LOGIN = "gateway:p%40ss%3Aw%2Frd%25@"
ADMIN = "adminsecret"


def single(version: str, folder: Path) -> Place:
    node = Node(server_of(version), folder, {}).start()
    return Place(f"redis://127.0.0.1:{node.port}", [node])


def secured(version: str, folder: Path) -> Place:
    """TLS, and a user who may do what the ledger does and nothing else."""
    tls = certificates(folder / "tls")
    options = {"requirepass": ADMIN}
    node = Node(server_of(version), folder / "data", options, tls=tls, password=ADMIN).start()
    acl(node)
    return Place(f"rediss://{LOGIN}localhost:{node.port}/3?ssl_ca_certs={tls}/ca.pem", [node])


def cluster(version: str, folder: Path, tls: bool = False) -> Place:
    """Three masters; with `tls` also an ACL user."""
    certs = certificates(folder / "tls") if tls else None
    options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
    if tls:
        options |= {"requirepass": ADMIN, "masterauth": ADMIN}
    password = ADMIN if tls else ""
    nodes = [
        Node(server_of(version), folder / str(i), dict(options), tls=certs, password=password).start()
        for i in range(3)
    ]
    share = 16384 // 3 + 1
    for i, node in enumerate(nodes):
        if tls:
            acl(node)
        with contextlib.closing(node.client()) as c:
            raw(c, "CLUSTER", "ADDSLOTS", *range(i * share, min((i + 1) * share, 16384)))
            raw(c, "CONFIG", "SET", "cluster-require-full-coverage", "no")
            raw(c, "CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    place = Place("", nodes)
    wait(lambda: all(_is_ok(n) for n in nodes), "the cluster is whole")
    hosts = ",".join(f"{'localhost' if tls else '127.0.0.1'}:{n.port}" for n in nodes[:2])
    # its nodes name themselves by address, for which the certificate holds too
    place.url = (
        f"rediss+cluster://{LOGIN}{hosts}?ssl_ca_certs={certs}/ca.pem" if tls else f"redis+cluster://{hosts}"
    )
    return place


def _is_ok(node: Node) -> bool:
    with contextlib.closing(node.client()) as c:
        info = raw(c, "CLUSTER", "INFO").decode()
        known = [line for line in raw(c, "CLUSTER", "NODES").decode().splitlines() if "connected" in line]
        return "cluster_state:ok" in info and "cluster_slots_assigned:16384" in info and len(known) >= 3


def sentinel(version: str, folder: Path, down_after_ms: int = 1000) -> Place:
    """A master, a replica, three sentinels that want a password of their own."""
    exe = server_of(version)
    options = {"requirepass": ADMIN, "masterauth": ADMIN, "repl-diskless-sync-delay": "0"}
    master = Node(exe, folder / "m", dict(options), password=ADMIN).start()
    replica = Node(
        exe, folder / "r", {**options, "replicaof": f"127.0.0.1 {master.port}"}, password=ADMIN
    ).start()
    for node in (master, replica):
        acl(node)
    watch = "\n".join((
        f"sentinel monitor books 127.0.0.1 {master.port} 2",
        f"sentinel auth-pass books {ADMIN}",
        f"sentinel down-after-milliseconds books {down_after_ms}",
        "sentinel failover-timeout books 4000",
    ))  # fmt: skip
    sentinels = [
        Node(exe, folder / f"s{i}", {"requirepass": "watch"}, password="watch", sentinel=watch).start()
        for i in range(3)
    ]
    place = Place("", [master, replica], sentinels)
    wait(lambda: all(_sees_all(s) for s in sentinels), "every sentinel knows the others and the replica")
    hosts = ",".join(f"127.0.0.1:{s.port}" for s in sentinels)
    place.url = f"redis+sentinel://{LOGIN}{hosts}/books?sentinel_password=watch"
    return place


def _sees_all(node: Node) -> bool:
    with contextlib.closing(node.client()) as c:
        reply = raw(c, "SENTINEL", "MASTER", "books")
        state = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        return (state[b"num-other-sentinels"], state[b"num-slaves"]) == (b"2", b"1")


@contextlib.contextmanager
def running(kind: str, version: str, folder: Path) -> Iterator[Place]:
    """A topology by name, stopped at the end."""
    kinds: dict[str, Callable[[str, Path], Place]] = {
        "single": single,
        "secured": secured,
        "cluster": cluster,
        "cluster-secured": lambda v, f: cluster(v, f, tls=True),
        "sentinel": sentinel,
    }
    made = kinds[kind](version, folder)
    try:
        yield made
    finally:
        made.stop()
