"""The Helm chart on a real API server: installed and upgraded by Helm's own code, in a namespace of any name."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import helm, manifests
from support.kube import Cluster, binaries
from support.npm_schemas import crd, foreign
from support.processes import until

Json = dict[str, Any]
OFF = {"enabled": False}
ON_1_20 = {"doctor": OFF, "disruptionBudgets": OFF}
"""The API server that can be made here is 1.20: it serves two kinds one version older."""
EXAMPLES = ("envoy-tls", "envoy-gateway", "istio-ha")
"""Together they have every kind of every component."""


def values(name: str) -> Json:
    return {**helm.example(name), **ON_1_20}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A fresh cluster with other people's CRDs."""
    cluster = Cluster(tmp_path_factory.mktemp("kube"), *binaries())
    try:
        cluster.start()
        kinds = sorted({kind for name in EXAMPLES for kind in foreign(helm.documents(values(name)))})
        assert kinds
        cluster.apply(*(crd(*kind) for kind in kinds))
        cluster.established()
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}})
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def fresh(server: Cluster) -> Iterator[None]:
    """Each test finds a cluster without the kind, which a release leaves behind."""
    yield
    server.kubectl("delete", "crd", "llmbudgets.ai.systemhardening.com", "--ignore-not-found")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart without `kubeVersion`: this API server was built without a version, and calls itself 0.0.0."""
    copy = shutil.copytree(helm.CHART, tmp_path_factory.mktemp("chart") / "spendgate")
    about = copy / "Chart.yaml"
    lines = about.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("kubeVersion:")]
    assert len(kept) == len(lines) - 1
    about.write_text("".join(kept))
    return copy


def without_a_field(chart: Path, folder: Path) -> Path:
    """A chart of before: its kind does not know `spec.cutStreams`."""
    older = shutil.copytree(chart, folder / "older")
    template = older / "templates" / "crd.yaml"
    text, found = re.subn(r"(?m)^( +)cutStreams:\n(?:\1 +.*\n)+", "", template.read_text())
    assert found == 1
    template.write_text(text)
    return older


BUDGET: Json = {
    "apiVersion": "ai.systemhardening.com/v1",
    "kind": "LLMBudget",
    "metadata": {"name": "payments", "namespace": "default"},
    "spec": {"team": "payments", "monthlyBudgetUSD": 10, "alertThresholds": [], "cutStreams": True},
}


def applied(server: Cluster) -> str:
    """What kubectl says against the budget; it looks at the kind's schema, published a moment after it is served."""
    try:
        server.apply(BUDGET)
    except RuntimeError as error:
        return str(error)
    return ""


def test_an_upgrade_brings_the_kinds_new_fields_and_leaves_all_budgets(
    server: Cluster, chart: Path, tmp_path: Path
) -> None:
    kubeconfig = server.kubeconfig("admin")
    helm.release("install", kubeconfig, "platform-llm", values("envoy-tls"), without_a_field(chart, tmp_path))
    server.established()
    with pytest.raises(RuntimeError, match="cutStreams"):
        server.apply(BUDGET)
    known = {k: v for k, v in BUDGET["spec"].items() if k != "cutStreams"}
    server.apply({**BUDGET, "spec": known})
    before = server.get("llmbudgets/payments", "-n", "default")
    done = helm.release("upgrade", kubeconfig, "platform-llm", values("envoy-tls"), chart)
    assert (done["status"], done["revision"]) == ("deployed", 2)
    until(lambda: applied(server), lambda said: said == "", "the kind's new schema is published", 60)
    after = server.get("llmbudgets/payments", "-n", "default")
    assert after["spec"]["cutStreams"] is True
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    helm.release("uninstall", kubeconfig, "platform-llm")
    assert server.get("llmbudgets/payments", "-n", "default")["metadata"]["uid"] == before["metadata"]["uid"]
    assert server.get("deployments", "-n", "platform-llm")["items"] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_fresh_cluster_takes_all_of_it_and_again_without_a_change(
    server: Cluster, chart: Path, name: str
) -> None:
    kubeconfig, namespace = server.kubeconfig("admin"), f"ns-{name}"
    given = values(name)
    done = helm.release("install", kubeconfig, namespace, given, chart)
    assert done["status"] == "deployed"

    def contents() -> dict[str, Any]:
        listed = server.get("deployments,services,configmaps,networkpolicies", "-n", namespace)["items"]
        return {
            d["kind"] + d["metadata"]["name"]: (d["metadata"].get("generation"), d.get("spec"), d.get("data"))
            for d in listed
        }

    before = contents()
    expected = [
        d for d in helm.documents(given, namespace)
        if d["kind"] in ("Deployment", "Service", "ConfigMap", "NetworkPolicy")
        and d["metadata"]["namespace"] == namespace
    ]  # fmt: skip
    assert {d["kind"] + d["metadata"]["name"] for d in expected} <= before.keys()
    helm.release("upgrade", kubeconfig, namespace, given, chart)
    assert contents() == before
    helm.release("uninstall", kubeconfig, namespace)


def test_by_kustomize_too_another_namespace_is_one_word(server: Cluster) -> None:
    page = (helm.ROOT / "docs/how-to/helm.md").read_text(encoding="utf-8")
    [(overlay, script)] = re.findall(
        r"kubectl kustomize k8s/(\S+) \| sed '(\S+)' \| kubectl apply -f -", page
    )
    moved = subprocess.run(
        ["sed", script], input=manifests.rendered(overlay), capture_output=True, text=True, check=True
    ).stdout
    assert "llm-gateway" not in moved
    documents = [d for d in yaml.safe_load_all(moved) if d["kind"] != "PodDisruptionBudget"]  # of 1.21
    server.apply(*(d for d in documents if d["kind"] == "CustomResourceDefinition"))
    server.established()
    said = server.kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-",
        stdin=yaml.safe_dump_all(documents), warnings=True,
    ).splitlines()  # fmt: skip
    assert len(said) == len(documents)
    assert all(line.endswith(" serverside-applied") for line in said), said
    assert {d["metadata"].get("namespace", "platform-llm") for d in documents} == {
        "platform-llm",
        "istio-system",
    }
