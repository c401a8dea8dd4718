"""An Envoy as Envoy Gateway would configure it from our policies, field by field as its translator does.

https://gateway.envoyproxy.io/docs/api/extension_types/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spendgate.envoy.parts import TYPE, address, plain

Json = dict[str, Any]
BODY = {
    None: "NONE", "Buffered": "BUFFERED", "Streamed": "STREAMED", "BufferedPartial": "BUFFERED_PARTIAL",
    "FullDuplexStreamed": "FULL_DUPLEX_STREAMED",
}  # fmt: skip


def by_kind(documents: Sequence[Json]) -> dict[str, Json]:
    """The specs by kind; each kind once."""
    out = {d["kind"]: d["spec"] for d in documents}
    assert len(out) == len(documents)
    return out


def _thresholds(breaker: Json) -> Json:
    names = {
        "maxConnections": "max_connections", "maxPendingRequests": "max_pending_requests",
        "maxParallelRequests": "max_requests", "maxParallelRetries": "max_retries",
    }  # fmt: skip
    return {"thresholds": [{names[k]: v for k, v in breaker.items()}]}


def _cluster(name: str, place: str, **more: Any) -> Json:
    endpoint = {"endpoint": {"address": plain(address(place))}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        **more,
    }


def _spendgate(name: str, address: str, settings: Json) -> Json:
    check = settings["healthCheck"]["active"]
    assert check["type"] == "GRPC"
    passive = settings["healthCheck"]["passive"]
    assert settings["loadBalancer"]["type"] == "LeastRequest"
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    return _cluster(
        name, address,
        lb_policy="LEAST_REQUEST",
        circuit_breakers=_thresholds(settings["circuitBreaker"]),
        common_lb_config={"healthy_panic_threshold": {"value": settings["healthCheck"]["panicThreshold"]}},
        health_checks=[{
            "interval": check["interval"], "timeout": check["timeout"], "grpc_health_check": {},
            "unhealthy_threshold": check["unhealthyThreshold"], "healthy_threshold": check["healthyThreshold"],
        }],
        outlier_detection={
            "split_external_local_origin_errors": passive["splitExternalLocalOriginErrors"],
            "consecutive_local_origin_failure": passive["consecutiveLocalOriginFailures"],
            "consecutive_gateway_failure": passive["consecutiveGatewayErrors"],
            "enforcing_consecutive_gateway_failure": 100,
            "consecutive_5xx": passive["consecutive5XxErrors"],
            "interval": passive["interval"], "base_ejection_time": passive["baseEjectionTime"],
            "max_ejection_percent": passive["maxEjectionPercent"],
        },
        typed_extension_protocol_options=http2,
    )  # fmt: skip


def _retry(retry: Json) -> Json:
    back_off = retry["perRetry"]["backOff"]
    return {
        "retry_on": ",".join(retry["retryOn"]["triggers"]),
        "num_retries": retry["numRetries"],
        "retry_back_off": {
            "base_interval": _seconds(back_off["baseInterval"]),
            "max_interval": _seconds(back_off["maxInterval"]),
        },
    }


def _seconds(duration: str) -> str:
    return f"{int(duration.removesuffix('ms')) / 1000}s"


def _ext_proc(policy: Json, cluster: str) -> Json:
    mode = policy["processingMode"]
    request, response = mode.get("request"), mode.get("response")
    return {
        "@type": TYPE + "extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": cluster},
            "timeout": "10s",
            "retry_policy": _retry(policy["backendSettings"]["retry"]),
        },
        "failure_mode_allow": policy["failOpen"],
        "message_timeout": policy["messageTimeout"],
        "allow_mode_override": mode.get("allowModeOverride", False),
        "processing_mode": {
            "request_header_mode": "SKIP" if request is None else "SEND",
            "response_header_mode": "SKIP" if response is None else "SEND",
            "request_body_mode": BODY[(request or {}).get("body")],
            "response_body_mode": BODY[(response or {}).get("body")],
            "request_trailer_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        "request_attributes": (request or {}).get("attributes", []),
        "response_attributes": (response or {}).get("attributes", []),
        "metadata_options": {
            "forwarding_namespaces": {"untyped": policy["metadata"]["accessibleNamespaces"]}
        },
    }


def configured(
    listen: str, upstream: str, spendgate: str, documents: Sequence[Json], removed: list[str]
) -> Json:
    """The bootstrap. `documents`: what `render extension-policy` prints; `removed`: the HTTPRoute's header
    modifier."""
    specs = by_kind(documents)
    [policy] = specs["EnvoyExtensionPolicy"]["extProc"]
    traffic, client = specs["BackendTrafficPolicy"], specs["ClientTrafficPolicy"]
    name = "envoy.filters.http.ext_proc/envoyextensionpolicy/llm-gateway/spendgate/extproc/0"
    cluster = "envoyextensionpolicy/llm-gateway/spendgate/0"
    mutations = [{"remove": h} for h in client["headers"]["earlyRequestHeaders"]["remove"]]
    early = {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": TYPE + "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": mutations,
        },
    }
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "provider", "timeout": traffic["timeout"]["http"]["requestTimeout"]},
        "request_headers_to_remove": removed,
        # filters are off for the listener, and on for the routes of the policy's Gateway
        "typed_per_filter_config": {name: {"@type": TYPE + "config.route.v3.FilterConfig", "config": {}}},
    }
    manager = {
        "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http-10080",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "server_header_transformation": "PASS_THROUGH",
        "http2_protocol_options": {"max_concurrent_streams": 100},
        "early_header_mutation_extensions": [early],
        "http_filters": [
            {"name": name, "disabled": True, "typed_config": _ext_proc(policy, cluster)},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": TYPE + "extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "llm-gateway/llm/http",
                    "address": plain(address(listen)),
                    "per_connection_buffer_limit_bytes": int(client["connection"]["bufferLimit"]),
                    "filter_chains": [{"filters": filters}],
                }
            ],
            "clusters": [
                _cluster(
                    "provider", upstream,
                    circuit_breakers=_thresholds(traffic["circuitBreaker"]),
                    per_connection_buffer_limit_bytes=int(traffic["connection"]["bufferLimit"]),
                ),
                _spendgate(cluster, spendgate, policy["backendSettings"]),
            ],
        }
    }  # fmt: skip
