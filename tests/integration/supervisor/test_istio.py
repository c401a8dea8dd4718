"""`spendgate serve` behind an Envoy that is configured as Istio would, with the rendered EnvoyFilter merged in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
import yaml
from support.calls import who
from support.istio import patched, proxy
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.provider import Provider

from spendgate.envoy.bootstrap import as_yaml
from spendgate.envoy.istio import cluster_name
from spendgate.supervisor.front import envoy_binary

SERVICE = "spendgate.spendgate.svc.cluster.local"
POLICY = policy(budget("ml", 10), budget("broke", 0))


@dataclass(frozen=True)
class Mesh:
    """The proxy's address, the gateway's admin pages, the provider behind."""

    url: str
    admin: str
    provider: Provider

    def client(self) -> Any:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="k", timeout=60, max_retries=0)

    def row(self, team: str) -> dict[str, Any]:
        rows = httpx.get(f"{self.admin}/v1/budgets", trust_env=False, timeout=60).json()
        found: dict[str, Any] = next(r for r in rows if r["team"] == team)
        return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("mesh")
    (folder / "policy.yaml").write_text(POLICY)
    grpc, admin, listen = (f"127.0.0.1:{free_port()}" for _ in range(3))
    rendered = subprocess.run(
        [SPENDGATE, "render", "envoyfilter", "--service", SERVICE, "--port", "9002"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    with Provider(folder / "provider") as provider:
        serve = Command(
            folder / "serve",
            ["serve", "--grpc", grpc, "--admin", admin, "--data-dir", str(folder / "data"),
             "--policy", str(folder / "policy.yaml")],
        )  # fmt: skip
        serve.ready()
        base = proxy(listen, provider.address, grpc, cluster_name(SERVICE, 9002))
        (folder / "envoy.yaml").write_text(as_yaml(patched(base, yaml.safe_load(rendered))))
        with (folder / "envoy.log").open("wb") as log:
            envoy = subprocess.Popen(
                [envoy_binary(), "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id",
                 "--concurrency", "1"],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            until(lambda: _serves(f"http://{listen}/"), bool, "Envoy", 60)
            yield Mesh(f"http://{listen}", f"http://{admin}", provider)
        finally:
            envoy.terminate()
            envoy.wait(60)
            status = serve.stop()
        assert status == 0, serve.stderr


def _serves(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False, timeout=10)
    except httpx.TransportError:
        return False
    return True


def ask(mesh: Mesh, team: str, text: str = "hi", **headers: str) -> Any:
    return mesh.client().chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": text}],
        max_tokens=5,
        extra_headers={**who(team, output_tokens=5), **headers},
    )


def test_a_call_through_the_mesh_is_metered_to_the_ledger(mesh: Mesh) -> None:
    before = mesh.row("ml")
    reply = ask(mesh, "ml")
    cost = Decimal(reply.headers["x-spendgate-cost-usd"])
    assert cost > 0
    row = until(
        lambda: mesh.row("ml"), lambda r: r["requests"] == before["requests"] + 1, "the settlement", 60
    )
    assert Decimal(row["settled_usd"]) - Decimal(before["settled_usd"]) == cost


def test_a_stream_through_the_mesh_is_metered_by_its_usage(mesh: Mesh) -> None:
    before = mesh.row("ml")
    bill = mesh.provider.billed()
    chunks = list(
        mesh.client().chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}], max_tokens=20, stream=True,
            extra_headers=who("ml", output_tokens=20),
        )
    )  # fmt: skip
    assert len(chunks) > 2
    row = until(
        lambda: mesh.row("ml"), lambda r: r["requests"] == before["requests"] + 1, "the settlement", 60
    )
    tokens = {k: n - before["tokens"].get(k, 0) for k, n in row["tokens"].items()}
    assert tokens["output"] == 20
    assert {k: n for k, n in tokens.items() if n} == {k: n for k, n in bill.tokens("gpt-4o").items() if n}


def test_a_budget_refuses_in_the_mesh_and_the_provider_sees_nothing(mesh: Mesh) -> None:
    bill = mesh.provider.billed()
    with pytest.raises(openai.RateLimitError) as refused:
        ask(mesh, "broke")
    assert refused.value.code == "monthly_budget_exceeded"
    assert bill.requests() == 0


def test_a_prompt_of_three_megabytes_passes_the_mesh(mesh: Mesh) -> None:
    assert ask(mesh, "ml", text="word " * 600_000).parse().choices


def test_the_provider_sees_neither_identity_nor_internal_headers(mesh: Mesh) -> None:
    ask(mesh, "ml", **{"x-spendgate-cluster": "forged", "x-llm-run": "r1", "x-budget-utilization": "0"})
    seen = {name.lower() for name in dict(mesh.provider.last()["headers"])}
    assert not {n for n in seen if n.startswith(("x-llm-", "x-spendgate-", "x-budget-"))}


def test_what_no_dialect_claims_passes_the_mesh_untouched(mesh: Mesh) -> None:
    answer = httpx.get(f"{mesh.url}/v1/models", headers=who("ml"), trust_env=False, timeout=60)
    assert "x-spendgate-reason" not in answer.headers
