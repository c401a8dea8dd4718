"""The validating webhook, called by a real API server."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.kube import ROOT, Cluster, environment
from support.ports import free_port
from support.processes import SPENDGATE, until

from .conftest import budget, documents

COMPONENT = ROOT / "k8s" / "components" / "webhook"
BROKEN: dict[str, Any] = {"costRouting": {"enabled": True}}


class Hook:
    """`spendgate webhook` by the service account's own token, and the component's configuration for it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        cluster.apply(*documents(COMPONENT / "webhook-rbac.yaml"))
        asks = ("auth", "can-i", "watch", "llmbudgets.ai.systemhardening.com", "-A")
        until(lambda: cluster.kubectl(*asks, user="webhook", check=False), lambda s: "yes" in s, "its rights")
        self.ca = trustme.CA()
        self.folder, self.port = folder, free_port()
        self.certify()
        argv = [SPENDGATE, "webhook", "--listen", f"127.0.0.1:{self.port}"]
        argv += ["--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key")]
        with (folder / "webhook.log").open("wb") as log:
            self.process = subprocess.Popen(
                argv, env=environment(KUBECONFIG=str(cluster.kubeconfig("webhook"))), stderr=log
            )
        until(self.healthy, lambda ok: ok, "the webhook", 60.0)
        (configuration,) = documents(COMPONENT / "validating-webhook.yaml")
        configuration["webhooks"][0]["clientConfig"] = {
            "url": f"https://127.0.0.1:{self.port}/validate",  # instead of the service: no pod runs here
            "caBundle": base64.b64encode(self.ca.cert_pem.bytes()).decode(),
        }
        cluster.apply(configuration)
        self.name = configuration["metadata"]["name"]

    def certify(self) -> bytes:
        """Write a fresh certificate, the key first."""
        made = self.ca.issue_cert("127.0.0.1")
        made.private_key_pem.write_to_path(self.folder / "tls.key")
        made.cert_chain_pems[0].write_to_path(self.folder / "tls.crt")
        return made.cert_chain_pems[0].bytes()

    def healthy(self) -> bool:
        """Does it answer, with a certificate of the CA?"""
        context = ssl.create_default_context(cadata=self.ca.cert_pem.bytes().decode())
        try:
            with urllib.request.urlopen(
                f"https://127.0.0.1:{self.port}/healthz", context=context, timeout=5
            ) as a:
                return bool(a.status == 200)
        except OSError:
            return False

    def stop(self) -> int:
        """End it."""
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def hook(cluster: Cluster, tmp_path: Path) -> Iterator[Hook]:
    made = Hook(cluster, tmp_path)
    yield made
    cluster.kubectl("delete", "validatingwebhookconfiguration", made.name, "--ignore-not-found")
    if made.process.poll() is None:
        made.stop()


Apply = Callable[[dict[str, Any]], str]


@pytest.fixture
def apply(cluster: Cluster) -> Apply:
    """kubectl apply as a person does it: what it prints, refusals and warnings included."""

    def run(document: dict[str, Any]) -> str:
        return cluster.kubectl("apply", "-f", "-", stdin=json.dumps(document), check=False, warnings=True)

    return run


def test_kubectl_apply_is_refused_in_the_words_of_validate(
    cluster: Cluster, hook: Hook, apply: Apply, tmp_path: Path
) -> None:
    document = budget("search", 100, **BROKEN)
    until(lambda: apply(document), lambda said: "denied the request" in said, "the webhook in force")
    said = apply(document)
    (tmp_path / "search.yaml").write_text(json.dumps(document))
    validated = subprocess.run(
        [SPENDGATE, "validate", str(tmp_path / "search.yaml")], capture_output=True, text=True
    )
    assert validated.returncode == 1
    lines = [line.split(": ", 1)[1] for line in validated.stderr.splitlines()]
    assert lines
    for line in lines:
        assert line in said
    assert cluster.get("lb", "-n", "ml-platform")["items"] == []
    assert "created" in apply(budget("search", 100))
    assert "denied the request" in apply(document)  # an update as well
    assert cluster.get("lb", "search", "-n", "ml-platform")["spec"]["monthlyBudgetUSD"] == 100


def test_a_second_budget_for_a_team_and_a_soft_one_are_taken_with_a_warning(
    cluster: Cluster, hook: Hook, apply: Apply
) -> None:
    assert "created" in apply(budget("search", 100))
    said = until(
        lambda: apply(budget("search", 50, name="second", namespace="other")),
        lambda said: "Warning: team search already has a budget in ml-platform/search" in said
        or bool(cluster.kubectl("delete", "lb", "second", "-n", "other") and False),
        "a warning",
    )  # fmt: skip
    assert "created" in said
    soft = apply(budget("chat", 5, alertThresholds=[{"percent": 50, "action": "alert"}]))
    assert "Warning: no threshold rejects: the monthly budget is soft" in soft
    assert "created" in soft


def test_its_rights_are_what_it_uses(cluster: Cluster, hook: Hook) -> None:
    until(lambda: cluster.requests("webhook"), lambda r: len({x.verb for x in r}) == 2, "list and watch")
    used = {(r.resource, r.verb) for r in cluster.requests("webhook")}
    granted = {
        (resource, verb)
        for d in documents(COMPONENT / "webhook-rbac.yaml")
        for rule in d.get("rules", ())
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used == granted
    assert [r for r in cluster.requests("webhook") if r.code == 403] == []


def test_a_renewed_certificate_is_taken_without_a_restart(hook: Hook) -> None:
    fresh = hook.certify()
    until(
        lambda: ssl.get_server_certificate(("127.0.0.1", hook.port)).encode().split(),
        lambda pem: pem == fresh.split(), "the fresh certificate", 60.0,
    )  # fmt: skip
    assert hook.healthy()


def test_a_webhook_that_is_down_lets_documents_pass(cluster: Cluster, hook: Hook, apply: Apply) -> None:
    document = budget("search", 100, **BROKEN)
    until(lambda: apply(document), lambda said: "denied the request" in said, "the webhook in force")
    assert hook.stop() == 0
    assert "created" in apply(document)
