"""Whose a team is, decided by the controller on a real API server."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis as sync_redis
from support.kube import ROOT, Cluster
from support.processes import SPENDGATE, until

from spendgate.budget.policy import Policy
from spendgate.controller.ownership import ANNOTATION
from spendgate.policy.store import POLICY_KEY, decode, policy_of

from .conftest import Start, await_status, budget, condition

STRICT = {"SPENDGATE_OWNERSHIP": "strict", "SPENDGATE_ADMIN_NAMESPACES": "other"}


@pytest.fixture(autouse=True)
def ungranted(cluster: Cluster) -> Iterator[None]:
    yield
    grant(cluster, "ml-platform", "")


def grant(cluster: Cluster, namespace: str, teams: str) -> None:
    what = f"{ANNOTATION}={teams}" if teams else f"{ANNOTATION}-"
    cluster.kubectl("annotate", "--overwrite", "namespace", namespace, what)


def in_force(redis_url: str) -> Policy:
    with sync_redis.Redis.from_url(redis_url) as client:
        data: Any = client.hget(POLICY_KEY, "snapshot")
    return policy_of(decode(data)) if data else Policy()


def await_policy(redis_url: str, teams: set[str], lapsed: set[str]) -> None:
    until(
        lambda: in_force(redis_url), lambda p: (set(p.teams), p.lapsed) == (teams, lapsed), "the policy", 60
    )


def ready(status: dict[str, Any]) -> tuple[str, str]:
    found = condition(status, "Ready")
    return found.get("status", ""), found.get("reason", "")


def test_a_namespace_budgets_its_own_team_what_it_is_granted_and_no_other(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    start(**STRICT)
    cluster.apply(
        budget("ml-platform"), budget("payments", 0), budget("search-eu"),
        budget("elsewhere", namespace="other"),
    )  # fmt: skip
    await_policy(redis_url, {"ml-platform", "elsewhere"}, set())
    status = await_status(cluster, "payments", lambda s: ready(s) == ("False", "NotOwner"), "NotOwner")
    assert status["phase"] == "NotOwner" and status["enforcedGeneration"] == 0
    assert "kubectl annotate" in condition(status, "Ready")["message"]
    (row,) = [x for x in cluster.kubectl("get", "lb", "-n", "ml-platform").splitlines() if "payments" in x]
    assert row.split()[-2:] == ["False", "NotOwner"]
    until(
        lambda: {e["reason"] for e in cluster.get("events", "-n", "ml-platform")["items"]},
        lambda found: "NotEnforced" in found, "an event",
    )  # fmt: skip
    grant(cluster, "ml-platform", "search-*")
    await_policy(redis_url, {"ml-platform", "elsewhere", "search-eu"}, set())


def test_what_was_in_force_stays_when_strict_is_switched_on_and_an_edit_ends_it(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    cluster.apply(budget("search", 100), budget("ml-platform", 100))
    before = start()
    await_policy(redis_url, {"ml-platform", "search"}, set())
    before.stop()
    after = start("ctl-strict", **STRICT)
    status = await_status(cluster, "search", lambda s: ready(s) == ("False", "NotOwner"), "the warning")
    assert status["enforcedGeneration"] == 1 and "stays so until" in condition(status, "Ready")["message"]
    await_policy(redis_url, {"ml-platform", "search"}, set())
    cluster.apply(budget("search", 9_000_000))
    await_policy(redis_url, {"ml-platform"}, {"search"})
    assert after.metric("spendgate_teams_lapsed") == 1
    assert after.metric('spendgate_budgets{state="not_owner"}') == 1
    after.stop()
    start("ctl-again", **STRICT)
    await_status(cluster, "search", lambda s: s["enforcedGeneration"] == 0, "the refusal's status")
    await_policy(redis_url, {"ml-platform"}, {"search"})
    grant(cluster, "ml-platform", "search")
    await_policy(redis_url, {"ml-platform", "search"}, set())
    await_status(cluster, "search", lambda s: s["enforcedGeneration"] == 2, "the grant")


def test_a_grant_that_is_withdrawn_refuses_the_team_and_an_owner_s_budget_ends_that(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    grant(cluster, "ml-platform", "search")
    start(**STRICT)
    cluster.apply(budget("search", 100))
    await_policy(redis_url, {"search"}, set())
    grant(cluster, "ml-platform", "")
    await_policy(redis_url, set(), {"search"})
    cluster.apply(budget("search", 70, namespace="other"))
    await_policy(redis_url, {"search"}, set())
    assert in_force(redis_url).budgets["search"].name == "other/search"


def test_where_namespaces_can_not_be_read_nothing_changes_and_the_controller_is_not_ready(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    cluster.apply(budget("search", 100))
    first = start()
    await_policy(redis_url, {"search"}, set())
    first.stop()
    cluster.kubectl(
        "patch",
        "clusterrole",
        "llm-budget-controller",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/rules/3"}]',
    )
    try:
        blind = start("ctl-blind", wait=False, **STRICT)
        until(lambda: blind.page("/readyz")[1], lambda x: "namespaces are not listed" in x, "the reason", 60)
        cluster.apply(budget("search", 5))
        until(lambda: len(blind.said("watch_failed")), lambda n: n >= 3, "some refused lists", 60)
        assert in_force(redis_url).budgets["search"].monthly_nanousd == 100 * 10**9
    finally:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "k8s" / "base"))
    until(lambda: blind.page("/readyz")[0], lambda s: s == 200, "ready again", 60)
    await_policy(redis_url, set(), {"search"})  # it was edited meanwhile


def test_an_installation_upgraded_to_strict_frees_no_team_and_is_told_what_to_annotate(
    cluster: Cluster, start: Start, redis_url: str
) -> None:
    """Budgets as people have them today, across namespaces; then what the doctor prints is run as it stands."""
    teams = {"ml-platform", "payments", "search-eu", "unattributed"}
    cluster.apply(*(budget(t, 100) for t in sorted(teams - {"unattributed"})), budget("unattributed", 0))
    today = start(SPENDGATE_OWNERSHIP="open")
    await_policy(redis_url, teams, set())
    today.stop()
    start("ctl-upgraded", SPENDGATE_OWNERSHIP="strict")
    for name in sorted(teams - {"ml-platform"}):
        await_status(cluster, name, lambda s: ready(s) == ("False", "NotOwner"), f"the warning of {name}")
    await_policy(redis_url, teams, set())  # each as before, none lapsed and none without a bound
    argv = [SPENDGATE, "doctor", "--redis", redis_url, "-o", "json"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)
    commands = {w for f in told["findings"] for w in re.findall(r"kubectl (annotate [^;]*'[^']+')", f["fix"])}
    assert len(commands) == 1, told
    cluster.kubectl(*shlex.split(commands.pop()))
    for name in sorted(teams):
        await_status(cluster, name, lambda s: ready(s)[1] != "NotOwner", f"{name} in its right")
    await_policy(redis_url, teams, set())
    cluster.apply(budget("payments", 200))
    until(
        lambda: in_force(redis_url).budgets["payments"].monthly_nanousd,
        lambda usd: usd == 200 * 10**9, "an edit that binds", 60,
    )  # fmt: skip
