"""More than one ext_proc filter on the way of a request: another product's beside ours, and ours twice.

As Istio would set it up, with the rendered EnvoyFilters merged in: a sidecar and an egress gateway that both carry our
filter, and a gateway whose routes configure another ext_proc filter by the generic name.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.istio import patched, proxy
from support.keyed_provider import KeyedProvider
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.sidecars import CLUSTER, SERVICE, envoy

from spendgate.supervisor.bootstrap import TYPE

Json = dict[str, Any]
POLICY = policy(budget("ml", 10), budget("broke", 0), budget("one", 0.0053))
CHAT = "/v1/chat/completions"
GENERIC = "envoy.filters.http.ext_proc"


@dataclass
class Ways:
    """The URLs of the Envoys, the provider behind them and what the gateway wrote down."""

    provider: KeyedProvider
    admin: str
    log: Path
    urls: dict[str, str] = field(default_factory=dict)

    def ask(self, way: str, team: str, body: Json | None = None, **headers: str) -> httpx.Response:
        """One chat call."""
        asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 500}
        return httpx.post(
            self.urls[way] + CHAT, json=asked if body is None else body, trust_env=False, timeout=60,
            headers={"x-llm-team": team, "host": "api.openai.com", **headers},
        )  # fmt: skip

    def row(self, team: str) -> Json:
        """The team's row of the ledger, once nothing is held."""

        def look() -> Json:
            rows = httpx.get(f"{self.admin}/v1/budgets", trust_env=False, timeout=60).json()
            found: Json = next((r for r in rows if r["team"] == team), {"requests": 0, "reserved_usd": "0"})
            return found

        return until(look, lambda r: float(r["reserved_usd"]) == 0, "the end of its holds")

    def lines(self, team: str) -> list[Json]:
        """The team's usage lines so far."""
        text = self.log.read_text() if self.log.exists() else ""
        lines = [json.loads(x) for x in text[: text.rfind("\n") + 1].splitlines()]
        return [x for x in lines if x["team"] == team]


def rendered(attach: str, *argv: str) -> Json:
    printed = subprocess.run(
        [SPENDGATE, "render", "envoyfilter", "--service", SERVICE, "--attach", attach, "--namespace", "ml", *argv],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    document: Json = yaml.safe_load(printed)
    return document


def manager(config: Json) -> Json:
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    found: Json = chain["filters"][0]["typed_config"]
    return found


def with_pool(config: Json) -> Json:
    """The same gateway with an InferencePool on its route: Istio's own ext_proc filter and what the route sets for it,
    both by the generic name (pilot/pkg/networking/core/route)."""
    nobody = f"127.0.0.1:{free_port()}"
    service = {"envoy_grpc": {"cluster_name": "picker"}}
    picker = {
        "@type": TYPE + "extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": service,
        "failure_mode_allow": True,
        "processing_mode": {"request_header_mode": "SKIP", "response_header_mode": "SKIP"},
    }
    override = {
        "grpc_service": service,
        "failure_mode_allow": True,
        "processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SKIP"},
    }
    found = manager(config)
    found["http_filters"].insert(0, {"name": GENERIC, "typed_config": picker})
    for host in found["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route["typed_per_filter_config"] = {
                GENERIC: {
                    "@type": TYPE + "extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
                    "overrides": override,
                }
            }
    [provider] = [c for c in config["static_resources"]["clusters"] if c["name"] == CLUSTER]
    config["static_resources"]["clusters"].append(
        {**provider, "name": "picker", "load_assignment": {
            "cluster_name": "picker",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": int(nobody.rpartition(":")[2])}}}}]}],
        }}
    )  # fmt: skip
    return config


def believing(config: Json) -> Json:
    """The same gateway, for which a client of the pods' network is one of the mesh's own."""
    ranges = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
    manager(config)["internal_address_config"] = {"cidr_ranges": ranges}
    return config


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("two")
    (folder / "policy.yaml").write_text(POLICY)
    worker, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with ExitStack() as stack:
        provider = stack.enter_context(KeyedProvider())
        serve = Command(
            folder / "serve",
            ["serve", "--grpc", worker, "--admin", admin, "--data-dir", str(folder / "data"),
             "--policy", str(folder / "policy.yaml")],
        )  # fmt: skip
        stack.callback(serve.stop)
        serve.ready()
        ways = Ways(provider, f"http://{admin}", folder / "data" / "usage.jsonl")
        to_provider = provider.url.removeprefix("http://")

        def start(
            name: str, upstream: str, document: Json, change: Callable[[Json], Json] = lambda c: c
        ) -> str:
            listen = f"127.0.0.1:{free_port()}"
            config = patched(proxy(listen, upstream, worker, CLUSTER), document)
            stack.enter_context(envoy(folder / name, change(config)))
            ways.urls[name] = f"http://{listen}"
            until(lambda: _serves(ways.urls[name]), bool, f"Envoy {name}", 60)
            return listen

        start("egress", to_provider, rendered("gateway"), believing)
        start("pool", to_provider, rendered("gateway"), with_pool)
        yield ways


def _serves(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=10).status_code < 500
    except httpx.TransportError:
        return False


def test_what_a_route_sets_for_another_processor_does_not_touch_ours(ways: Ways) -> None:
    answer = ways.ask("pool", "broke")
    assert answer.status_code == 429, answer.text
    assert answer.headers["x-spendgate-reason"] == "monthly_budget_exceeded"


def test_a_client_can_not_make_a_meshs_router_repeat_a_paid_call(ways: Ways) -> None:
    before = len(ways.provider.seen)
    ways.provider.statuses = [503, 503, 503]
    forged = {
        "x-forwarded-for": "10.0.0.9", "x-envoy-retry-on": "5xx", "x-envoy-max-retries": "3",
        "x-envoy-upstream-rq-timeout-ms": "60000",
    }  # fmt: skip
    answer = ways.ask("egress", "ml", **forged)
    ways.provider.statuses = []
    assert answer.status_code == 503
    seen = ways.provider.seen[before:]
    assert len(seen) == 1
    assert not {n for n in forged if n.startswith("x-envoy-")} & set(seen[0].headers)


def test_no_provider_learns_whose_certificate_called_even_on_paths_that_cost_nothing(ways: Ways) -> None:
    told = {"x-forwarded-client-cert": "URI=spiffe://c/ns/ml/sa/a", "x-envoy-peer-metadata": "e30="}
    assert ways.ask("egress", "ml", **told).status_code == 200
    assert not set(told) & set(ways.provider.seen[-1].headers)
    httpx.get(f"{ways.urls['egress']}/v1/models", headers=told, trust_env=False, timeout=60)
    assert ways.provider.seen[-1].path == "/v1/models"
    assert not set(told) & set(ways.provider.seen[-1].headers)
