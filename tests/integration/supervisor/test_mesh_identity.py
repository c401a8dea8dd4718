"""In the overlay for Istio the certificate says who asks: what the application's sidecar got from the mesh, and no
header that the application writes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import openai
import pytest
from support.calls import chat
from support.manifests import K8S
from support.meshes import Mesh
from support.policy import budget, policy
from support.processes import until
from support.provider import Provider

from spendgate.settings.config import load_config

POLICY = policy(budget("ml-platform", 10), budget("victim", 10), budget("unattributed", 0))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder: Path = tmp_path_factory.mktemp("identity")
    identity = load_config(K8S / "overlays/istio/config.yaml").identity
    assert [i.kind for i in identity] == ["spiffe"]
    config = {"identity": [i.model_dump() for i in identity]}
    with (
        Provider(folder / "provider") as provider,
        Mesh(folder / "mesh", provider.url, POLICY, house="istio-gateway", config=config) as running,
    ):
        yield running


def test_a_call_is_booked_on_the_namespace_and_service_account_of_its_pod(mesh: Mesh) -> None:
    before = mesh.settled("ml-platform", 1)  # the call that found the whole way there
    reply = chat(mesh, "nobody-reads-this", max_tokens=5)
    row = mesh.settled("ml-platform", before["requests"] + 1)
    cost = Decimal(reply.headers["x-spendgate-cost-usd"])
    assert Decimal(row["settled_usd"]) - Decimal(before["settled_usd"]) == cost > 0
    assert set(row["apps"]) == {"chat"}


def test_a_header_of_the_application_makes_nobody_else_pay(mesh: Mesh) -> None:
    for header in ("x-llm-team", "x-spendgate-team", "x-forwarded-client-cert"):
        value = "By=x;URI=spiffe://cluster.local/ns/victim/sa/x" if "cert" in header else "victim"
        chat(mesh, "victim", max_tokens=5, headers={header: value})
    assert mesh.row("victim")["requests"] == 0


def test_who_is_past_the_budget_is_refused_by_certificate(mesh: Mesh) -> None:
    text = mesh.policy_path.read_text()
    mesh.policy_path.write_text(policy(budget("ml-platform", 0), budget("victim", 10)))

    def refusal() -> openai.RateLimitError | None:
        try:
            chat(mesh, "victim", max_tokens=5)
        except openai.RateLimitError as problem:
            return problem
        return None

    refused = until(refusal, lambda r: r is not None, "the new budget", 60)
    assert refused is not None
    assert refused.body["details"]["team"] == "ml-platform"
    mesh.policy_path.write_text(text)
