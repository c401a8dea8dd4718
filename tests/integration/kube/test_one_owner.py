"""Controllers of two Leases on one ledger: one keeps the policy, the other follows and says so."""

from __future__ import annotations

import time

from support.kube import Cluster
from support.processes import until

from .conftest import Start, await_status, budget, condition
from .test_policy import Follow, follow, limits

__all__ = ["follow"]


def test_a_second_controller_neither_fights_nor_frees_anybody(
    cluster: Cluster, start: Start, follow: Follow
) -> None:
    first = start(WATCH_NAMESPACE="ml-platform", SPENDGATE_CLUSTER="east")
    cluster.apply(budget("search", 100))
    gateway = follow()
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 100}, "the owner's policy")
    admin = str(cluster.kubeconfig("admin"))
    second = start(
        "second", WATCH_NAMESPACE="other", POD_NAMESPACE="other", SPENDGATE_CLUSTER="west", KUBECONFIG=admin
    )
    cluster.apply(budget("billing", 50, namespace="other"))
    status = await_status(
        cluster,
        "billing",
        lambda s: condition(s, "Ready").get("reason") == "PolicyKeptElsewhere",
        "told",
        "other",
    )
    assert condition(status, "Ready")["status"] == "False"
    assert "east/llm-gateway" in condition(status, "Ready")["message"]
    until(lambda: second.metric("spendgate_controller_policy_elsewhere"), lambda n: n == 1.0, "the metric")
    written = first.metric("spendgate_policy_generation")
    until_s = time.monotonic() + 3
    while time.monotonic() < until_s:
        assert limits(gateway.policy()) == {"search": 100}
        time.sleep(0.1)
    assert first.metric("spendgate_policy_generation") == written, "nobody writes over anybody"
    cluster.apply(budget("search", 200))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 200}, "the owner goes on")
    first.stop()
    time.sleep(1.5)
    assert limits(gateway.policy()) == {"search": 200}, "and without it nothing is lost"
