"""What the API server takes, and whom it lets do what."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.kube import ROOT, Cluster
from support.processes import until

from .conftest import Start, await_status, budget, documents

DATA = Path(__file__).parent / "data"
EXAMPLE = ROOT / "k8s" / "samples" / "ml-team-budget.yaml"
LOOSE: list[dict[str, Any]] = [
    {},
    {"spec": {}},
    {"spec": {"team": "Any Name / at all", "monthlyBudgetUSD": 0.000001}},
    {"spec": {"alertThresholds": [{}], "modelLimits": [{"allowedApps": []}]}},
    {"spec": {"costRouting": {"enabled": True}, "team": "x" * 300}},
    {"spec": {"alertThresholds": [{"percent": 1000, "action": "reject"}]}},
    {"status": {"lastUpdated": "yesterday", "currentSpendUSD": -1.5}},
]
"""Valid under the first release's schema, however odd. (Empty texts are, too; but an API server of 1.20 that was
compiled by a newer Go takes them for null, with any schema.)"""

OUT_OF_BOUNDS = [
    ("spec.monthlyBudgetUSD", {"monthlyBudgetUSD": -1}),
    ("spec.alertThresholds.percent", {"alertThresholds": [{"percent": 0, "action": "alert"}]}),
    ("spec.alertThresholds.percent", {"alertThresholds": [{"percent": 1001, "action": "alert"}]}),
    ("spec.alertThresholds.action", {"alertThresholds": [{"percent": 5, "action": "page"}]}),
    ("spec.mode", {"mode": "off"}),
    ("spec.monthlyBudgetUSD", {"monthlyBudgetUSD": "8000"}),
    ("spec.overshootPercent", {"overshootPercent": 101}),
    ("spec.increase.until", {"increase": [{"usd": 1}]}),
]


@pytest.mark.parametrize("document", LOOSE, ids=range(len(LOOSE)))
def test_what_the_first_release_took_is_taken(cluster: Cluster, document: dict[str, Any]) -> None:
    meta = {"name": "loose", "namespace": "other"}
    cluster.kubectl(
        "apply", "-f", "-",
        stdin=json.dumps({**budget("x"), "spec": {}} | {"metadata": meta} | document),
    )  # fmt: skip


@pytest.mark.parametrize(("field", "spec"), OUT_OF_BOUNDS)
def test_what_is_out_of_bounds_is_refused_by_name(cluster: Cluster, field: str, spec: dict[str, Any]) -> None:
    document = budget("x", 10)
    document["spec"] |= spec
    answer = cluster.kubectl("apply", "-f", "-", "--validate=false", stdin=json.dumps(document), check=False)
    assert "is invalid" in answer
    assert field in answer


def test_the_first_release_is_taken_over_with_its_documents(pristine: Cluster) -> None:
    pristine.kubectl("create", "namespace", "llm-gateway")
    pristine.kubectl("create", "namespace", "ml-platform")
    for name in ("crd", "controller"):
        pristine.kubectl("apply", "-f", str(DATA / f"first_release_{name}.yaml"))
    until(
        lambda: pristine.kubectl("apply", "-f", str(EXAMPLE), check=False),
        lambda said: "created" in said, "the example under the first release's CRD",
    )  # fmt: skip
    pristine.kubectl("apply", "-k", str(ROOT / "k8s" / "base"))
    rules = pristine.get("clusterrole", "llm-budget-controller")["rules"]
    assert {v for r in rules for v in r["verbs"]} == {"list", "watch", "patch", "create"}
    until(
        lambda: pristine.kubectl(
            "patch", "lb", "ml-team-budget", "-n", "ml-platform", "--subresource=status",
            "--type=merge", "-p", '{"status":{"phase":"Ready"}}', check=False,
        ),
        lambda said: "patched" in said, "the status subresource",
    )  # fmt: skip
    document = pristine.get("lb", "ml-team-budget", "-n", "ml-platform")
    assert document["spec"]["monthlyBudgetUSD"] == 8000
    assert document["status"]["phase"] == "Ready"


def test_defaults_are_written_by_the_api_server(cluster: Cluster) -> None:
    cluster.apply(budget("x", 10, costRouting={"enabled": True, "cheapModel": "gpt-4o-mini"}))
    spec = cluster.get("lb", "x", "-n", "ml-platform")["spec"]
    assert spec["costRouting"]["complexityThreshold"] == 500
    assert spec["mode"] == "enforce"
    assert spec["emergencyBufferPercent"] == 10


def test_the_controller_uses_every_right_that_it_has_and_lacks_none(cluster: Cluster, start: Start) -> None:
    began = time.time()
    first = start(SPENDGATE_OWNERSHIP="strict", SPENDGATE_ADMIN_NAMESPACES="ml-platform")
    cluster.apply(budget("x", 10, defaultModel="mystery-9000"))
    await_status(cluster, "x", lambda s: s.get("phase") == "Ready", "Ready")
    until(lambda: first.metric("spendgate_events_total"), lambda n: n >= 1, "an event")
    cluster.apply(budget("other", 10))
    await_status(cluster, "other", lambda s: s.get("phase") == "Ready", "Ready")
    second = start("ctl-b", SPENDGATE_OWNERSHIP="strict", SPENDGATE_ADMIN_NAMESPACES="ml-platform")
    first.stop()
    until(lambda: second.metric("spendgate_controller_leading"), lambda n: n == 1, "the successor")
    asked = [r for r in cluster.requests() if r.at >= began]
    granted: set[tuple[str, str]] = set()
    for document in documents(ROOT / "k8s" / "base" / "controller-rbac.yaml"):
        for rule in document.get("rules", ()):
            granted |= {(r, v) for r in rule["resources"] for v in rule["verbs"]}
    assert {(r.resource, r.verb) for r in asked if r.code < 400} == granted
    assert [r for r in asked if r.code in (401, 403)] == []
    assert granted == {
        ("llmbudgets", "list"),
        ("llmbudgets", "watch"),
        ("llmbudgets/status", "patch"),
        ("events", "create"),
        ("namespaces", "list"),
        ("namespaces", "watch"),
        ("configmaps", "create"),
        ("configmaps", "patch"),
        ("leases", "create"),
        ("leases", "get"),
        ("leases", "update"),
    }


def test_roles_for_people_let_viewers_read_and_editors_write(cluster: Cluster) -> None:
    cluster.apply(*(_binding(name) for name in ("viewer", "editor")))

    def can(user: str, verb: str, what: str) -> bool:
        return cluster.kubectl("auth", "can-i", verb, what, "-A", user=user, check=False).strip() == "yes"

    lb = "llmbudgets.ai.systemhardening.com"
    assert can("viewer", "list", lb)
    assert can("viewer", "get", f"{lb}/status") or can("viewer", "get", lb)
    assert not can("viewer", "update", lb)
    assert can("editor", "update", lb)
    assert can("editor", "delete", lb)
    assert (
        cluster.kubectl(
            "auth", "can-i", "patch", lb, "--subresource=status", user="editor", check=False
        ).strip()
        == "no"
    )


def _binding(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"test-{name}"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": f"llmbudget-{name}",
        },
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}],
    }
