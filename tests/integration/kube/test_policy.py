"""From `kubectl apply` to what a gateway enforces, and back."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kube import Cluster
from support.processes import until

from spendgate.budget.policy import Policy
from spendgate.money import usd_to_nano
from spendgate.policy.source import RedisPolicySource

from .conftest import Start, await_status, budget, condition, status_of

Look = Callable[[], Policy]


class Follower:
    """A gateway's view of the policy, in a thread of its own."""

    def __init__(self, redis_url: str, file: Path) -> None:
        import threading

        self.source: RedisPolicySource | None = None
        self._loop = asyncio.new_event_loop()
        self._begun = threading.Event()

        async def run() -> None:
            self.source = RedisPolicySource(redis_url, file, name=file.name)
            await self.source.first()
            self._begun.set()
            await self.source.run(lambda _: None)

        def main() -> None:
            asyncio.set_event_loop(self._loop)
            self._task = self._loop.create_task(run())
            try:
                self._loop.run_until_complete(self._task)
            except asyncio.CancelledError:
                return

        self._thread = threading.Thread(target=main, daemon=True)
        self._thread.start()
        assert self._begun.wait(30)

    def policy(self) -> Policy:
        """What is in force."""
        assert self.source is not None
        return self.source.policy

    def stop(self) -> None:
        """End. Told again until it has: redis-py may take a cancellation for a timeout of its own."""
        deadline = time.monotonic() + 30
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(0.5)
        self._loop.close()


@pytest.fixture
def follow(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def one(url: str = redis_url, file: str = "policy.snapshot") -> Follower:
        made.append(Follower(url, tmp_path / file))
        return made[-1]

    yield one
    for follower in made:
        follower.stop()


Follow = Callable[..., Follower]


def limits(policy: Policy) -> dict[str, int]:
    """USD by team."""
    return {t: b.monthly_nanousd // 10**9 for t, b in policy.budgets.items()}


def test_apply_raise_rename_move_and_delete_reach_the_gateway(
    cluster: Cluster, start: Start, follow: Follow
) -> None:
    start()
    gateway = follow()
    cluster.apply(budget("search", 100))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 100}, "the budget")
    cluster.apply(budget("search", 250))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 250}, "the raise")
    cluster.apply(budget("find", 250, name="search"))
    until(lambda: limits(gateway.policy()), lambda p: p == {"find": 250}, "another team")
    cluster.apply(budget("find", 300, namespace="other", name="moved"))
    cluster.kubectl("delete", "lb", "search", "-n", "ml-platform")
    until(lambda: limits(gateway.policy()), lambda p: p == {"find": 300}, "the move")
    cluster.kubectl("delete", "lb", "moved", "-n", "other")
    until(lambda: limits(gateway.policy()), lambda p: p == {}, "the deletion")


def test_the_older_of_two_budgets_of_a_team_wins_until_it_goes(
    cluster: Cluster, start: Start, follow: Follow
) -> None:
    start()
    gateway = follow()
    cluster.apply(budget("search", 100, name="zz-first"))
    created = cluster.get("lb", "zz-first", "-n", "ml-platform")["metadata"]["creationTimestamp"]

    def second() -> str:
        cluster.apply(budget("search", 900, name="second", namespace="other"))
        return str(cluster.get("lb", "second", "-n", "other")["metadata"]["creationTimestamp"])

    until(
        second,
        lambda at: at > created or bool(cluster.kubectl("delete", "lb", "second", "-n", "other") and False),
        "a later second",
    )
    status = await_status(cluster, "second", lambda s: s.get("phase") == "Conflict", "Conflict", "other")
    assert "ml-platform/zz-first" in condition(status, "Conflict")["message"]
    assert limits(gateway.policy()) == {"search": 100}
    cluster.kubectl("delete", "lb", "zz-first", "-n", "ml-platform")
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 900}, "the younger one")
    await_status(cluster, "second", lambda s: s["phase"] == "Ready", "Ready", "other")


BROKEN: dict[str, Any] = {"costRouting": {"enabled": True}}


def test_an_invalid_document_leaves_its_last_valid_generation_in_force_also_over_a_restart(
    cluster: Cluster, start: Start, follow: Follow
) -> None:
    first = start()
    gateway = follow()
    cluster.apply(budget("search", 100))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 100}, "the budget")
    cluster.apply(budget("search", 500, **BROKEN))
    status = await_status(cluster, "search", lambda s: s.get("phase") == "Invalid", "Invalid")
    assert "spec.costRouting.cheapModel" in condition(status, "Invalid")["message"]
    assert (status["observedGeneration"], status["enforcedGeneration"]) == (2, 1)
    assert first.stop() == 0
    start("ctl-b")
    cluster.apply(budget("chat", 7))
    until(
        lambda: limits(gateway.policy()), lambda p: p == {"search": 100, "chat": 7}, "the successor's policy"
    )
    cluster.apply(budget("search", 500))
    until(lambda: limits(gateway.policy()), lambda p: p["search"] == 500, "the mended budget")
    await_status(cluster, "search", lambda s: s["phase"] == "Ready", "Ready")


def test_a_document_that_never_was_valid_enforces_nothing_and_says_why(
    cluster: Cluster, start: Start, follow: Follow
) -> None:
    start()
    gateway = follow()
    cluster.apply({**budget("x"), "metadata": {"name": "no-team", "namespace": "other"}, "spec": {}})
    status = await_status(cluster, "no-team", lambda s: s.get("phase") == "Invalid", "Invalid", "other")
    assert "spec.team: is missing" in condition(status, "Invalid")["message"]
    assert limits(gateway.policy()) == {}


def test_without_any_controller_gateways_keep_the_last_policy_also_over_a_restart_without_redis(
    cluster: Cluster, start: Start, follow: Follow
) -> None:
    controller = start()
    cluster.apply(budget("search", 100))
    gateway = follow()
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 100}, "the budget")
    controller.stop()
    cluster.apply(budget("search", 200))
    cold = follow("redis://127.0.0.1:1/0")  # nobody listens there; the file is the gateway's
    assert limits(cold.policy()) == {"search": 100}
    assert limits(gateway.policy()) == {"search": 100}
    start("ctl-b")
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 200}, "the change made meanwhile")


def test_a_new_gateway_without_redis_finds_the_policy_in_the_controllers_config_map(
    cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    start()
    kept = tmp_path / "policy.snapshot"

    def found() -> dict[str, Any]:
        """Read as a pod of a new node would, whose Redis does not answer."""
        maps = cluster.read("/api/v1/namespaces/llm-gateway/configmaps")["items"]
        [data] = [m["binaryData"] for m in maps if m["metadata"]["name"] == "spendgate-policy"] or [{}]
        if not data:
            return {}
        kept.write_bytes(base64.b64decode(data["policy.snapshot"]))
        new = RedisPolicySource("redis://127.0.0.1:1/0", tmp_path / "none", second=str(kept))
        return {t: b.monthly_nanousd for t, b in asyncio.run(new.first()).budgets.items()}

    cluster.apply(budget("search", 7))
    until(found, lambda policy: policy == {"search": usd_to_nano(7)}, "the policy in its map", 60)
    cluster.apply(budget("search", 8))
    until(found, lambda policy: policy == {"search": usd_to_nano(8)}, "the raise in its map", 60)


def test_a_policy_lost_with_redis_is_written_anew_and_taken(
    cluster: Cluster, start: Start, follow: Follow, redis_url: str
) -> None:
    import redis as sync_redis

    start()
    gateway = follow()
    cluster.apply(budget("search", 100))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 100}, "the budget")
    with sync_redis.Redis.from_url(redis_url) as client:
        client.flushall()
        until(lambda: client.hget("sg1:policy", "generation"), bool, "the policy again")
    cluster.apply(budget("search", 300))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 300}, "a change after the loss")


def test_one_namespace_is_watched_where_one_is_named(cluster: Cluster, start: Start, follow: Follow) -> None:
    start(WATCH_NAMESPACE="other")
    gateway = follow()
    cluster.apply(budget("search", 100), budget("chat", 50, namespace="other"))
    until(lambda: limits(gateway.policy()), lambda p: p == {"chat": 50}, "the namespace's budget")
    await_status(cluster, "chat", lambda s: s.get("phase") == "Ready", "Ready", "other")
    assert status_of(cluster, "search") == {}


def test_an_increase_is_in_force_with_the_document(cluster: Cluster, start: Start, follow: Follow) -> None:
    start()
    gateway = follow()
    cluster.apply(budget("search", 100, increase=[{"usd": 50.5, "until": "2099-01-01T00:00:00Z"}]))
    until(lambda: limits(gateway.policy()), lambda p: p == {"search": 100}, "the budget")
    found = gateway.policy().budget("search")
    assert found is not None
    assert found.limit_nanousd(0) == usd_to_nano("150.5")
