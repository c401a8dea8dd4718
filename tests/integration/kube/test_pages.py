"""The pages for Istio and Envoy Gateway followed to the letter on a real API server; then a real Envoy with what that
has refuses the right team."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.kube import ROOT, Cluster, binaries
from support.manifests import TENANTS, documents, kustomized
from support.meshes import Mesh
from support.npm_schemas import crd, foreign
from support.processes import program
from support.provider import Provider

from .test_manifests import apply, first_the_crd

Json = dict[str, Any]
SENT = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server with the meshes' own kinds and namespace, and nothing of ours."""
    cluster = Cluster(tmp_path_factory.mktemp("kube"), *binaries())
    try:
        cluster.start()
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}})
        cluster.apply(*(crd(*kind) for name in TENANTS for kind in foreign(documents(name))))
        cluster.established()
        yield cluster
    finally:
        cluster.stop()


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


def installed(cluster: Cluster, page: str, folder: Path) -> None:
    """The page's first step: its kustomization, in a folder beside the checkout."""
    [kustomization] = [b for b in blocks(page, "yaml") if b.startswith("# llm/kustomization.yaml")]
    assert [b for b in blocks(page, "sh") if b == "kubectl apply -k llm\n"]
    (folder / "spendgate").symlink_to(ROOT)
    (folder / "llm").mkdir()
    (folder / "llm/kustomization.yaml").write_text(kustomization)
    made = [d for d in yaml.safe_load_all(kustomized(folder / "llm")) if d]
    cluster.apply(*(crd(*kind) for kind in foreign(made)))
    first_the_crd(cluster, made)
    done = apply(cluster, made)
    assert (done.returncode, done.stderr) == (0, "")


def typed(cluster: Cluster, commands: str) -> None:
    """Commands of the page, in the checkout; a warning is a fault."""
    env = {
        "PATH": f"{Path(program('kubectl')).parent}:{os.environ['PATH']}", "HOME": str(cluster.folder),
        "KUBECONFIG": str(cluster.kubeconfig("admin")),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, env=env, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), commands


def plain(document: Json) -> Json:
    """An object as its author wrote it."""
    kept = {k: v for k, v in document["metadata"].items() if k in ("name", "namespace", "annotations")}
    return {**{k: v for k, v in document.items() if k != "status"}, "metadata": kept}


def settings(cluster: Cluster) -> Json:
    """What the gateways of the server are given."""
    pod = cluster.get("deployments", "spendgate", "-n", "llm-gateway")["spec"]["template"]["spec"]
    [name] = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config"]
    text = cluster.get("configmaps", name, "-n", "llm-gateway")["data"]["config.yaml"]
    found: Json = yaml.safe_load(text)
    return found


class House(Mesh):
    """The mesh with the objects of the server in place of what `render` prints."""

    printed = ""

    def _rendered(self, *_: str) -> str:
        return self.printed

    def ask(self, host: str, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/chat/completions", json=SENT, headers={"host": host, **headers}, trust_env=False,
            timeout=60,
        )  # fmt: skip

    def _passes(self) -> bool:
        try:
            answer = self.ask("api.openai.com")
        except httpx.TransportError:
            return False
        return answer.status_code not in (502, 503) and "x-spendgate-reason" in answer.headers


def budget_of(cluster: Cluster, name: str, namespace: str) -> str:
    return str(yaml.safe_dump(plain(cluster.get("llmbudgets", name, "-n", namespace))))


def test_the_page_for_istio_ends_with_a_429_for_the_namespaces_team(server: Cluster, tmp_path: Path) -> None:
    installed(server, "istio.md", tmp_path)
    [third] = [b for b in blocks("istio.md", "sh") if "kubectl create namespace" in b]
    [fourth] = [b for b in blocks("istio.md", "sh") if "apply -k k8s/tenants/istio" in b]
    typed(server, third)
    typed(server, fourth)
    server.kubectl(
        "patch", "llmbudget", "ml-team-budget", "-n", "ml-platform", "--type=merge", "-p",
        '{"spec": {"monthlyBudgetUSD": 0}}',
    )  # fmt: skip

    class Istio(House):
        printed = yaml.safe_dump(plain(server.get("envoyfilters", "spendgate", "-n", "istio-system")))
        hosts = ("api.openai.com", "api.anthropic.com", "packages.example.com")

    policy = budget_of(server, "ml-team-budget", "ml-platform")
    with (
        Provider(tmp_path / "provider") as provider,
        Istio(
            tmp_path / "house", provider.url, policy, house="istio-gateway", config=settings(server)
        ) as mesh,
    ):
        answer = mesh.ask("api.openai.com", **{"x-llm-team": "somebody-else"})
        assert answer.status_code == 429, answer.text
        assert answer.json()["error"]["details"]["team"] == "ml-platform"
        assert mesh.ask("packages.example.com").status_code == 200, "no LLM host: it pays for nothing"


def test_the_page_for_envoy_gateway_ends_with_a_429(server: Cluster, tmp_path: Path) -> None:
    installed(server, "envoy-gateway.md", tmp_path)
    server.apply({
        "apiVersion": "ai.systemhardening.com/v1", "kind": "LLMBudget",
        "metadata": {"name": "broke", "namespace": "llm-gateway"}, "spec": {"team": "broke", "monthlyBudgetUSD": 0},
    })  # fmt: skip
    kinds = ("envoyextensionpolicies", "backendtrafficpolicies", "clienttrafficpolicies")
    found = [plain(server.get(kind, "spendgate", "-n", "llm-gateway")) for kind in kinds]

    class EnvoyGateway(House):
        printed = yaml.safe_dump_all(found)

    policy = budget_of(server, "broke", "llm-gateway")
    with (
        Provider(tmp_path / "provider") as provider,
        EnvoyGateway(
            tmp_path / "house", provider.url, policy, house="envoy-gateway", config=settings(server)
        ) as mesh,
    ):
        answer = mesh.ask("llm", **{"x-llm-team": "broke"})
        assert (answer.status_code, answer.json()["error"]["details"]["team"]) == (429, "broke")
        assert mesh.ask("llm", **{"x-llm-team": "other"}).status_code == 200
