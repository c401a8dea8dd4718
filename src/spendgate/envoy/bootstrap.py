"""Envoy's bootstrap for spendgate, built as plain data and checked against Envoy's own messages.

Every value that is not Envoy's default stands here with its reason; they were measured on Envoy 1.40.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.route.v3 import route_components_pb2  # noqa: F401  resolves Any types
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    header_mutation_pb2,  # noqa: F401
)
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict, ParseError

from spendgate.envoy.ext_authz import SSE, access_log, ext_authz_filter, usage_filters
from spendgate.envoy.listener import jwks_clusters, jwt_filters, tls_socket
from spendgate.envoy.parts import (
    EXT_PROC,
    TYPE,
    UNBOUNDED,
    Entry,
    Json,
    address,
    any_of,
    duration,
    endpoints_of,
    is_ip,
)
from spendgate.envoy.routes import removed_headers, routes
from spendgate.envoy.stats import admin_cluster, stats_listener
from spendgate.envoy.upstreams import GENERIC, secrets, upstream_cluster
from spendgate.errors import ConfigurationError
from spendgate.gateway.adapters.codec import LOGS_ATTEMPTS, NAMESPACE
from spendgate.identity import headers as h
from spendgate.settings.config import Settings, Upstream

__all__ = [
    "EXT_PROC", "TYPE", "UNBOUNDED", "Json", "address", "as_yaml", "bootstrap", "early_strip", "ext_proc_filter",
    "one_upstream", "removed_headers", "routes", "spendgate_cluster", "upstream_cluster",
]  # fmt: skip
REQUEST_ATTRIBUTES = [
    "request.time", "connection.id", "source.address", "destination.address",
    "connection.uri_san_peer_certificate", "filter_state['num_internal_redirects']",
]  # fmt: skip
RESPONSE_ATTRIBUTES = ["response.code_details", "upstream.request_attempt_count"]
STRIPPED_EARLY = [
    h.CLUSTER, h.UTILIZATION, h.DOWNGRADED, h.MODEL, h.REASON, h.ESTIMATE, h.COST, h.KEPT, h.CLAMPED,
]  # fmt: skip
"""A client's copy of these is taken off before the route is chosen: it must not choose the cluster."""


def keepalive(message_timeout_ms: int) -> Json:
    """Envoy's pings of a worker, answered by gRPC's own threads. A connection is given up after a message timeout
    at the latest: a stream's timeout begins anew with each of its pieces, so only this frees those that wait for
    a process that stands still."""
    return {"interval": duration(message_timeout_ms // 5), "timeout": duration(message_timeout_ms * 7 // 10)}


def spendgate_cluster(grpc: Sequence[str], message_timeout_ms: int) -> Json:
    """The cluster of our workers: one endpoint a worker, since Envoy keeps one connection a thread and
    endpoint. A dead worker is left at once, and costs no message timeout."""
    return {
        "name": "spendgate",
        "type": "STATIC"
        if all(g.startswith("unix:") or is_ip(g.rpartition(":")[0].strip("[]")) for g in grpc)
        else "STRICT_DNS",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": UNBOUNDED,
        # by default Envoy gathers changes of health for a second: a dead worker would be chosen that long
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "reuse_connection": False,
                "grpc_health_check": {},
            }
        ],
        "outlier_detection": {
            "consecutive_5xx": 100,
            "consecutive_gateway_failure": 1,
            "enforcing_consecutive_gateway_failure": 100,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "interval": "1s",
            "base_ejection_time": "1s",
            "max_ejection_time": "2s",
            "max_ejection_percent": 50,
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any_of(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={
                    "http2_protocol_options": {
                        "max_concurrent_streams": 2147483647,
                        "initial_stream_window_size": 1048576,
                        "initial_connection_window_size": 67108864,
                        "connection_keepalive": keepalive(message_timeout_ms),
                    }
                },
            )
        },
        "load_assignment": endpoints_of("spendgate", [address(g) for g in grpc]),
    }


def ext_proc_filter(
    settings: Settings, cluster: str = "spendgate", authority: str = "", *, logged: bool = False
) -> Json:
    """The filter. Nothing is FULL_DUPLEX_STREAMED here: configured, it would disable mode_override, message
    timeouts and fail-open. `authority`: of the calls, where the cluster's name is no host name. `logged`: the
    listener and the router log to us, so that each attempt is told apart."""
    return {
        "name": EXT_PROC,
        "typed_config": any_of(
            "extensions.filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={
                "envoy_grpc": {"cluster_name": cluster, **({"authority": authority} if authority else {})},
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,unavailable,reset",
                    "num_retries": 3,
                    # the least loaded worker is the dead one: a retry must go to another
                    "retry_host_predicate": [
                        {
                            "name": "envoy.retry_host_predicates.previous_hosts",
                            "typed_config": any_of(
                                "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                            ),
                        }
                    ],
                    "host_selection_retry_max_attempts": 5,
                    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
                },
                **({"initial_metadata": [{"key": LOGS_ATTEMPTS, "value": "logged"}]} if logged else {}),
            },
            failure_mode_allow=settings.failure_mode == "open",
            status_on_error={"code": "ServiceUnavailable"},
            message_timeout=duration(settings.message_timeout),
            max_message_timeout=duration(settings.longest_message_timeout),
            allow_mode_override=True,
            processing_mode={
                "request_header_mode": "SEND",
                "request_body_mode": "BUFFERED",
                "response_header_mode": "SEND",
                "response_body_mode": "NONE",
            },
            # without allow_envoy our replies could not take a client's `x-envoy-…` off
            mutation_rules={"allow_all_routing": True, "allow_envoy": True},
            request_attributes=REQUEST_ATTRIBUTES,
            response_attributes=RESPONSE_ATTRIBUTES,
            metadata_options={
                "forwarding_namespaces": {"untyped": ["envoy.filters.http.jwt_authn"]},
                **({"receiving_namespaces": {"untyped": [NAMESPACE]}} if logged else {}),
            },
        ),
    }


def early_strip(*, prefixes: bool = False) -> Json:
    """Takes a client's copies of our headers off before the route is chosen. `prefixes`: Envoy's own `x-envoy-…` too,
    by a field that old Envoys of a mesh may not know; there the exchange takes them off, before the router reads."""
    more: list[Json] = [{"remove_on_match": {"key_matcher": {"prefix": h.ENVOY_PREFIX}}}] if prefixes else []
    return {
        "name": "strip",
        "typed_config": any_of(
            "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[*({"remove": name} for name in STRIPPED_EARLY), *more],
        ),
    }


def bootstrap(
    listen: str,
    upstreams: Sequence[Upstream],
    grpc: Sequence[str],
    settings: Settings,
    admin: str = "",
    entry: Entry = "ext_proc",
    stats: str = "",
) -> Json:
    """The whole bootstrap. `stats`: where Prometheus scrapes Envoy's counters, by way of `admin`. Raises
    ConfigurationError for an address or upstream that cannot be."""
    if not upstreams:
        raise ConfigurationError("no upstream; give --upstream URL, or `upstreams:` in the config file")
    manager = any_of(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="llm",
        stream_idle_timeout=duration(settings.stream_idle_timeout),
        # bytes stay as they were: no path normalising, no merged slashes, the provider's own Server header
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        server_header_transformation="PASS_THROUGH",
        preserve_external_request_id=True,
        skip_xff_append=True,
        http_protocol_options={"accept_http_10": True},
        http2_protocol_options={"max_concurrent_streams": 100000},
        upgrade_configs=[{"upgrade_type": "websocket", "enabled": True}],
        early_header_mutation_extensions=[early_strip(prefixes=True)],
        access_log=[access_log()],
        local_reply_config={
            "mappers": [
                {
                    "filter": {
                        "and_filter": {
                            "filters": [
                                {"status_code_filter": {"comparison": _at_least(500)}},
                                {"response_flag_filter": {}},
                            ]
                        }
                    },
                    "body_format_override": {
                        "json_format": {
                            "error": {
                                "message": "%LOCAL_REPLY_BODY%",
                                "type": "gateway_error",
                                "code": "%RESPONSE_CODE%",
                            }
                        }
                    },
                }
            ]
        },
        http_filters=[
            *jwt_filters(settings),
            *(
                [ext_proc_filter(settings, logged=True)]
                if entry == "ext_proc"
                else [*usage_filters(), ext_authz_filter(settings)]
            ),
            {
                "name": "envoy.filters.http.router",
                "typed_config": any_of(
                    "extensions.filters.http.router.v3.Router",
                    suppress_envoy_headers=True,
                    upstream_log=[access_log()],  # an entry for each attempt
                ),
            },
        ],
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(settings, upstreams, entry)}]
        },
    )
    chain: Json = {"filters": [{"name": "http", "typed_config": manager}]}
    if settings.tls is not None:
        chain["transport_socket"] = tls_socket(settings.tls)
    listener = {"name": "llm", "address": address(listen), "filter_chains": [chain]}
    out: Json = {
        "static_resources": {
            "listeners": [listener],
            "clusters": [
                *(upstream_cluster(u) for u in upstreams),
                *jwks_clusters(settings),
                spendgate_cluster(grpc, settings.message_timeout),
            ],
        }
    }
    keys = secrets(upstreams)
    if keys:
        out["static_resources"]["secrets"] = keys
    if stats:
        if not admin:
            raise ConfigurationError("Envoy's counters are its admin's: give its address too (--envoy-admin)")
        out["static_resources"]["listeners"].append(stats_listener(stats))
        out["static_resources"]["clusters"].append(admin_cluster(admin))
    if admin:
        out = {"admin": {"address": address(admin)}, **out}
    check(out)
    return out


def _at_least(status: int) -> Json:
    return {"op": "GE", "value": {"default_value": status, "runtime_key": "spendgate.none"}}


def check(config: Json) -> None:
    """Read the configuration into Envoy's own message. Raises ConfigurationError for a field that it does not
    know."""
    try:
        ParseDict(_known(copy.deepcopy(config)), bootstrap_pb2.Bootstrap())
    except ParseError as e:
        raise ConfigurationError(f"not an Envoy bootstrap: {e}") from e


def _known(config: Any) -> Any:
    """Without what Envoy has and its published messages for Python have not yet."""
    if isinstance(config, dict):
        if config.get("@type") == TYPE + GENERIC:
            config.pop("header_value_prefix", None)
        if config.get("@type") == TYPE + SSE:
            config.clear()
        for value in config.values():
            _known(value)
    elif isinstance(config, list):
        for value in config:
            _known(value)
    return config


def one_upstream(url: str) -> Upstream:
    """The upstream of `--upstream URL`, named `upstream`. Raises ConfigurationError."""
    try:
        return Upstream(name="upstream", url=url)
    except ValueError as e:
        text = str(e.errors()[0]["msg"]) if hasattr(e, "errors") else str(e)
        raise ConfigurationError(text.removeprefix("Value error, ")) from e


def as_yaml(config: Json) -> str:
    """Print it as YAML in the order in which it was written."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)
