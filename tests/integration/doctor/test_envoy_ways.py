"""What repeats, copies, cuts or leads past a paid call is found in Envoy's configuration, and the fix is named.

Every planted fault is one that a real Envoy takes without a word.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.envoy_plants import (
    ANYWHERE,
    GZIP,
    PICKER,
    Plant,
    beside,
    every,
    first,
    host,
    http,
    inserted,
    manager,
    ours,
    per_route,
    pings,
    provider,
    route,
    tls,
    tunnel,
    web,
)
from support.ports import free_port
from support.processes import until

from spendgate.doctor.envoy import check_envoy
from spendgate.doctor.envoy_dump import of_bootstrap, of_config_dump
from spendgate.doctor.finding import Finding
from spendgate.envoy import bootstrap as b
from spendgate.envoy.parts import TYPE, address, plain
from spendgate.settings.config import Settings
from spendgate.supervisor.front import envoy_binary

Json = dict[str, Any]
SETTINGS = Settings.model_validate({"upstreams": [{"name": "openai", "url": "http://10.0.0.7:8000"}]})
GENERIC = "envoy.filters.http.ext_proc"


def rendered() -> Json:
    return b.bootstrap("127.0.0.1:0", SETTINGS.upstreams, ["127.0.0.1:9002"], SETTINGS)


def found(config: Json, settings: Settings = SETTINGS) -> list[Finding]:
    return [f for f in check_envoy(of_bootstrap(config), settings) if f.severity != "info"]


CHAT = "/v1/chat/completions"
PLANTED: dict[str, tuple[Plant, str, str]] = {
    "retries on 5xx": (route(retry_policy={"retry_on": "5xx"}), "provider-retries", "SDK"),
    "retries on gateway-error with tries that are cut": (
        route(retry_policy={"retry_on": "connect-failure,gateway-error", "per_try_timeout": "20s"}),
        "provider-retries",
        "connect-failure and refused-stream only",
    ),
    "retries on a reset": (route(retry_policy={"retry_on": "reset"}), "provider-retries", "SDK"),
    "retries on a status": (
        route(retry_policy={"retry_on": "retriable-status-codes", "retriable_status_codes": [500]}),
        "provider-retries",
        "SDK",
    ),
    "retries of a whole host": (
        host(retry_policy={"retry_on": "retriable-headers"}),
        "provider-retries",
        "SDK",
    ),
    "tries that are cut": (
        route(retry_policy={"retry_on": "connect-failure", "per_try_timeout": "20s"}),
        "route-timeout",
        "per_try_timeout",
    ),
    "tries that may not be silent": (
        route(retry_policy={"retry_on": "connect-failure", "per_try_idle_timeout": "20s"}),
        "route-timeout",
        "per_try_idle",
    ),
    "hedging": (route(hedge_policy={"hedge_on_per_try_timeout": True}), "hedging", "hedge_policy"),
    "hedging of a whole host": (
        host(hedge_policy={"hedge_on_per_try_timeout": True}),
        "hedging",
        "hedge_policy",
    ),
    "a mirror": (route(request_mirror_policies=[{"cluster": "openai"}]), "mirror", "request_mirror_policies"),
    "a mirror of a whole host": (
        host(request_mirror_policies=[{"cluster": "openai"}]),
        "mirror",
        "request_mirror_policies",
    ),
    "a mirror of all routes": (
        lambda c: manager(c)["route_config"].update(request_mirror_policies=[{"cluster": "openai"}]),
        "mirror",
        "request_mirror_policies",
    ),
    "redirects": (
        route(internal_redirect_policy={"max_internal_redirects": 1}),
        "internal-redirect",
        "internal_redirect_policy",
    ),
    "silence of 15 s": (http(stream_idle_timeout="15s"), "idle-timeout", "stream_idle_timeout: 600s"),
    "silence of 30 s on a route": (route(idle_timeout="30s"), "idle-timeout", "idle_timeout"),
    "streams of a minute": (
        http(common_http_protocol_options={"max_stream_duration": "60s"}),
        "max-stream-duration",
        "max_stream_duration",
    ),
    "streams of a minute on a route": (
        route(max_stream_duration={"max_stream_duration": "60s"}),
        "max-stream-duration",
        "max_stream_duration",
    ),
    "uploads of five seconds": (http(request_timeout="5s"), "request-timeout", "request_timeout"),
    "a minute for an answer": (route(timeout="60s"), "route-timeout", "timeout: 0s"),
    "a decompressor before": (
        inserted(0, "inflate", "decompressor.v3.Decompressor", decompressor_library=GZIP),
        "decompressor",
        "take it away",
    ),
    "a decompressor behind": (
        inserted(1, "inflate", "decompressor.v3.Decompressor", decompressor_library=GZIP),
        "decompressor",
        "take it away",
    ),
    "a processor of the generic name, and ours too": (
        lambda c: (
            ours(c).update(name=GENERIC),
            inserted(0, GENERIC, "ext_proc.v3.ExternalProcessor", **PICKER)(c),
        ),
        "second-ext-proc",
        "spendgate.ext_proc",
    ),
    "a processor of the generic name": (
        inserted(0, GENERIC, "ext_proc.v3.ExternalProcessor", **PICKER),
        "second-ext-proc",
        "spendgate's filter",
    ),
    "a processor behind ours": (
        inserted(1, "other", "ext_proc.v3.ExternalProcessor", **PICKER),
        "second-ext-proc",
        "before spendgate's filter",
    ),
    "our own filter twice": (
        lambda c: manager(c)["http_filters"].insert(0, {**copy.deepcopy(ours(c)), "name": "again"}),
        "second-ext-proc",
        "one of the two",
    ),
    "our filter by the generic name": (
        lambda c: ours(c).update(name=GENERIC),
        "filter-name",
        "spendgate.ext_proc",
    ),
    "another processor on our routes": (
        every(**per_route(overrides={"grpc_service": {"envoy_grpc": {"cluster_name": "openai"}}})),
        "route-overrides",
        "overrides of this route",
    ),
    "bodies unread on our routes": (
        every(**per_route(overrides={"processing_mode": {"request_body_mode": "NONE"}})),
        "route-overrides",
        "overrides",
    ),
    "routes that fail otherwise": (
        every(**per_route(overrides={"failure_mode_allow": False})),
        "route-overrides",
        "overrides",
    ),
    "a host where it is off": (host(**per_route(disabled=True)), "route-disabled", "disabled: true"),
    "off for who sends a header": (
        first(
            {"prefix": "/", "headers": [{"name": "x-fast", "present_match": True}]},
            {},
            **per_route(disabled=True),
        ),
        "route-disabled",
        "disabled: true",
    ),
    "off by default": (lambda c: ours(c).update(disabled=True), "route-disabled", "off by default"),
    "off by the generic form": (
        every(
            typed_per_filter_config={
                "spendgate.ext_proc": {"@type": TYPE + "config.route.v3.FilterConfig", "disabled": True},
            }
        ),
        "route-disabled",
        "disabled: true",
    ),
    "a rewritten pattern": (
        first(
            {"prefix": "/talk"}, {"regex_rewrite": {"pattern": {"regex": "^/talk$"}, "substitution": CHAT}}
        ),
        "rewrite",
        "provider's own paths",
    ),
    "a pattern with a group": (
        first(
            {"safe_regex": {"regex": "/x/.*"}},
            {"regex_rewrite": {"pattern": {"regex": "^/x/(.*)$"}, "substitution": "/v1/messages"}},
        ),
        "rewrite",
        "provider's own paths",
    ),
    "a rewritten prefix": (
        first({"prefix": "/talk"}, {"prefix_rewrite": CHAT}),
        "rewrite",
        "provider's own paths",
    ),
    "a rewritten path": (
        first({"path": "/ask"}, {"prefix_rewrite": "/v1/responses"}),
        "rewrite",
        "provider's own paths",
    ),
    "a path of one API rewritten to another's": (
        first({"path": "/v1/chat"}, {"prefix_rewrite": CHAT}),
        "rewrite",
        "provider's own paths",
    ),
    "the short form of a path": (
        first({"prefix": "/chat"}, {"regex_rewrite": {"pattern": {"regex": "/chat"}, "substitution": CHAT}}),
        "rewrite",
        "provider's own paths",
    ),
    "pings that notice too late": (pings("5s", "5s"), "keepalive", "connection_keepalive"),
    "pings that never rest": (pings("0.010s", "0.010s"), "keepalive", "connection_keepalive"),
    "another message timeout": (
        lambda c: ours(c)["typed_config"].update(message_timeout="1s"),
        "timeouts-differ",
        "2s",
    ),
    "no time to ask for": (
        lambda c: ours(c)["typed_config"].update(max_message_timeout="3s"),
        "max-message-timeout",
        "max_message_timeout",
    ),
    "x-envoy headers that stay": (
        lambda c: (
            ours(c)["typed_config"].update(mutation_rules={"allow_all_routing": True}),
            manager(c).pop("early_header_mutation_extensions"),
        ),
        "router-headers",
        "allow_envoy: true",
    ),
    "WebSockets with filters of their own": (
        http(
            upgrade_configs=[
                {"upgrade_type": "websocket", "filters": web("openai")[0]["typed_config"]["http_filters"]}
            ]
        ),
        "upgrade-filters",
        "spendgate.ext_proc",
    ),
    "CONNECT": (
        route(upgrade_configs=[{"upgrade_type": "CONNECT", "connect_config": {}}]),
        "connect-tunnel",
        "connect_config",
    ),
    "an unguarded way": (beside(provider("direct"), web("direct")), "unmetered-way", "egress.md"),
    "an unguarded way by its certificate": (
        beside(provider("direct", "10.1.1.1", **tls("api.anthropic.com")), web("direct")),
        "unmetered-way",
        "egress.md",
    ),
    "an unguarded way of Istio's name": (
        beside(provider("outbound|443||api.mistral.ai", "10.1.1.1"), web("outbound|443||api.mistral.ai")),
        "unmetered-way",
        "egress.md",
    ),
    "a provider's name that leads anywhere": (
        beside(ANYWHERE, web("PassthroughCluster", "api.openai.com")),
        "unmetered-way",
        "egress.md",
    ),
    "TLS passed through": (beside(provider("direct"), tunnel("direct")), "tls-passthrough", "egress.md"),
    "TLS passed through by its name": (
        beside(
            provider("some", "10.1.1.1"),
            tunnel("some"),
            filter_chain_match={"server_names": ["*.openai.com"]},
        ),
        "tls-passthrough",
        "egress.md",
    ),
    "hosts that nobody listed": (
        beside(ANYWHERE, tunnel("PassthroughCluster")),
        "unlisted-hosts",
        "REGISTRY_ONLY",
    ),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a real Envoy says of each planted configuration; "" where it takes it."""
    folder = tmp_path_factory.mktemp("planted")
    sound = (
        rendered()
    )  # here: the library of Envoy's messages completes its classes when first used, and by one thread

    def verdict(name: str) -> str:
        config = copy.deepcopy(sound)
        PLANTED[name][0](config)
        path = folder / f"{list(PLANTED).index(name)}.json"
        path.write_text(json.dumps(config))
        argv = [envoy_binary(), "--mode", "validate", "-c", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stderr[-1500:]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(PLANTED, pool.map(verdict, PLANTED), strict=True))


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_that_envoy_takes_without_a_word_is_found_and_its_fix_named(
    name: str, verdicts: dict[str, str]
) -> None:
    assert verdicts[name] == "", "a real Envoy does not take this configuration"
    plant, code, fix = PLANTED[name]
    config = copy.deepcopy(rendered())
    plant(config)
    hits = [f for f in found(config) if f.code == code]
    assert hits, f"{code} was not found, but {[f.code for f in found(config)]}"
    assert all(fix in f.fix for f in hits), hits


HARMLESS: dict[str, Plant] = {
    "retries of what was never sent": route(
        retry_policy={"retry_on": "connect-failure,refused-stream,reset-before-request"}
    ),
    "no retry at all": route(retry_policy={"retry_on": "5xx", "num_retries": 0}),
    "a decompressor elsewhere": beside(provider("plain", "10.1.1.1"), web("plain")),
    "a tunnel to no provider": beside(provider("db", "10.1.1.1"), tunnel("db")),
    "a rewrite of what is no LLM's": first({"prefix": "/files/"}, {"prefix_rewrite": "/v1/files/"}),
    "a rewrite from path to path": first({"prefix": "/openai/v1/"}, {"prefix_rewrite": "/v1/"}),
    "long silence": http(stream_idle_timeout="900s"),
    "no limit": http(stream_idle_timeout="0s", request_timeout="0s"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_no_harm_is_no_finding(name: str) -> None:
    config = copy.deepcopy(rendered())
    HARMLESS[name](config)
    assert found(config) == []


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """A real Envoy with many faults at once: its admin address."""
    config = copy.deepcopy(rendered())
    names = (
        "retries on gateway-error with tries that are cut", "hedging", "a mirror", "redirects", "silence of 15 s",
        "streams of a minute", "a rewritten pattern", "pings that notice too late", "a decompressor before",
        "a processor of the generic name", "TLS passed through",
    )  # fmt: skip
    for name in names:
        PLANTED[name][0](config)
    admin = free_port()
    config["admin"] = {"address": plain(address(f"127.0.0.1:{admin}"))}
    path = tmp_path / "envoy.json"
    path.write_text(json.dumps(config))
    with (tmp_path / "log").open("wb") as log:
        envoy = subprocess.Popen(
            [envoy_binary(), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{admin}"
    finally:
        envoy.terminate()
        envoy.wait(60)


def test_a_running_envoys_own_dump_tells_the_same(running: str) -> None:
    def dump() -> Json:
        try:
            answer: Json = httpx.get(f"{running}/config_dump", trust_env=False, timeout=10).json()
        except httpx.TransportError:
            return {}
        return answer

    told = check_envoy(of_config_dump(until(dump, bool, "Envoy's admin", 60)), SETTINGS)
    assert {
        "provider-retries", "hedging", "mirror", "internal-redirect", "idle-timeout", "max-stream-duration", "rewrite",
        "keepalive", "decompressor", "second-ext-proc", "tls-passthrough",
    } <= {f.code for f in told}  # fmt: skip
