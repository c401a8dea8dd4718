"""Two gateways on one Redis that faults are done to, and the provider whose books say what was really used."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import redis as sync_redis

from support.gateway import Gateway
from support.invoice import total
from support.load import Load, Result
from support.policy import budget, policy
from support.processes import WORKER, until
from support.provider import Provider
from support.tcp_proxy import TcpProxy
from support.topologies import Node, raw

WIDE, TIGHT = "wide", "tight"
"""A team that is never refused by right, and one that reaches its bound."""
TIGHT_USD, OVERSHOOT, SHARE_USD = Decimal("0.05"), Decimal("0.05"), Decimal("0.004")
POLICY = policy(
    budget(WIDE, 1000, failOpenLimitUSD=50),
    budget(TIGHT, float(TIGHT_USD), failOpenLimitUSD=float(SHARE_USD)),
)
DETECTED_S = 5.0
"""By when a loss is noticed: a second, on a loaded machine."""
HOME_S = 90.0


@dataclass
class Fleet:
    """Gateways, their Redis behind a proxy where it is a single server, and what happened so far."""

    provider: Provider
    gateways: list[Gateway]
    node: Node | None = None
    proxy: TcpProxy | None = None
    lost_at: list[float] = field(default_factory=list)
    offset: Decimal = Decimal(0)
    """By how much ledger and books stand apart since a worker was killed with requests in flight."""

    def __post_init__(self) -> None:
        self.bill = self.provider.billed()
        self.results: dict[str, list[Result]] = {WIDE: [], TIGHT: []}

    def redis(self) -> sync_redis.Redis:
        """An administrator's client, beside the proxy."""
        assert self.node is not None
        return self.node.client()

    @contextlib.contextmanager
    def load(self, at_once: int = 4) -> Iterator[list[Load]]:
        """Both teams at every gateway; leaving waits for what is in flight."""
        loads = [(g, team, at_once if team == WIDE else 2) for g in self.gateways for team in (WIDE, TIGHT)]
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(Load(g, team, n)) for g, team, n in loads]
            yield running
        for (_, team, _), load in zip(loads, running, strict=True):
            self.results[team] += load.results

    def moving(self, loads: list[Load], more: int = 30) -> None:
        """Wait until so many more answers came."""
        done = sum(len(x.results) for x in loads)
        until(lambda: sum(len(x.results) for x in loads), lambda n: n >= done + more, "the load", HOME_S)

    def settled(self) -> Decimal:
        """USD in the ledger, of all teams."""
        return sum((Decimal(r["settled_usd"]) for r in self.gateways[0].rows()), Decimal(0))

    def quiet(self) -> None:
        """Wait until nothing is held, and nothing waits on a disk."""
        for g in self.gateways:
            until(partial(g.metric, "spendgate_spool_depth"), lambda n: n == 0, "spools' way home", HOME_S)
        until(self._held, lambda usd: usd == 0, "the holds' end", HOME_S)

    def _held(self) -> Decimal:
        return sum((Decimal(r["reserved_usd"]) for r in self.gateways[0].rows()), Decimal(0))

    def invoice(self) -> Decimal:
        """USD that the provider would bill."""
        return total(self.bill.now())

    def exact(self, what: str) -> None:
        """The ledger says what the provider says, to the nano-dollar, and stays at it."""
        self.quiet()
        try:
            until(
                lambda: (self.settled(), self.invoice()),
                lambda pair: pair[0] == pair[1],
                f"books after {what}",
                HOME_S,
            )
        except AssertionError as problem:
            raise AssertionError("\n".join([str(problem), *self.apart()])) from problem
        for g in self.gateways:
            row = g.row(WIDE)
            assert sum(map(Decimal, row["apps"].values())) == Decimal(row["settled_usd"]), row

    def apart(self) -> list[str]:
        """The exchanges of which clients and usage logs say different things."""
        logged: dict[str, list[dict[str, Any]]] = {}
        for number, g in enumerate(self.gateways):
            for line in g.usage():
                if line["outcome"] != "refused":
                    logged.setdefault(line["request_id"], []).append({"gateway": number, **line})
        answered = {r.request_id: r for results in self.results.values() for r in results if r.status != 429}
        found = []
        for request_id, result in answered.items():
            lines = logged.pop(request_id, [])
            if len(lines) != 1 or Decimal(lines[0]["cost_usd"]) != result.cost_usd:
                found.append(f"{result}: {lines}")
        return found + [f"no client saw {lines}" for lines in logged.values()]

    def refused_wrongly(self) -> list[Result]:
        """Requests of the wide team that got no whole answer."""
        return [r for r in self.results[WIDE] if not r.complete]

    def overspend(self) -> tuple[Decimal, Decimal]:
        """What the tight team spent above its bound with overshoot, and what the formula allows: every replica's
        share, and what was let pass between a loss and its detection."""
        spent = Decimal(next(r for r in self.gateways[0].rows() if r["team"] == TIGHT)["settled_usd"])
        over = max(Decimal(0), spent - TIGHT_USD * (1 + OVERSHOOT))
        unseen = sum(
            r.cost_usd
            for r in self.results[TIGHT]
            if any(0 <= r.began - at <= DETECTED_S for at in self.lost_at)
        )
        return over, SHARE_USD * len(self.gateways) + unseen

    def worker(self, number: int) -> psutil.Process:
        """A gateway's worker."""
        return self.gateways[number].command.child(WORKER)


Fault = Callable[[Fleet, random.Random], None]
"""Does something to the fleet for a moment and undoes it."""


def _pause(rng: random.Random, least_s: float = 0.3, most_s: float = 1.2) -> None:
    time.sleep(rng.uniform(least_s, most_s))


def killed(fleet: Fleet, rng: random.Random) -> None:
    """kill -9 of Redis; it comes back with its journal."""
    assert fleet.node is not None
    fleet.node.stop()
    _pause(rng)
    fleet.node.start()


def stopped(fleet: Fleet, rng: random.Random) -> None:
    """SIGSTOP: it takes connections and says nothing."""
    assert fleet.node is not None and fleet.node.process is not None
    process = psutil.Process(fleet.node.process.pid)
    process.suspend()
    _pause(rng)
    process.resume()


def cut(fleet: Fleet, rng: random.Random) -> None:
    """The network to it is gone."""
    assert fleet.proxy is not None
    fleet.proxy.cut()
    _pause(rng)
    fleet.proxy.heal()


def dropped(fleet: Fleet, rng: random.Random) -> None:
    """Connections break, again and again, in the middle of replies."""
    assert fleet.proxy is not None
    for _ in range(5):
        fleet.proxy.drop()
        _pause(rng, 0.02, 0.2)


def slow(fleet: Fleet, rng: random.Random) -> None:
    """Each piece takes about as long as a reservation may."""
    assert fleet.proxy is not None
    fleet.proxy.delay_s = rng.uniform(0.05, 0.3)
    _pause(rng)
    fleet.proxy.delay_s = 0.0


def out_of_memory(fleet: Fleet, rng: random.Random) -> None:
    """maxmemory with noeviction: it reads, and refuses to write."""
    client = fleet.redis()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    _pause(rng)
    client.config_set("maxmemory", "0")


def read_only(fleet: Fleet, rng: random.Random) -> None:
    """It was made a replica: READONLY to every write."""
    client = fleet.redis()
    raw(client, "REPLICAOF", "127.0.0.1", "1")
    _pause(rng)
    raw(client, "REPLICAOF", "NO", "ONE")


def scripts_flushed(fleet: Fleet, rng: random.Random) -> None:
    """It forgets every script."""
    for _ in range(3):
        fleet.redis().script_flush()
        _pause(rng, 0.05, 0.3)


def flushed(fleet: Fleet, rng: random.Random) -> None:
    """FLUSHALL by mistake: all spend is gone."""
    fleet.lost_at.append(time.monotonic())
    fleet.redis().flushall()
    _noticed(fleet)


def older_copy(fleet: Fleet, rng: random.Random) -> None:
    """An older copy takes the place of what is there."""
    client = fleet.redis()
    keys = client.keys("sg1:*")
    with client.pipeline(transaction=True) as pipe:  # of one instant, as a dump is
        for key in keys:
            pipe.dump(key)
        copy = dict(zip(keys, pipe.execute(), strict=True))
    time.sleep(rng.uniform(2.5, 3.5))  # so that every process has beaten since
    fleet.lost_at.append(time.monotonic())
    with client.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for key, value in copy.items():
            if value is not None:
                pipe.restore(key, 0, value)
        pipe.execute()
    _noticed(fleet)


def _noticed(fleet: Fleet) -> None:
    """Every replica noticed, and gave back what it remembered."""
    losses = len(fleet.lost_at)
    for g in fleet.gateways:
        until(
            partial(g.metric, "spendgate_ledger_lost_total"),
            lambda n: n >= losses,
            "the loss is noticed",
            HOME_S,
        )


ON_REDIS: dict[str, Fault] = {
    f.__name__: f
    for f in (
        killed,
        stopped,
        cut,
        dropped,
        slow,
        out_of_memory,
        read_only,
        scripts_flushed,
        flushed,
        older_copy,
    )
}


@contextlib.contextmanager
def fleet_on(
    folder: Path, provider: Provider, url: str, node: Node | None = None, proxy: TcpProxy | None = None,
    config: dict[str, Any] | None = None, env: list[dict[str, str]] | None = None, size: int = 2,
) -> Iterator[Fleet]:  # fmt: skip
    """Gateways of one worker each on a Redis. `env` is added to each gateway's environment."""
    with contextlib.ExitStack() as stack:
        gateways = []
        for i in range(size):
            more = {"REDIS_URL": url, **(env[i] if env else {})}
            gateways.append(
                stack.enter_context(
                    Gateway(folder / f"gw{i}", provider.url, POLICY, config=config, workers=1, env=more)
                )
            )
        yield Fleet(provider, gateways, node, proxy)
