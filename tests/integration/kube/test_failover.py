"""Two controllers, and what becomes of the leader: ended, frozen, without Redis. Killed and cut off: test_chaos."""

from __future__ import annotations

import signal

import redis as sync_redis
from support.kube import Cluster
from support.processes import until
from support.spending import spend
from support.tcp_proxy import TcpProxy

from .conftest import Replica, Start, await_status, budget, holder, status_of

TAKEOVER_S = 60.0
"""Patience of the tests; the Lease's own rules, tested apart, keep it below 15 s."""


def pair(start: Start, **first: str) -> tuple[Replica, Replica]:
    """A leader and a replica that waits."""
    leader = start("ctl-a", **first)
    until(lambda: leader.metric("spendgate_controller_leading"), lambda n: n == 1, "a leader")
    return leader, start("ctl-b")


def await_holder(cluster: Cluster, name: str) -> None:
    until(lambda: holder(cluster), lambda h: h == name, f"{name} as the leader", TAKEOVER_S)


def test_the_waiting_replica_is_ready_and_writes_nothing(cluster: Cluster, start: Start) -> None:
    leader, other = pair(start)
    cluster.apply(budget("search", 100))
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    until(lambda: other.metric('spendgate_budgets{state="in_force"}'), lambda n: n == 1, "a warm replica")
    assert other.page("/readyz")[0] == 200
    assert other.page("/healthz")[0] == 200
    assert other.metric("spendgate_status_patches_total") == 0
    assert holder(cluster) == leader.name


def test_a_leader_that_ends_hands_over_at_once(cluster: Cluster, start: Start) -> None:
    leader, other = pair(start)
    assert leader.stop() == 0
    assert leader.said("lease_released")
    await_holder(cluster, other.name)
    lease = cluster.get("lease", "llm-budget-controller", "-n", "llm-gateway")["spec"]
    assert lease["leaseTransitions"] == 1


def test_a_frozen_leader_that_wakes_changes_nothing(cluster: Cluster, start: Start, redis_url: str) -> None:
    leader, other = pair(start)
    cluster.apply(budget("search", 100))
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    leader.signal(signal.SIGSTOP)
    await_holder(cluster, other.name)
    until(lambda: other.metric("spendgate_controller_leading"), lambda n: n == 1, "the successor leading")
    spend(redis_url, "search", 30)
    cluster.apply(budget("search", 60))
    await_status(cluster, "search", lambda s: s.get("currentSpendUSD") == 30, "the spend")
    with sync_redis.Redis.from_url(redis_url) as client:
        until(lambda: client.hget("sg1:policy", "generation"), lambda g: int(g) >= 3, "the new policy")
        version = client.hget("sg1:policy", "version")
        leader.signal(signal.SIGCONT)
        until(lambda: leader.said("not_leading"), bool, "the old leader's insight")
        until(
            lambda: leader.metric("spendgate_policy_generation"), lambda n: n >= 3, "its view of the policy"
        )
        assert client.hget("sg1:policy", "version") == version
    assert status_of(cluster, "search")["currentSpendUSD"] == 30
    assert holder(cluster) == other.name


def test_without_redis_anywhere_one_still_leads_and_says_so(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    proxy = TcpProxy(redis_url.removeprefix("unix://"))
    leader = start("ctl-a", url=f"redis://127.0.0.1:{proxy.port}/0")
    cluster.apply(budget("search", 100))
    spend(redis_url, "search", 30)
    await_status(cluster, "search", lambda s: s.get("currentSpendUSD") == 30, "the spend")
    proxy.cut()
    status = await_status(
        cluster, "search",
        lambda s: any(c["type"] == "StoreDegraded" and c["status"] == "True" for c in s["conditions"]),
        "StoreDegraded",
    )  # fmt: skip
    assert status["currentSpendUSD"] == 30
    proxy.heal()
    await_status(
        cluster, "search",
        lambda s: any(c["type"] == "StoreDegraded" and c["status"] == "False" for c in s["conditions"]),
        "recovery",
    )  # fmt: skip
    assert leader.process.poll() is None
    proxy.close()
