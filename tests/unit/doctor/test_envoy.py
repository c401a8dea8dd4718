"""An Envoy that would not hold a budget is found out, and the fix is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from support.istio import patched, proxy

from spendgate.doctor.envoy import check_envoy
from spendgate.doctor.envoy_dump import of_bootstrap, of_config_dump
from spendgate.envoy import bootstrap as b
from spendgate.envoy.istio import cluster_name, envoy_filter
from spendgate.envoy.parts import Entry
from spendgate.settings.config import Settings

SETTINGS = Settings.model_validate(
    {
        "identity": [{"kind": "spiffe"}, {"kind": "jwt", "issuer": "i", "jwks_file": "/k"}],
        "tls": {"certificate": "/c", "key": "/k", "client_ca": "/a"},
        "upstreams": [
            {"name": "openai", "url": "https://api.openai.com", "credential": {"env": "K"}},
            {"name": "vllm", "url": "http://10.0.0.7:8000", "models": ["llama-*"]},
        ],
    }
)
Json = dict[str, Any]


def rendered(entry: Entry = "ext_proc") -> Json:
    return b.bootstrap("127.0.0.1:1", SETTINGS.upstreams, ["127.0.0.1:9002"], SETTINGS, "", entry)


def codes(config: Json, settings: Settings = SETTINGS) -> set[str]:
    return {f.code for f in check_envoy(of_bootstrap(config), settings) if f.severity != "info"}


def manager(config: Json) -> Json:
    found: Json = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def ours(config: Json) -> Json:
    [found] = [
        f for f in manager(config)["http_filters"] if f["name"].split(".")[-1] in ("ext_proc", "ext_authz")
    ]
    out: Json = found["typed_config"]
    return out


def cluster(config: Json, name: str = "spendgate") -> Json:
    [found] = [c for c in config["static_resources"]["clusters"] if c["name"] == name]
    out: Json = found
    return out


def routes(config: Json) -> list[Json]:
    found: list[Json] = manager(config)["route_config"]["virtual_hosts"][0]["routes"]
    return found


@pytest.mark.parametrize("entry", ["ext_proc", "ext_authz"])
def test_what_we_render_is_healthy(entry: Entry) -> None:
    assert codes(rendered(entry)) == set()


def _mode(**mode: str) -> Callable[[Json], None]:
    return lambda c: ours(c)["processing_mode"].update(mode)


def _without(*path: str) -> Callable[[Json], None]:
    def act(config: Json) -> None:
        at = ours(config)
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return act


def _set(**fields: Any) -> Callable[[Json], None]:
    return lambda c: ours(c).update(fields)


def _cluster(**fields: Any) -> Callable[[Json], None]:
    return lambda c: cluster(c).update(fields)


def _drop(key: str, name: str = "spendgate") -> Callable[[Json], None]:
    return lambda c: cluster(c, name).pop(key)


def _routes(act: Callable[[Json], object]) -> Callable[[Json], object]:
    return lambda c: [act(r) for r in routes(c) if "route" in r]


def _filters(act: Callable[[list[Json]], object]) -> Callable[[Json], object]:
    return lambda c: act(manager(c)["http_filters"])


PLANTED: dict[str, tuple[Callable[[Json], object], str, str]] = {
    "no filter": (_filters(lambda f: f.pop(1)), "filter-missing", "ext_proc filter before the router"),
    "no request body": (_mode(request_body_mode="NONE"), "request-body-mode", "BUFFERED"),
    "body in pieces": (_mode(request_body_mode="STREAMED"), "request-body-mode", "BUFFERED"),
    "full duplex": (_mode(request_body_mode="FULL_DUPLEX_STREAMED"), "request-body-mode", "BUFFERED"),
    "duplex answers": (_mode(response_body_mode="FULL_DUPLEX_STREAMED"), "response-body-mode", "NONE"),
    "no request headers": (_mode(request_header_mode="SKIP"), "request-headers-skipped", "SEND"),
    "no answers": (_mode(response_header_mode="SKIP"), "response-headers-skipped", "SEND"),
    "no overrides": (_set(allow_mode_override=False), "mode-override", "allow_mode_override: true"),
    "observing only": (_set(observability_mode=True), "observability-mode", "take observability_mode away"),
    "no 429": (_set(disable_immediate_response=True), "immediate-response", "disable_immediate_response"),
    "no mutations": (_set(mutation_rules={"disallow_all": True}), "mutation-rules", "allow_all_routing"),
    "no principal": (
        lambda c: ours(c)["request_attributes"].remove("connection.uri_san_peer_certificate"),
        "principal-attribute", "connection.uri_san_peer_certificate",
    ),
    "no request time": (_without("request_attributes"), "request-attributes", "request.time"),
    "no code details": (_without("response_attributes"), "response-attributes", "response.code_details"),
    "no claims": (_without("metadata_options"), "jwt-metadata", "forwarding_namespaces"),
    "default timeout": (_without("message_timeout"), "message-timeout", "message_timeout above ledger_timeout"),
    "closed": (_set(failure_mode_allow=False), "failure-mode", "failure_mode_allow: true"),
    "tokens too late": (_filters(lambda f: f.insert(1, f.pop(0))), "filter-order", "jwt_authn before ext_proc"),
    "no tokens": (_filters(lambda f: f.pop(0)), "jwt-filter", "jwt_authn"),
    "1024 calls": (_drop("circuit_breakers"), "circuit-breaker", "max_requests: 100000"),
    "no health checks": (_drop("health_checks"), "health-checks", "grpc_health_check"),
    "panic": (_drop("common_lb_config"), "panic-threshold", "healthy_panic_threshold"),
    "http/1.1": (_drop("typed_extension_protocol_options"), "cluster-http2", "http2_protocol_options"),
    "no cluster": (_cluster(name="other"), "cluster-missing", "cluster_name"),
    "1 MiB": (_routes(lambda r: r.pop("request_body_buffer_limit", None)), "body-limit", "request_body_buffer_limit"),
    "15 s": (_routes(lambda r: r["route"].pop("timeout")), "route-timeout", "timeout: 0s"),
    "60 s": (_routes(lambda r: r["route"].update(timeout="60s")), "route-timeout", "timeout: 0s"),
    "retries": (
        _routes(lambda r: r["route"].update(retry_policy={"retry_on": "5xx,reset"})), "provider-retries", "SDK",
    ),
    "a free route": (
        _routes(lambda r: r.update(typed_per_filter_config={"spendgate.ext_proc": {"disabled": True}})),
        "route-disabled", "disabled: true",
    ),
    "headers kept": (
        lambda c: manager(c).pop("early_header_mutation_extensions"), "internal-headers", "early_header_mutation",
    ),
    "no certificate": (
        lambda c: c["static_resources"]["listeners"][0]["filter_chains"][0].pop("transport_socket"),
        "client-certificates", "client_ca",
    ),
    "unverified provider": (
        lambda c: cluster(c, "openai")["transport_socket"]["typed_config"].update(common_tls_context={}),
        "provider-tls", "trusted_ca",
    ),
    "key in clear": (_drop("transport_socket", "openai"), "key-in-clear", "https://"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_its_fix_named(name: str) -> None:
    plant, code, fix = PLANTED[name]
    config = copy.deepcopy(rendered())
    plant(config)
    found = [f for f in check_envoy(of_bootstrap(config), SETTINGS) if f.code == code]
    assert found, f"{code} was not found"
    assert all(fix in f.fix for f in found), found


AUTHZ: dict[str, tuple[Callable[[Json], object], str, str]] = {
    "no body": (lambda c: ours(c).pop("with_request_body"), "authz-body", "pack_as_bytes"),
    "short tries": (
        lambda c: ours(c)["grpc_service"]["retry_policy"]["retry_back_off"].pop("max_interval"),
        "try-timeout",
        "max_interval: 2s",
    ),
    "part of a body": (
        lambda c: ours(c)["with_request_body"].update(allow_partial_message=True), "authz-partial-body", "false",
    ),
    "short bodies": (
        lambda c: ours(c)["with_request_body"].update(max_request_bytes=1000), "body-limit", "max_request_bytes",
    ),
    "no log": (lambda c: manager(c).pop("access_log"), "access-log", "--entry ext_authz"),
    "no claims": (lambda c: ours(c).pop("metadata_context_namespaces"), "jwt-metadata", "metadata_context"),
    "default timeout": (lambda c: ours(c)["grpc_service"].pop("timeout"), "message-timeout", "2s"),
}  # fmt: skip


@pytest.mark.parametrize("name", AUTHZ)
def test_a_planted_fault_of_ext_authz_is_found_and_its_fix_named(name: str) -> None:
    plant, code, fix = AUTHZ[name]
    config = copy.deepcopy(rendered("ext_authz"))
    plant(config)
    found = [f for f in check_envoy(of_bootstrap(config), SETTINGS) if f.code == code]
    assert found and all(fix in f.fix for f in found)


@pytest.mark.parametrize(("codes_named", "expected"), [([], set()), ([503], {"provider-retries"})])
def test_istios_own_retries_are_no_paid_ones_while_they_name_no_status(
    codes_named: list[int], expected: set[str]
) -> None:
    """Of a route without `retries`, as HTTPRoutes are (istio/istio, route/retry/retry.go)."""
    config = rendered()
    retry = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2, "retriable_status_codes": codes_named,
    }  # fmt: skip
    _routes(lambda r: r["route"].update(retry_policy=retry))(config)
    assert codes(config) == expected


def test_what_we_render_is_healthy_with_paths_that_upstreams_rewrite() -> None:
    settings = Settings.model_validate(
        {"upstreams": [
            {"name": "google", "url": "https://g.example", "path_prefix": "/v1beta/openai", "strip_prefix": "/v1"},
            {"name": "groq", "url": "https://api.groq.com", "path_prefix": "/openai", "models": ["llama-*"]},
        ]}
    )  # fmt: skip
    for entry in ("ext_proc", "ext_authz"):
        config = b.bootstrap("127.0.0.1:1", settings.upstreams, ["127.0.0.1:2"], settings, "", entry)
        assert codes(config, settings) == set()


@pytest.mark.parametrize("attach", ["gateway", "sidecar"])
def test_what_istio_makes_of_our_filter_names_nothing_that_is_ours(attach: Any) -> None:
    plain, service = Settings(), "spendgate.llm-gateway.svc.cluster.local"
    cluster = cluster_name(service, 9002)
    base = proxy("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", cluster)
    document = envoy_filter(service, 9002, "ml", attach, {"a": "b"}, plain, last=attach == "gateway")
    told = codes(patched(base, document), plain)
    # what the control plane itself adds is not in this test's clusters
    assert told <= {"circuit-breaker"}


def test_routes_of_a_mesh_are_found_by_their_name() -> None:
    config = rendered()
    listener = config["static_resources"]["listeners"][0]
    route_config = {"name": "80", **manager(config).pop("route_config")}
    manager(config)["rds"] = {"route_config_name": "80"}
    for route in route_config["virtual_hosts"][0]["routes"]:
        if "route" in route:  # not what the gateway answers itself
            route["route"]["timeout"] = "15s"
    kind = "type.googleapis.com/envoy.admin.v3."
    dump = {
        "configs": [
            {
                "@type": kind + "ListenersConfigDump",
                "dynamic_listeners": [{"active_state": {"listener": listener}}],
            },
            {"@type": kind + "RoutesConfigDump", "dynamic_route_configs": [{"route_config": route_config}]},
            {
                "@type": kind + "ClustersConfigDump",
                "dynamic_active_clusters": [{"cluster": c} for c in config["static_resources"]["clusters"]],
            },
        ]
    }
    found = check_envoy(of_config_dump(dump), SETTINGS)
    assert {f.code for f in found if f.severity != "info"} == {"route-timeout"}


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (("api.openai.com", "orders.shop"), set()),
        (
            ("api.openai.com", "api.mistral.ai"),
            {"route-disabled"},
        ),  # a provider that the filter does not name
    ],
)
def test_a_filter_that_is_on_for_llm_hosts_leaves_others_alone_but_no_provider(
    hosts: tuple[str, ...], expected: set[str]
) -> None:
    plain, service = Settings(), "spendgate.llm-gateway.svc.cluster.local"
    cluster = cluster_name(service, 9002)
    base = proxy("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", cluster, hosts)
    document = envoy_filter(service, 9002, "ml", "gateway", {"a": "b"}, plain, llm_hosts=["api.openai.com"])
    assert codes(patched(base, document), plain) - {"circuit-breaker"} == expected
