"""Any one process dies, or stands still, under load: no settled cent is lost, no hold outlives its deadline."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from support.calls import chat
from support.gateway import Gateway
from support.load import ESTIMATE, Load
from support.policy import budget, policy
from support.processes import WORKER, until
from support.provider import Provider

POLICY = policy(*(budget(team, 1000) for team in ("loaded", "steady-worker", "steady-envoy", "steady-redis")))
TTL_S = 3
PATIENCE_S = 12
"""The sweeper's second, a restart, a noisy machine: far less than the default deadline of 30 s."""
CONFIG = {"reservation_ttl": f"{TTL_S}s"}
AT_ONCE = 16


@pytest.fixture
def gateway(provider: Provider, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, provider.url, POLICY, config=CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def lasting(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway that all kills at rest hit in turn."""
    with Gateway(tmp_path_factory.mktemp("lasting"), provider.url, POLICY, config=CONFIG) as running:
        yield running


ENVOY, REDIS = "/envoy", "redis-server"


def kill(mark: str) -> Callable[[Gateway], None]:
    """kill -9."""
    return lambda gateway: gateway.command.child(mark).send_signal(signal.SIGKILL)


def stand_still(gateway: Gateway) -> None:
    """SIGSTOP of Redis for 3 s."""
    redis = gateway.command.child(REDIS)
    redis.send_signal(signal.SIGSTOP)
    time.sleep(3)
    redis.send_signal(signal.SIGCONT)


def logged(gateway: Gateway) -> Decimal:
    """USD of all exchanges in the usage log, of each its last line."""
    return sum(
        (Decimal(x["cost_usd"]) for x in {x["exchange_id"]: x for x in gateway.usage("loaded")}.values()),
        Decimal(),
    )


@pytest.mark.parametrize(
    "fault",
    [kill(WORKER), kill(ENVOY), kill(REDIS), stand_still],
    ids=["kill-worker", "kill-envoy", "kill-redis", "stop-redis"],
)
def test_under_load_no_settled_cent_is_lost_and_no_hold_outlives_its_deadline(
    gateway: Gateway, fault: Callable[[Gateway], None]
) -> None:
    with Load(gateway, "loaded", AT_ONCE) as load:
        until(lambda: len(load.complete), lambda n: n > 40, "the load")
        safe = logged(gateway)
        fault(gateway)
        after = len(load.complete)
        until(lambda: len(load.complete), lambda n: n > after + 60, "service after the fault")
        until(lambda: gateway.admin.get("/readyz").status_code, lambda s: s == 200, "readiness")
    row = until(
        lambda: gateway.row("loaded"),
        lambda r: r["reserved_usd"] == "0.00",
        "the holds' end",
        TTL_S + PATIENCE_S,
    )
    until(lambda: gateway.metric("spendgate_spool_depth"), lambda n: n == 0, "the spool's way home")
    metered = sum(r.cost_usd for r in load.complete if r.metered)
    settled = until(
        lambda: Decimal(gateway.row("loaded")["settled_usd"]),
        lambda usd: usd >= max(metered, logged(gateway)),
        "every completed and every logged exchange in the ledger",
    )
    assert safe > 0
    assert settled >= max(safe, Decimal(row["settled_usd"]))
    everything = sum(r.cost_usd for r in load.complete)
    assert settled <= everything + (AT_ONCE + load.broken) * ESTIMATE
    # what a dead worker had in flight is charged at the estimate; a call that died between its headers and its
    # reservation (a millisecond) is the only one that nobody saw
    expired = sum(x["outcome"] == "unmetered" for x in gateway.usage("loaded"))
    assert sum(not r.metered for r in load.complete) <= expired + 2, "requests passed the gateway unseen"


@pytest.mark.parametrize(("name", "mark"), [("worker", WORKER), ("envoy", ENVOY), ("redis", REDIS)])
def test_at_rest_the_ledger_is_the_same_to_the_nano_dollar_after_a_kill(
    lasting: Gateway, name: str, mark: str
) -> None:
    gateway, team = lasting, f"steady-{name}"
    for _ in range(5):
        chat(gateway, team, max_tokens=17)
    before = gateway.settled(team, 5)
    gone = gateway.command.child(mark)
    gone.kill()
    until(lambda: _back(gateway, mark, gone.pid), bool, "the restart")
    assert until(lambda: gateway.row(team), lambda row: row["requests"] == 5, "the ledger") == before

    def works() -> bool:
        try:
            return bool(chat(gateway, team, max_tokens=17).answer.choices)
        except Exception:  # not there yet
            return False

    until(works, bool, "service")
    after = gateway.settled(team, 6)
    assert Decimal(after["settled_usd"]) == Decimal(before["settled_usd"]) / 5 * 6
    assert after["requests"] == 6


def _back(gateway: Gateway, mark: str, old: int) -> bool:
    try:
        ready = gateway.admin.get("/readyz").status_code == 200
        return ready and gateway.command.child(mark).pid != old
    except (ValueError, psutil.Error):
        return False


def test_sigterm_under_load_settles_what_is_open_and_exits_zero(provider: Provider, tmp_path: Path) -> None:
    with Gateway(tmp_path, provider.url, POLICY, config=CONFIG, clean=False) as gateway:
        with Load(gateway, "loaded", AT_ONCE) as load:
            until(lambda: len(load.complete), lambda n: n > 40, "the load")
            assert gateway.command.stop() == 0, gateway.command.stderr
        cost = logged(gateway)
    assert cost >= sum(r.cost_usd for r in load.complete if r.metered)
    with Gateway(tmp_path, provider.url, POLICY, config=CONFIG) as again:
        row = again.row("loaded")
        assert row["reserved_usd"] == "0.00"
        assert Decimal(row["settled_usd"]) == cost
