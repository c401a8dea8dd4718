"""The API server restarts, forgets its history, goes silent, breaks every watch.

In the suite the watch is cut for ten seconds; `make chaos` cuts it for a minute.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from functools import partial
from typing import Any

from support.kube import Cluster
from support.processes import until
from support.tcp_proxy import TcpProxy

from .conftest import Replica, Start, await_status, budget

CUT_S = int(os.environ.get("SPENDGATE_TEST_CUT_S", "10"))
VERBS = ("list", "watch", "get", "update", "create", "patch")


def asked(replica: Replica) -> float:
    """Requests to the API server by the replica's own count, answered or not."""
    return sum(replica.metric(f'spendgate_apiserver_calls_total{{verb="{v}"}}') for v in VERBS)


def test_a_restarted_api_server_is_followed_on_and_not_stormed(cluster: Cluster, start: Start) -> None:
    replica = start()
    cluster.apply(budget("search", 100), budget("gone", 5))
    await_status(cluster, "search", lambda s: s.get("phase") == "Ready", "Ready")
    assert cluster.apiserver is not None
    cluster.signal_apiserver(signal.SIGKILL)
    cluster.apiserver.wait()
    before, began = asked(replica), time.monotonic()
    until(lambda: time.monotonic() - began, lambda s: s > 3, "three seconds without an API server")
    rate = (asked(replica) - before) / (time.monotonic() - began)
    print(f"requests a second while the API server is away: {rate:.1f}")
    assert rate < 10
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


def has_seen(generation: int, status: dict[str, Any]) -> bool:
    return bool(status.get("observedGeneration") == generation)


def test_a_watch_that_is_cut_every_second_misses_nothing_and_floods_nobody(
    cluster: Cluster, start: Start, api_proxy: tuple[TcpProxy, str]
) -> None:
    proxy, kubeconfig = api_proxy
    replica = start(KUBECONFIG=kubeconfig)
    until(lambda: replica.metric("spendgate_controller_leading"), lambda n: n == 1, "a leader")
    stop, began = threading.Event(), time.time()

    def cut() -> None:
        while not stop.wait(1.0):
            proxy.drop()

    cutter = threading.Thread(target=cut, daemon=True)
    cutter.start()
    changes = 0
    while time.time() - began < CUT_S:
        team = f"team-{changes % 7}"
        if changes % 11 == 10:
            cluster.kubectl("delete", "lb", team, "-n", "ml-platform", "--ignore-not-found")
        else:
            cluster.apply(budget(team, 10 + changes))
        changes += 1
    stop.set()
    cutter.join()
    ended = time.time()
    wanted = {
        (b["metadata"]["name"], b["metadata"]["generation"], b["spec"]["monthlyBudgetUSD"])
        for b in cluster.get("lb", "-n", "ml-platform")["items"]
    }
    gauges = {f'spendgate_budget_usd{{team="{name}"}}': usd for name, _, usd in wanted}
    until(
        lambda: {series: replica.metric(series) for series in gauges}, lambda seen: seen == gauges,
        "every change in force", 60.0,
    )  # fmt: skip
    until(
        lambda: replica.metric('spendgate_budgets{state="all"}'), lambda n: n == len(wanted), "the deletions"
    )
    for name, generation, _ in wanted:
        await_status(
            cluster,
            name,
            partial(has_seen, generation),
            f"generation {generation}",
        )
    requests = [r for r in cluster.requests() if began <= r.at <= ended]
    seconds = Counter(int(r.at) for r in requests)
    follow = [r for r in requests if r.verb in ("list", "watch")]
    print(
        f"{changes} changes, {ended - began:.0f} s of cuts: {len(requests) / (ended - began):.1f} requests a second, "
        f"{max(seconds.values())} in the worst; {len(follow) / (ended - began):.1f} lists and watches a second"
    )
    assert len(follow) <= 3 * (ended - began) + 10
    assert max(seconds.values()) <= 40
    proxy.close()
