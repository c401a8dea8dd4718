"""Every manifest of k8s/ on a real API server, with the kinds of Istio, Envoy Gateway, cert-manager and the
Prometheus operator: applied without a warning, without an unknown field, and twice without a change."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.kube import Cluster, binaries
from support.manifests import OVERLAYS, TENANTS, documents
from support.npm_schemas import crd, foreign
from support.processes import program

Json = dict[str, Any]
ALL = ("base", *OVERLAYS, *TENANTS)
OLD = {"PodDisruptionBudget": "policy/v1beta1", "CronJob": "batch/v1beta1"}
"""The API server that can be made here is 1.20: it serves these kinds one version older, with the same fields.
(The newer version is checked against its schema in tests/integration/k8s.)"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server of its own with other people's CRDs and the namespaces that the manifests expect."""
    cluster = Cluster(tmp_path_factory.mktemp("kube"), *binaries())
    try:
        cluster.start()
        kinds = sorted({kind for name in ALL for kind in foreign(documents(name))})
        assert kinds
        cluster.apply(*(crd(*kind) for kind in kinds))
        cluster.established()
        for namespace in ("istio-system", "ml-platform"):
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        yield cluster
    finally:
        cluster.stop()


def apply(cluster: Cluster, docs: list[Json]) -> subprocess.CompletedProcess[str]:
    """kubectl apply, server-side, with every field checked; stderr holds warnings."""
    for document in docs:
        document["apiVersion"] = OLD.get(document["kind"], document["apiVersion"])
    return subprocess.run(
        [program("kubectl"), f"--kubeconfig={cluster.kubeconfig('admin')}", f"--cache-dir={cluster.folder}/cache",
         "apply", "--server-side", "--validate=strict", "-f", "-"],
        input=yaml.safe_dump_all(docs), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def a_new_installation(cluster: Cluster) -> None:
    """Take the gateways away that another overlay left: server-side apply cannot change a probe's kind in place, since
    what the API server filled in (httpGet.scheme) is nobody's and stays (docs/how-to/upgrade.md)."""
    subprocess.run(
        [program("kubectl"), f"--kubeconfig={cluster.kubeconfig('admin')}", f"--cache-dir={cluster.folder}/cache",
         "delete", "deployments", "--all", "-n", "llm-gateway"],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def first_the_crd(cluster: Cluster, docs: list[Json]) -> None:
    ours = [d for d in docs if d["kind"] == "CustomResourceDefinition"]
    if ours:
        cluster.apply(*ours)
        cluster.established()


@pytest.mark.parametrize("name", ALL)
def test_it_is_applied_without_a_warning(server: Cluster, name: str) -> None:
    docs = documents(name)
    a_new_installation(server)
    first_the_crd(server, docs)
    done = apply(server, docs)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(docs)


def test_applied_again_it_changes_nothing(server: Cluster) -> None:
    docs = documents("overlays/istio")
    a_new_installation(server)
    first_the_crd(server, docs)
    assert apply(server, documents("overlays/istio")).returncode == 0

    def contents() -> dict[str, Any]:
        listed = server.get("deployments,services,configmaps,networkpolicies", "-n", "llm-gateway")["items"]
        return {
            d["kind"] + d["metadata"]["name"]: (
                d["metadata"].get("generation"), d.get("spec"), d.get("data")
            ) for d in listed
        }  # fmt: skip

    before = contents()
    done = apply(server, docs)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents() == before


def some(name: str, kind: str) -> Json:
    return next(copy.deepcopy(d) for d in documents(name) if d["kind"] == kind)


@pytest.mark.parametrize(
    ("name", "kind", "at"),
    [
        ("overlays/istio", "EnvoyFilter", ("spec",)),
        ("overlays/istio", "AuthorizationPolicy", ("spec", "rules", 0, "to", 0, "operation")),
        ("overlays/istio", "ServiceEntry", ("spec", "ports", 0)),
        ("overlays/istio", "PodMonitor", ("spec", "podMetricsEndpoints", 0)),
        ("overlays/istio", "PrometheusRule", ("spec", "groups", 0)),
        ("overlays/envoy-gateway", "EnvoyExtensionPolicy", ("spec", "extProc", 0, "processingMode")),
        ("overlays/envoy-gateway", "BackendTrafficPolicy", ("spec", "timeout", "http")),
        ("base", "Deployment", ("spec", "template", "spec")),
        ("base", "LLMBudget", ("spec",)),
    ],
)
def test_a_field_that_its_kind_does_not_have_would_be_seen(
    server: Cluster, name: str, kind: str, at: tuple[str | int, ...]
) -> None:
    first_the_crd(server, documents("base"))
    apply(server, [some("base", "Namespace")])
    sample = Path(__file__).parents[3] / "k8s" / "samples" / "ml-team-budget.yaml"
    document = yaml.safe_load(sample.read_text()) if kind == "LLMBudget" else some(name, kind)
    inside: Any = document
    for step in at:
        inside = inside[step]
    inside["noSuchField"] = 1
    done = apply(server, [document])
    assert done.returncode != 0
    assert "noSuchField" in done.stderr


def test_the_samples_are_budgets(server: Cluster) -> None:
    first_the_crd(server, documents("base"))
    folder = Path(__file__).parents[3] / "k8s" / "samples"
    docs = [d for p in sorted(folder.glob("*.yaml")) for d in yaml.safe_load_all(p.read_text())]
    done = apply(server, docs)
    assert (done.returncode, done.stderr) == (0, "")
