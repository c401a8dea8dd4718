"""The API server restarts, forgets its history, goes silent."""

from __future__ import annotations

import signal

from support.kube import Cluster
from support.processes import until
from support.tcp_proxy import TcpProxy

from .conftest import Start, await_status, budget


def test_a_restarted_api_server_is_followed_on(cluster: Cluster, start: Start) -> None:
    replica = start()
    cluster.apply(budget("search", 100), budget("gone", 5))
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    assert cluster.apiserver is not None
    cluster.signal_apiserver(signal.SIGKILL)
    cluster.apiserver.wait()
    cluster.start_apiserver()
    cluster.kubectl("delete", "lb", "gone", "-n", "ml-platform")
    cluster.apply(budget("search", 300), budget("fresh", 1))
    await_status(cluster, "search", lambda s: s.get("observedGeneration") == 2, "the change")
    await_status(cluster, "fresh", lambda s: s.get("phase") == "Ready", "Ready")
    until(lambda: replica.metric('spendgate_budgets{state="all"}'), lambda n: n == 2, "the deletion")


def test_a_history_that_was_compacted_away_is_listed_anew(
    cluster: Cluster, start: Start, api_proxy: tuple[TcpProxy, str]
) -> None:
    proxy, kubeconfig = api_proxy
    replica = start(KUBECONFIG=kubeconfig)
    cluster.apply(budget("search", 100), budget("gone", 5))
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    lists = replica.metric("spendgate_informer_lists_total")
    assert cluster.apiserver is not None
    proxy.cut()  # it sees nothing of what follows
    cluster.kubectl("delete", "lb", "gone", "-n", "ml-platform")
    cluster.apply(budget("search", 300))
    cluster.signal_apiserver(signal.SIGKILL)  # its watch cache would still know the history
    cluster.apiserver.wait()
    cluster.compact()
    cluster.start_apiserver()
    proxy.heal()
    await_status(cluster, "search", lambda s: s.get("observedGeneration") == 2, "the change")
    until(lambda: replica.metric('spendgate_budgets{state="all"}'), lambda n: n == 1, "the deletion")
    assert replica.metric("spendgate_informer_lists_total") > lists
    proxy.close()


def test_a_silent_api_server_costs_the_lease_and_is_found_again(cluster: Cluster, start: Start) -> None:
    replica = start()
    cluster.apply(budget("search", 100))
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    cluster.signal_apiserver(signal.SIGSTOP)
    try:
        until(lambda: replica.said("not_leading"), bool, "the leader's insight", 60.0)
        assert replica.page("/healthz")[0] == 200
    finally:
        cluster.signal_apiserver(signal.SIGCONT)
    cluster.apply(budget("search", 300))
    await_status(cluster, "search", lambda s: s.get("observedGeneration") == 2, "the change")
