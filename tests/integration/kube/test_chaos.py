"""Crossings under chaos: leaders killed, frozen, cut off from the API server and from Redis, a Slack that fails.

In the suite a hundred crossings, each fault once; `make chaos` has a thousand, and faults until all are told.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kube import Cluster
from support.processes import until
from support.tcp_proxy import TcpProxy

from spendgate.alerts.message import AGAIN
from spendgate.controller.kube.access import from_kubeconfig
from spendgate.controller.kube.client import Kube, KubeError, KubeUnavailable
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.ledger import RedisLedger

from .conftest import Replica, SlackThread, Start, await_status, begun, budget, holder

CROSSINGS = int(os.environ.get("SPENDGATE_TEST_CHAOS", "102"))
WHOLE = CROSSINGS >= 1000
TEAMS = -(-CROSSINGS // 3)
BUDGETS = "/apis/ai.systemhardening.com/v1/llmbudgets"
HEAD = re.compile(r"of team (t\d+): (\d+) %")
FAULTS = ("kill", "freeze", "cut_api", "cut_redis")
NEW_LEADER_S = 15.0


class Spender:
    """Spends on every team until all have passed their budgets, in small steps, in a thread of its own."""

    def __init__(self, redis_url: str, teams: int, seconds: float) -> None:
        self.spent: dict[str, int] = {f"t{i}": 0 for i in range(teams)}
        self._args = (redis_url, seconds)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.thread.start()

    @property
    def done(self) -> bool:
        """Has every team passed its budget?"""
        return not self.thread.is_alive()

    async def _run(self) -> None:
        url, seconds = self._args
        chance = random.Random(5)
        ledger = RedisLedger.from_url(url, timeout_s=20.0)
        pause = seconds / (len(self.spent) * 5)
        while left := [t for t, usd in self.spent.items() if usd < 101]:
            team, usd = chance.choice(left), chance.randrange(8, 45)
            await ledger.settle(
                [
                    Settlement(
                        uuid.uuid4().hex, team, "app", "gpt-4o", usd * 10**9, scopes=(("month", "month"),)
                    )
                ]
            )
            self.spent[team] += usd
            await asyncio.sleep(pause)
        await ledger.close()


class Statuses:
    """Everything that any status ever said, by watching."""

    def __init__(self, cluster: Cluster) -> None:
        self.seen: dict[str, list[tuple[int, float, int]]] = {}
        self.spent: dict[str, float] = {}
        self._stop = threading.Event()
        access = from_kubeconfig(cluster.kubeconfig("admin"))

        async def run() -> None:
            kube = Kube(access)
            version = ""
            while not self._stop.is_set():
                try:
                    if not version:
                        async for items, listed in kube.pages(BUDGETS):
                            version = listed
                            for item in items:
                                self._note(item)
                    async for event in kube.watch(BUDGETS, version, 2):
                        version = event.object["metadata"]["resourceVersion"]
                        if event.type == "MODIFIED":
                            self._note(event.object)
                except (KubeError, KubeUnavailable):
                    version = ""
            await kube.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        self._thread.start()

    def _note(self, item: dict) -> None:  # type: ignore[type-arg]
        status = item.get("status", {})
        if "currentSpendUSD" in status:
            row = (
                int(item["metadata"]["resourceVersion"]),
                status["currentSpendUSD"],
                status["observedGeneration"],
            )
            self.seen.setdefault(item["metadata"]["name"], []).append(row)
            self.spent[item["metadata"]["name"]] = status["currentSpendUSD"]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def backwards(self) -> list[str]:
        """Teams whose spend or generation ever went down."""
        return [
            team
            for team, rows in self.seen.items()
            if any(b[1] < a[1] or b[2] < a[2] for a, b in zip(sorted(rows), sorted(rows)[1:], strict=False))
        ]


class Pair:
    """Two controllers, each on wires of its own to the API server and to Redis."""

    def __init__(
        self, cluster: Cluster, start: Start, redis_url: str, slack: SlackThread, folder: Path
    ) -> None:
        self.cluster, self._start, self._redis, self._folder = cluster, start, redis_url, folder
        self._env = {
            "SLACK_BOT_TOKEN": "xoxb-test",
            "SLACK_CHANNEL": "#all",
            "SLACK_API_URL": slack.slack.api,
        }
        self.made = 0
        self.replicas: dict[str, tuple[Replica, TcpProxy, TcpProxy]] = {}
        self.took: dict[str, list[float]] = {f: [] for f in FAULTS}

    def add(self) -> None:
        """Start one more."""
        from .conftest import proxied

        self.made += 1
        api, redis = TcpProxy(("127.0.0.1", self.cluster.port)), TcpProxy(self._redis.removeprefix("unix://"))
        replica = self._start(
            f"ctl-{self.made}", f"redis://127.0.0.1:{redis.port}/0",
            KUBECONFIG=proxied(self.cluster, self._folder, api), **self._env,
        )  # fmt: skip
        self.replicas[replica.name] = replica, api, redis

    def leader(self) -> str:
        """The name of who leads."""
        return until(lambda: holder(self.cluster), lambda h: h in self.replicas, "a leader", 60.0)

    def strike(self, fault: str) -> None:
        """Hit the leader, wait for the next one, mend what was hit."""
        name = self.leader()
        replica, api, redis = self.replicas[name]
        at = time.monotonic()
        match fault:
            case "kill":
                replica.signal(signal.SIGKILL)
            case "freeze":
                replica.signal(signal.SIGSTOP)
            case "cut_api":
                api.cut()
            case "cut_redis":
                redis.cut()
        until(
            lambda: holder(self.cluster),
            lambda h: h in self.replicas and h != name,
            f"a leader after {fault}",
            90,
        )
        self.took[fault].append(time.monotonic() - at)
        if fault == "kill":
            replica.process.wait()
            del self.replicas[name]
            self.add()
        replica.signal(signal.SIGCONT)
        api.heal()
        redis.heal()
        until(lambda: not ready(self.replicas), bool, "all ready again", 90.0)


def ready(replicas: dict[str, tuple[Replica, TcpProxy, TcpProxy]]) -> list[str]:
    """Who is not ready."""
    return [name for name, (r, _, _) in replicas.items() if r.page("/readyz")[0] != 200]


@pytest.fixture
def statuses(cluster: Cluster) -> Iterator[Statuses]:
    made = Statuses(cluster)
    yield made
    made.stop()


def test_crossings_under_chaos_none_lost_none_twice_no_status_backwards(
    cluster: Cluster, start: Start, redis_url: str, slack: SlackThread, statuses: Statuses, tmp_path: Path
) -> None:
    slack.slack.second, slack.slack.a_minute = 1.0, 300
    thresholds = [(50, "alert"), (80, "alert_and_downgrade"), (100, "reject")]
    cluster.apply(
        *(
            budget(
                f"t{i}", 100,
                alertThresholds=[
                    {"percent": p, "action": a, "notifyChannel": f"#c{i % (TEAMS // 6)}"} for p, a in thresholds
                ],
            )
            for i in range(TEAMS)
        )
    )  # fmt: skip
    pair = Pair(cluster, start, redis_url, slack, tmp_path)
    pair.add()
    await_status(cluster, "t0", lambda s: s.get("phase") == "Ready", "Ready")
    pair.add()
    until(lambda: begun(redis_url), bool, "the alerts' beginning", 60.0)
    spender = Spender(redis_url, TEAMS, 240.0 if WHOLE else 40.0)
    chance = random.Random(11)
    total, rounds = TEAMS * 3, 0
    while rounds < (3 if WHOLE else 1) or (WHOLE and len(heads(slack)) < total * 0.95 and rounds < 20):
        for fault in chance.sample(FAULTS, len(FAULTS)):
            slack.slack.faults += chance.choices([500, 503, 429], k=3)
            pair.strike(fault)
        rounds += 1
    until(lambda: spender.done, bool, "all spent", 600.0)
    until(lambda: len(set(heads(slack))), lambda n: n == total, "every crossing told", 900.0)
    until(lambda: statuses.spent, lambda s: s == spender.spent, "every status at the last number", 300.0)
    events = until(
        lambda: crossing_events(cluster), lambda e: len(e) >= total, "every crossing an event", 300.0
    )

    unsaid = Counter(heads(slack, first=True))
    print(f"{total} crossings, {rounds} rounds; seconds to a new leader: {pair.took}")
    told = heads(slack)
    print(
        f"arrived twice, and said so: {len(told) - len(set(told))}; marked as perhaps sent before: "
        f"{sum(AGAIN in text for text in slack.slack.texts)}; refused for the rate: {slack.slack.limited}"
    )
    assert max(unsaid.values()) == 1, "the same crossing twice, without a word of it"
    assert Counter(events).most_common(1)[0][1] == 1, "an event twice"
    for i in range(TEAMS):
        heard = [int(p) for t, p in heads(slack) if t == f"t{i}"]
        assert heard == sorted(heard), f"t{i} was told out of order: {heard}"
    assert statuses.backwards() == []
    if WHOLE:
        assert max(max(took) for took in pair.took.values()) <= NEW_LEADER_S


def heads(slack: SlackThread, first: bool = False) -> list[tuple[str, str]]:
    """Team and percent of every post; `first`: without those that say that they are sent again."""
    posts = [text for text in list(slack.slack.texts) if not (first and AGAIN in text)]
    return [found.groups() for text in posts if (found := HEAD.search(text))]  # type: ignore[misc]


def crossing_events(cluster: Cluster) -> list[tuple[str, str]]:
    """Team and percent of every event on a crossing."""
    events = cluster.read("/api/v1/namespaces/ml-platform/events")["items"]
    messages = [e["message"] for e in events if e["reason"] == "ThresholdCrossed"]
    return [found.groups() for text in messages if (found := HEAD.search(text))]  # type: ignore[misc]
