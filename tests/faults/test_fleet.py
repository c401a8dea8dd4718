"""Everything that can happen to Redis, under load on two gateways: the books are right afterwards, to the
nano-dollar, nobody is refused who may spend, and who may not spends no more than the formula says.

Each fault comes once, in an order and with lengths that a seed decides; `make faults` goes on for minutes. The seed
is printed; SPENDGATE_FAULTS_SEED repeats it.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.crc import key_slot
from support.fleet import ON_REDIS, TIGHT, WIDE, Fleet, fleet_on
from support.load import ESTIMATE
from support.processes import until
from support.provider import Provider
from support.redis import server_of, versions
from support.tcp_proxy import TcpProxy
from support.topologies import Node, Place, raw, running, wait

from spendgate.ledger.redis.codec import team_prefix

SEED = int(os.environ.get("SPENDGATE_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
IN_FLIGHT = 6
"""Clients of one gateway: what one worker has in flight at most."""
MINUTES = float(os.environ.get("SPENDGATE_FAULTS_MINUTES") or 0)
ONLY = os.environ.get("SPENDGATE_FAULTS_ONLY", "").split()
CONFIG = {"ledger_timeout": "250ms", "reservation_ttl": "5s", "drain_timeout": "2s"}

pytestmark = pytest.mark.timeout(300 + 120 * MINUTES)


SKEW = """import time as _time
_time_ns, _ahead = _time.time_ns, 90 * 10**9
_time.time_ns = lambda: _time_ns() + _ahead
_time.time = lambda: (_time_ns() + _ahead) / 10**9
"""
"""A sitecustomize: the wall clock of every Python process that finds it is a minute and a half ahead."""


@pytest.fixture(scope="module")
def fleet(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The clock of its first gateway is ahead of the other's, and of Redis' own."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "ahead").mkdir()
    (folder / "ahead" / "sitecustomize.py").write_text(SKEW)
    ahead = {"PYTHONPATH": str(folder / "ahead")}
    options = {"appendonly": "yes", "appendfsync": "everysec"}
    node = Node(server_of(versions()[-1]), folder / "redis", options).start()
    proxy = TcpProxy(("127.0.0.1", node.port))
    try:
        with fleet_on(
            folder, provider, f"redis://127.0.0.1:{proxy.port}", node, proxy, CONFIG, [ahead, {}]
        ) as made:
            yield made
    finally:
        proxy.close()
        node.stop()


def rounds(rng: random.Random) -> Iterator[str]:
    """The losses and three more; with minutes to spend each fault once, then by chance until they are over."""
    losses = ["flushed", "older_copy", "killed"]
    others = [name for name in ON_REDIS if name not in losses]
    names = losses + (others if MINUTES else rng.sample(others, 3))
    rng.shuffle(names)
    yield from ONLY or names
    end = time.monotonic() + MINUTES * 60
    while time.monotonic() < end:
        yield rng.choice(ONLY or names)


def test_after_every_fault_of_redis_the_books_are_the_providers_to_the_nano_dollar(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    with capsys.disabled():
        print(f"\nfaults: seed {SEED} (SPENDGATE_FAULTS_SEED), {MINUTES:g} minutes")
        for name in rounds(rng):
            with fleet.load() as loads:
                fleet.moving(loads, 10)
                time.sleep(rng.uniform(0, 0.3))
                ON_REDIS[name](fleet, rng)
                fleet.moving(loads, 20)
            fleet.exact(f"{name} (seed {SEED})")
            wrong = fleet.refused_wrongly()
            assert not wrong, f"{name} (seed {SEED}): {wrong[:5]}"
            over, allowed = fleet.overspend()
            print(
                f"  {name:16} settled = billed = ${fleet.settled():.9f}; {TIGHT} is ${over:.6f} over its bound, "
                f"the formula allows ${allowed:.6f}"
            )
            assert over <= allowed, f"{name} (seed {SEED})"


def test_the_clocks_of_the_fleet_are_apart(fleet: Fleet) -> None:
    started = [g.metric("spendgate_start_time_seconds") for g in fleet.gateways]
    assert started[0] - started[1] > 30


def test_a_disk_that_is_full_while_redis_is_away_loses_nothing(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes nothing any more, not even a log line. What the worker had to write waits in memory, and it lets
    nothing more pass."""
    assert fleet.proxy is not None
    full, worker = fleet.gateways[1], fleet.worker(1)
    limits = worker.rlimit(psutil.RLIMIT_FSIZE)
    before = full.metric("spendgate_spool_failures_total")
    with fleet.load() as loads:
        fleet.moving(loads, 10)
        worker.rlimit(psutil.RLIMIT_FSIZE, (1, limits[1]))
        fleet.proxy.cut()
        until(
            lambda: full.metric("spendgate_spool_failures_total"),
            lambda n: n > before,
            "the disk refuses",
            60,
        )
        until(lambda: full.metric("spendgate_fail_closed_total", team=WIDE), bool, "it closes", 60)
        fleet.proxy.heal()
        fleet.moving(loads, 30)
        worker.rlimit(psutil.RLIMIT_FSIZE, limits)
    fleet.exact("a full disk")
    assert full.metric("spendgate_internal_errors_total") == 0
    with capsys.disabled():
        print(f"  full disk while Redis was away: settled = billed = ${fleet.settled():.9f}")


def test_a_worker_that_is_killed_costs_at_most_the_estimates_in_flight(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settled lies between the provider's count and that plus the estimates in flight. What nobody saw is told apart
    by the answers: they carry none of our headers (a worker killed between headers and reservation)."""
    with fleet.load() as loads:
        fleet.moving(loads, 20)
        fleet.worker(1).kill()
        fleet.moving(loads, 40)
        until(
            lambda: fleet.gateways[1].admin.get("/readyz").status_code, lambda s: s == 200, "the restart", 60
        )
    killed = [r for load in loads for r in load.results]
    unseen = sum((r.cost_usd for r in killed if r.complete and not r.metered), Decimal(0))
    broken = sum(not r.complete and r.status != 429 for r in killed)
    fleet.quiet()
    low = fleet.invoice() + fleet.offset - unseen - broken * ESTIMATE
    high = fleet.invoice() + fleet.offset + (IN_FLIGHT + broken) * ESTIMATE
    settled = until(fleet.settled, lambda usd: low <= usd <= high, f"between {low} and {high}", 60)
    with capsys.disabled():
        print(
            f"  worker killed: ${low:.9f} <= ${settled:.9f} <= ${high:.9f}; unseen ${unseen}, broken {broken}"
        )


def failover_of_a_master(place: Place) -> None:
    """kill -9 of the master that holds the wide team; its replica takes over with what it has."""
    [master] = [n for n in place.masters() if _serves(place, n)]
    master.stop()
    others = [n for n in place.nodes if n is not master]
    wait(lambda: any(_is_master(n) and _serves(place, n, others) for n in others), "the replica took over")


def _is_master(node: Node) -> bool:
    with contextlib.closing(node.client()) as c:
        return bool(raw(c, "ROLE")[0] == b"master")


def _serves(place: Place, node: Node, nodes: list[Node] | None = None) -> bool:
    if "cluster" not in place.url:
        return True
    slot = key_slot(team_prefix(WIDE).encode())
    for asked in nodes or place.nodes:
        with contextlib.closing(asked.client()) as c:
            for first, last, master, *_ in raw(c, "CLUSTER", "SLOTS"):
                if first <= slot <= last and master[1] == node.port:
                    return True
    return False


def slot_on_the_move(place: Place) -> None:
    """The wide team's slot goes to another master, key by key."""
    slot = key_slot(team_prefix(WIDE).encode())
    [source] = [n for n in place.masters() if _serves(place, n)]
    target = next(n for n in place.masters() if n is not source)

    def tell(node: Node, *command: Any) -> Any:
        with contextlib.closing(node.client()) as c:
            return raw(c, *command)

    ids = {n.port: tell(n, "CLUSTER", "MYID").decode() for n in (source, target)}
    tell(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    tell(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    while keys := tell(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
        for key in keys:
            tell(source, "MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    for node in (target, source, *(n for n in place.masters() if n not in (source, target))):
        tell(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])


def with_replicas(place: Place, folder: Path) -> None:
    """Give every master of a cluster a replica."""
    masters = list(place.nodes)
    for i, master in enumerate(masters):
        with contextlib.closing(master.client()) as c:
            master_id = raw(c, "CLUSTER", "MYID").decode()
        replica = Node(master.executable, folder / f"r{i}", dict(master.options)).start()
        place.nodes.append(replica)
        with contextlib.closing(replica.client()) as c:
            raw(c, "CLUSTER", "MEET", "127.0.0.1", master.port)
            wait(
                lambda c=c, i=master_id: i in raw(c, "CLUSTER", "NODES").decode(),
                "the replica knows its master",
            )
            raw(c, "CLUSTER", "REPLICATE", master_id)
            wait(
                lambda c=c: raw(c, "ROLE")[:1] + raw(c, "ROLE")[3:4] == [b"slave", b"connected"],
                "it has a copy",
            )


@pytest.mark.parametrize("kind", ["sentinel", "cluster"] if MINUTES else ["sentinel"])
def test_slots_that_move_and_masters_that_die_lose_nothing(
    kind: str, provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(kind, "redis-8.2", tmp_path / "redis") as place:
        faults = [failover_of_a_master]
        if kind == "cluster":
            with_replicas(place, tmp_path / "redis")
            faults = [slot_on_the_move, failover_of_a_master]
        with (
            fleet_on(tmp_path, provider, place.url, config=CONFIG, size=2 if MINUTES else 1) as fleet,
            capsys.disabled(),
        ):
            for fault in faults:
                with fleet.load() as loads:
                    fleet.moving(loads, 20)
                    fault(place)
                    fleet.moving(loads, 20)
                fleet.exact(fault.__name__)
                assert not fleet.refused_wrongly(), fleet.refused_wrongly()[:5]
                over, allowed = fleet.overspend()
                print(f"  {kind}: {fault.__name__:20} settled = billed = ${fleet.settled():.9f}")
                assert over <= allowed
