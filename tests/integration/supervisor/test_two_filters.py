"""More than one ext_proc filter on the way of a request: another product's beside ours, and ours twice.

As Istio would set it up, with the rendered EnvoyFilters merged in: a sidecar and an egress gateway that both carry our
filter, and a gateway whose routes configure another ext_proc filter by the generic name.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.istio import patched, proxy
from support.keyed_provider import KeyedProvider, Seen
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.provider import Provider
from support.sidecars import CLUSTER, SERVICE, envoy

from spendgate.envoy.parts import TYPE

Json = dict[str, Any]
POLICY = policy(
    budget("ml", 10),
    budget("broke", 0),
    budget("one", 0.0053),
    budget("twice", 10),
    budget("streams", 10),
    budget("leaver", 10),
    budget("pair", 10, members=["twice"]),
)
CHAT = "/v1/chat/completions"
HANDOVER = "x-spendgate-handover"
GENERIC = "envoy.filters.http.ext_proc"


class Leak(KeyedProvider):
    """A service that an attached sidecar calls, and that answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def answer(self, seen: Seen) -> tuple[int, dict[str, Any]]:
        """When it may."""
        if seen.method == "POST":
            assert self.go.wait(60)
        return super().answer(seen)


@dataclass
class Ways:
    """The URLs of the Envoys, the provider behind them and what the gateway wrote down."""

    provider: KeyedProvider
    leak: Leak
    mock: Provider
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
        provider, leak = stack.enter_context(KeyedProvider()), stack.enter_context(Leak())
        serve = Command(
            folder / "serve",
            ["serve", "--grpc", worker, "--admin", admin, "--data-dir", str(folder / "data"),
             "--policy", str(folder / "policy.yaml")],
        )  # fmt: skip
        stack.callback(serve.stop)
        serve.ready()
        mock = stack.enter_context(Provider(folder / "mock"))
        ways = Ways(provider, leak, mock, f"http://{admin}", folder / "data" / "usage.jsonl")
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
        first = rendered("sidecar", "--not-last")
        start("sidecar", ways.urls["egress"].removeprefix("http://"), first)
        last = start("mock-egress", mock.address, rendered("gateway"))
        start("mock-sidecar", last, first)
        start("leak", leak.url.removeprefix("http://"), first)
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
    forged: dict[str, Any] = {
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
    told: dict[str, Any] = {
        "x-forwarded-client-cert": "URI=spiffe://c/ns/ml/sa/a",
        "x-envoy-peer-metadata": "e30=",
    }
    assert ways.ask("egress", "ml", **told).status_code == 200
    assert not set(told) & set(ways.provider.seen[-1].headers)
    httpx.get(f"{ways.urls['egress']}/v1/models", headers=told, trust_env=False, timeout=60)
    assert ways.provider.seen[-1].path == "/v1/models"
    assert not set(told) & set(ways.provider.seen[-1].headers)


@contextmanager
def word_of(ways: Ways, body: Json) -> Iterator[str]:
    """What an attached sidecar sends along to whoever it calls, while that call is open."""
    calls = [x for x in ways.leak.seen if x.method == "POST"]
    call = threading.Thread(target=ways.ask, args=("leak", "ml", body))
    call.start()
    try:
        seen = until(
            lambda: [x for x in ways.leak.seen if x.method == "POST"],
            lambda x: len(x) > len(calls),
            "the call",
        )
        yield seen[-1].headers[HANDOVER]
    finally:
        ways.leak.go.set()
        call.join(60)


def body_of(text: str) -> Json:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "max_tokens": 500}


def test_a_call_through_sidecar_and_egress_gateway_counts_once(ways: Ways) -> None:
    before, seen = ways.row("twice"), len(ways.provider.seen)
    answers = [ways.ask("sidecar", "twice") for _ in range(5)]
    assert [a.status_code for a in answers] == [200] * 5
    cost = sum(Decimal(a.headers["x-spendgate-cost-usd"]) for a in answers)
    assert cost > 0
    row = until(
        lambda: ways.row("twice"), lambda r: r["requests"] == before["requests"] + 5, "five settlements"
    )
    assert Decimal(row["settled_usd"]) - Decimal(before.get("settled_usd", "0")) == cost
    group = ways.row("pair")
    assert (group["requests"], Decimal(group["settled_usd"])) == (
        row["requests"],
        Decimal(row["settled_usd"]),
    )
    assert len(ways.provider.seen) == seen + 5
    for call in ways.provider.seen[seen:]:
        assert not [n for n in call.headers if n.startswith(("x-spendgate-", "x-llm-"))]
    time.sleep(0.5)  # a second line would come with the first gateway's settlement
    lines = ways.lines("twice")
    assert [x["outcome"] for x in lines] == ["complete"] * 5
    assert sum(Decimal(x["cost_usd"]) for x in lines) == cost
    assert ways.lines("unattributed") == []


def test_a_stream_through_both_counts_once_and_keeps_to_what_the_client_asked(ways: Ways) -> None:
    before = ways.row("streams")
    body = {**body_of("stream"), "max_tokens": 20, "stream": True}
    answer = ways.ask("mock-sidecar", "streams", body, **{"x-mock-output-tokens": "20"})
    assert answer.status_code == 200
    chunks = [json.loads(x[6:]) for x in answer.text.splitlines() if x.startswith("data: {")]
    assert len(chunks) > 2
    assert not [c for c in chunks if c.get("usage") or not c["choices"]], (
        "the usage that we asked for stays hidden"
    )
    assert answer.text.rstrip().endswith("data: [DONE]")
    row = until(
        lambda: ways.row("streams"), lambda r: r["requests"] == before["requests"] + 1, "the settlement"
    )
    time.sleep(0.3)  # a second line would come with the first gateway's settlement
    [line] = ways.lines("streams")
    assert line["outcome"] == "complete"
    assert line["tokens"]["output"] == 20
    assert Decimal(row["settled_usd"]) == Decimal(line["cost_usd"])
    assert {HANDOVER, "x-llm-team"}.isdisjoint(name for name, _ in ways.mock.last()["headers"])


def test_a_client_that_leaves_both_is_charged_once(ways: Ways) -> None:
    before = ways.row("leaver")
    body = {**body_of("leave"), "max_tokens": 400, "stream": True}
    headers = {
        "x-llm-team": "leaver",
        "host": "api.openai.com",
        "x-mock-output-tokens": "400",
        "x-mock-chunk-ms": "50",
    }
    url = ways.urls["mock-sidecar"] + CHAT
    with httpx.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=60) as answer:
        next(answer.iter_lines())
    row = until(lambda: ways.row("leaver"), lambda r: r["requests"] > before["requests"], "the settlement")
    time.sleep(0.5)
    [line] = ways.lines("leaver")
    assert (row["requests"], ways.row("leaver")["requests"]) == (1, 1)
    assert Decimal(ways.row("leaver")["settled_usd"]) == Decimal(line["cost_usd"])


def test_a_budget_for_one_call_is_enough_for_a_call_that_two_filters_see(ways: Ways) -> None:
    assert ways.ask("sidecar", "one").status_code == 200
    assert ways.row("one")["requests"] == 1


def test_a_refusal_is_told_once(ways: Ways) -> None:
    answer = ways.ask("sidecar", "broke")
    assert answer.status_code == 429
    assert answer.headers["x-spendgate-reason"] == "monthly_budget_exceeded"


def test_a_word_works_once_and_only_for_its_own_request(ways: Ways) -> None:
    def asked(body: Json, word: str, **more: str) -> None:
        before = ways.row("copier")["requests"]
        headers = {HANDOVER: word, **more}
        assert ways.ask("egress", "copier", body, **headers).status_code == 200
        until(lambda: ways.row("copier"), lambda r: r["requests"] == before + 1, "metered in full")

    body = body_of("copied")
    with word_of(ways, body) as word:
        version, content, mac = word.split(".")
        asked(body_of("another body"), word)
        asked(body, word, host="api.anthropic.com")
        asked(body, f"{version}.{content}.{mac[:-4]}AAAA")
        asked(body, word + "," + word)
        asked(body, "v1.e30.e30")
        before = ways.row("copier")["requests"]
        assert ways.ask("egress", "copier", body, **{HANDOVER: word}).status_code == 200
        until(lambda: ways.lines("ml"), bool, "it is metered for whom the word names")
        asked(body, word)  # a second time
        assert ways.row("copier")["requests"] == before + 1
