"""Attached to sidecars: the workload's own certificate names the team, through real Envoys as Istio sets them up.

application → its sidecar ═mTLS═ the gateway's sidecar → spendgate serve

The application `ml/chat` is also let speak to the gateway itself, through its sidecar as it would reach any service.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from support.istio import patched, proxy
from support.keyed_provider import KeyedProvider
from support.pki import Authority
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.sidecars import CLUSTER, SERVICE, calls, envoy, inbound, spiffe, tls, with_certificate

Json = dict[str, Any]
GATEWAYS = ["spiffe://*/ns/istio-system/sa/*"]
CONFIG = {"identity": [{"kind": "jwt"}, {"kind": "spiffe", "sidecars": True, "gateways": GATEWAYS}]}
POLICY = policy(budget("ml", 10), budget("victim", 10), budget("unattributed", 0), budget("istio-system", 10))


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """URLs of a sidecar and of a gateway that are attached; what sends gRPC with their certificates (`…-grpc`); and
    the usage log."""
    folder = tmp_path_factory.mktemp("sidecar")
    ca = Authority(folder)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    worker, admin, inside = (f"127.0.0.1:{free_port()}" for _ in range(3))
    listens = {"sidecar": f"127.0.0.1:{free_port()}", "gateway": f"127.0.0.1:{free_port()}"}
    plain = {name: f"127.0.0.1:{free_port()}" for name in listens}
    names = {"sidecar": spiffe("ml", "chat"), "gateway": spiffe("istio-system", "egress")}
    with ExitStack() as stack:
        provider = stack.enter_context(KeyedProvider())
        serve = Command(
            folder / "serve",
            ["serve", "--grpc", worker, "--admin", admin, "--data-dir", str(folder / "data"),
             "--policy", str(folder / "policy.yaml"), "--config", str(folder / "config.yaml")],
        )  # fmt: skip
        stack.callback(serve.stop)
        serve.ready()
        server = ca.issue("server", uri=spiffe("llm-gateway", "spendgate"))
        accepting = tls("DownstreamTlsContext", server, ca.file, require_client_certificate=True)
        stack.enter_context(envoy(folder / "inbound", inbound(inside, worker, accepting)))
        for attach, listen in listens.items():
            rendered = subprocess.run(
                [SPENDGATE, "render", "envoyfilter", "--service", SERVICE, "--attach", attach,
                 "--namespace", "ml", "--config", str(folder / "config.yaml")],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            base = proxy(listen, provider.url.removeprefix("http://"), inside, CLUSTER)
            own = tls("UpstreamTlsContext", ca.issue(attach, uri=names[attach]), ca.file)
            filtered = patched(with_certificate(base, own), yaml.safe_load(rendered))
            stack.enter_context(envoy(folder / attach, filtered))
            outbound, _ = calls(plain[attach], inside)
            stack.enter_context(envoy(folder / f"{attach}-grpc", with_certificate(outbound, own)))
            until(partial(reason, f"http://{listen}"), bool, "an attached Envoy", 60)
        urls = {k: f"http://{v}" for k, v in listens.items()}
        log = str(folder / "data" / "usage.jsonl")
        yield {**urls, **{f"{k}-grpc": v for k, v in plain.items()}, "log": log}


def reason(url: str) -> str:
    """What a request is told by spendgate ("": it did not take part)."""
    try:
        return ask(url).headers.get("x-spendgate-reason", "")
    except httpx.TransportError:
        return ""


def ask(url: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/chat/completions",
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
        headers={k.replace("_", "-"): v for k, v in headers.items()},
        trust_env=False,
        timeout=60,
    )


def test_a_sidecars_certificate_names_team_and_app_whatever_the_application_says(
    ways: dict[str, str],
) -> None:
    forged = {
        "x_llm_team": "victim", "x_spendgate_attached": "sidecar",
        "x_forwarded_client_cert": f"URI={spiffe('victim', 'app')}",
    }  # fmt: skip
    answer = ask(ways["sidecar"], x_request_id="by-the-sidecar", **forged)
    assert answer.status_code == 200, answer.text

    def line() -> list[Json]:
        text = Path(ways["log"]).read_text()
        lines = [json.loads(x) for x in text[: text.rfind("\n") + 1].splitlines()]
        return [x for x in lines if x["outcome"] == "complete"]

    lines = until(line, bool, "its usage line", 60)
    assert {(x["team"], x["app"]) for x in lines} == {("ml", "chat")}


def test_a_gateways_certificate_is_not_its_callers(ways: dict[str, str]) -> None:
    answer = ask(ways["gateway"], x_forwarded_client_cert=f"URI={spiffe('victim', 'app')}")
    assert answer.status_code == 429
    assert answer.json()["error"]["details"]["team"] == "unattributed"


def exchange(address: str, *metadata: tuple[str, str]) -> str:
    """Whose budget refuses an exchange that claims the certificate and the token of `unattributed`'s neighbour
    `victim`, whose requests cost more than any budget here has: the team that the refusal names."""
    first, body = pb.ProcessingRequest(), pb.ProcessingRequest()
    for key, value in {
        ":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json", "x-llm-team": "victim",
    }.items():  # fmt: skip
        first.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    told = first.attributes["envoy.filters.http.ext_proc"].fields
    told["connection.uri_san_peer_certificate"].string_value = spiffe("victim", "app")
    token = first.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"]
    token.update({"token": {"team": "victim", "azp": "app"}})
    costly = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "n": 128,
        "max_tokens": 16_000,
    }
    body.request_body.body = json.dumps(costly).encode()
    body.request_body.end_of_stream = True
    with grpc.insecure_channel(address) as channel:
        stub = external_processor_pb2_grpc.ExternalProcessorStub(channel)
        answers = list(stub.Process(iter((first, body)), metadata=metadata, timeout=60, wait_for_ready=True))
    assert [a.WhichOneof("response") for a in answers] == ["request_headers", "immediate_response"]
    return str(json.loads(answers[1].immediate_response.body)["error"]["details"]["team"])


def test_an_application_that_speaks_ext_proc_itself_can_name_nobody_but_itself(ways: dict[str, str]) -> None:
    address = ways["sidecar-grpc"]
    forged = ("x-forwarded-client-cert", f"URI={spiffe('istio-system', 'egress')}")
    assert exchange(address) == "ml"
    assert exchange(address, ("x-spendgate-attached", "sidecar")) == "ml"
    assert exchange(address, forged, ("x-spendgate-attached", "gateway")) == "ml"


def test_a_named_gateway_speaks_for_its_callers(ways: dict[str, str]) -> None:
    assert exchange(ways["gateway-grpc"]) == "victim"
