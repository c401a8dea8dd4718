"""What the EnvoyFilter makes of Istio's cluster and hosts: a gateway that hangs is left, and only LLM hosts pay."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psutil
import pytest
import yaml
from support.calls import who
from support.istio import authorization, patched, proxy
from support.manifests import documents
from support.pki import Authority
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.provider import Provider
from support.sidecars import CLUSTER, SERVICE, envoy, inbound, spiffe, tls, with_certificate

LLM, OTHER = "api.openai.com", "packages.example.com"
POLICY = policy(budget("broke", 0))


@dataclass(frozen=True)
class House:
    """The egress gateway's address, and two gateways behind sidecars of their own."""

    url: str
    gateways: list[Command]
    admins: list[str]

    def ask(self, host: str = LLM) -> httpx.Response:
        """A call of a team without money: 429, or it was not decided."""
        body = {"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"host": host, **who("broke", output_tokens=5)}
        url = f"{self.url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "policy.yaml").write_text(POLICY)
    ca = Authority(folder)
    [allowed] = [
        d for d in documents("overlays/istio")
        if d["kind"] == "AuthorizationPolicy" and d["metadata"]["name"] == "spendgate"
    ]  # fmt: skip
    listen = f"127.0.0.1:{free_port()}"
    own = tls("UpstreamTlsContext", ca.issue("egress", uri=spiffe("istio-system", "egress")), ca.file)
    argv = [SPENDGATE, "render", "envoyfilter", "--service", SERVICE, "--host", LLM]
    rendered = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    gateways, sidecars, inside = [], [], []
    with Provider(folder / "provider") as provider:
        try:
            for name in ("one", "two"):
                worker, admin, port = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", free_port()
                gateway = Command(
                    folder / name,
                    ["serve", "--grpc", worker, "--admin", admin, "--data-dir", str(folder / name / "data"),
                     "--policy", str(folder / "policy.yaml")],
                )  # fmt: skip
                gateways.append(gateway)
                gateway.ready()
                server = ca.issue(name, uri=spiffe("llm-gateway", "spendgate"))
                accepting = tls("DownstreamTlsContext", server, ca.file, require_client_certificate=True)
                rules = authorization(allowed, {"9002": port, "9090": 9090})
                before = inbound(f"127.0.0.1:{port}", worker, accepting, (rules,))
                sidecar = envoy(folder / f"{name}-sidecar", before)
                sidecar.__enter__()
                sidecars.append(sidecar)
                inside.append((f"127.0.0.1:{port}", f"http://{admin}"))
            base = proxy(listen, provider.address, [a for a, _ in inside], CLUSTER, (LLM, OTHER))
            merged = patched(with_certificate(base, own), yaml.safe_load(rendered))
            with envoy(folder / "egress", merged):
                made = House(f"http://{listen}", gateways, [a for _, a in inside])
                until(lambda: _decided(made), bool, "the whole way", 60)
                yield made
        finally:
            for sidecar in sidecars:
                sidecar.__exit__(None, None, None)
            for gateway in gateways:
                gateway.stop()


def _decided(house: House) -> bool:
    try:
        return house.ask().status_code == 429
    except httpx.TransportError:
        return False


def _signal(gateway: Command, number: int) -> None:
    process = psutil.Process(gateway.process.pid)
    for each in (process, *process.children(recursive=True)):
        each.send_signal(number)


def _counted(house: House) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for admin in house.admins
        for line in httpx.get(f"{admin}/metrics", trust_env=False, timeout=60).text.splitlines()
        if line.startswith("llm_requests_rejected_budget_total")
    )


def test_only_calls_to_llm_hosts_meet_the_filter(house: House) -> None:
    before = _counted(house)
    assert house.ask(OTHER).status_code == 200
    assert house.ask(f"{OTHER}:80").status_code == 200
    assert house.ask().status_code == 429
    assert house.ask(f"{LLM}:80").status_code == 429
    assert _counted(house) == before + 2


def test_a_gateway_that_hangs_is_left_within_seconds_though_its_sidecar_answers(house: House) -> None:
    hung = house.gateways[0]
    _signal(hung, signal.SIGSTOP)
    try:
        began = time.monotonic()
        while time.monotonic() - began < 8:  # two checks of two seconds, a second apart
            house.ask()
        answers = [house.ask() for _ in range(100)]
        assert [a.status_code for a in answers] == [429] * 100
    finally:
        _signal(hung, signal.SIGCONT)
    until(lambda: house.ask().status_code, lambda s: s == 429, "both again", 30)
