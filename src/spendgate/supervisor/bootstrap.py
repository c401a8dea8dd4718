"""Envoy's bootstrap for spendgate, built as plain data and checked against Envoy's own messages.

Every value that is not Envoy's default stands here with its reason; they were measured on Envoy 1.40.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict, ParseError

from spendgate.dialects.registry import DIALECTS
from spendgate.errors import ConfigurationError
from spendgate.gateway import headers as h
from spendgate.gateway.config import Settings, Upstream

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
EXT_PROC = "envoy.filters.http.ext_proc"
UNBOUNDED = {
    "thresholds": [
        {
            "max_connections": 100000,
            "max_pending_requests": 100000,
            "max_requests": 100000,
            "max_retries": 100000,
        }
    ]
}
"""The defaults of 1024 concurrent calls and 3 retries would be a budget bypass by load, or while a worker
restarts, where failures pass."""
REQUEST_ATTRIBUTES = [
    "request.time", "connection.id", "source.address", "destination.address",
    "connection.uri_san_peer_certificate",
]  # fmt: skip
RESPONSE_ATTRIBUTES = ["response.code_details"]
STRIPPED_EARLY = [
    h.CLUSTER, h.UTILIZATION, h.DOWNGRADED, h.MODEL, h.REASON, h.ESTIMATE, h.COST, h.KEPT, h.CLAMPED,
]  # fmt: skip
"""A client's copy of these is taken off before the route is chosen: it must not choose the cluster."""


def _any(name: str, **fields: Any) -> Json:
    return {"@type": TYPE + name, **fields}


def duration(ms: int) -> str:
    """Milliseconds as protobuf JSON writes a Duration."""
    return f"{ms // 1000}.{ms % 1000:03d}s" if ms % 1000 else f"{ms // 1000}s"


def address(text: str) -> Json:
    """`HOST:PORT`, `[V6]:PORT` or `unix:PATH` as an Envoy address. Raises ConfigurationError."""
    if text.startswith("unix:"):
        return {"pipe": {"path": text.removeprefix("unix:").removeprefix("//")}}
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"not an address: {text!r}; write HOST:PORT or unix:PATH")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _endpoints(cluster: str, addresses: list[Json]) -> Json:
    return {
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": a}} for a in addresses]}],
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def ca_file() -> str:
    """The system's certificate authorities. Raises ConfigurationError where there are none."""
    paths = ssl.get_default_verify_paths()
    for candidate in (
        paths.cafile,
        paths.openssl_cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/cert.pem",
    ):
        if candidate and Path(candidate).is_file():
            return candidate
    raise ConfigurationError(
        "no certificate authorities found for an https upstream; install ca-certificates or set SSL_CERT_FILE"
    )


def upstream_cluster(upstream: Upstream) -> Json:
    """The cluster of one provider; https is verified against the system's authorities."""
    parts = urlsplit(upstream.url)
    host = parts.hostname or ""
    https = parts.scheme == "https"
    port = parts.port or (443 if https else 80)
    cluster: Json = {
        "name": upstream.name,
        "type": "STATIC" if _is_ip(host) else "LOGICAL_DNS",
        "connect_timeout": "5s",
        "circuit_breakers": UNBOUNDED,
        "load_assignment": _endpoints(
            upstream.name, [{"socket_address": {"address": host, "port_value": port}}]
        ),
    }
    if not _is_ip(host):
        cluster["dns_lookup_family"] = "V4_PREFERRED"
    if https:
        context: Json = {"trusted_ca": {"filename": ca_file()}}
        tls: Json = {"common_tls_context": {"validation_context": context}}
        if not _is_ip(host):
            tls["sni"] = host
        context["match_typed_subject_alt_names"] = [
            {"san_type": "IP_ADDRESS" if _is_ip(host) else "DNS", "matcher": {"exact": host}}
        ]
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": _any("extensions.transport_sockets.tls.v3.UpstreamTlsContext", **tls),
        }
    return cluster


def authority(upstream: Upstream) -> str:
    """What the provider wants to see as Host."""
    return urlsplit(upstream.url).netloc


def spendgate_cluster(grpc: Sequence[str], failure_mode: str) -> Json:
    """The cluster of our workers: one endpoint a worker, since Envoy keeps one connection a thread and
    endpoint. A dead worker is left at once, and costs no message timeout."""
    return {
        "name": "spendgate",
        "type": "STATIC"
        if all(g.startswith("unix:") or _is_ip(g.rpartition(":")[0].strip("[]")) for g in grpc)
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
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _any(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={
                    "http2_protocol_options": {
                        "max_concurrent_streams": 2147483647,
                        "initial_stream_window_size": 1048576,
                        "initial_connection_window_size": 67108864,
                        "connection_keepalive": {"interval": "5s", "timeout": "5s"},
                    }
                },
            )
        },
        "load_assignment": _endpoints("spendgate", [address(g) for g in grpc]),
    }


def ext_proc_filter(settings: Settings, cluster: str = "spendgate") -> Json:
    """The filter. Nothing is FULL_DUPLEX_STREAMED here: configured, it would disable mode_override, message
    timeouts and fail-open."""
    return {
        "name": EXT_PROC,
        "typed_config": _any(
            "extensions.filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={
                "envoy_grpc": {"cluster_name": cluster},
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,unavailable,reset",
                    "num_retries": 3,
                    # the least loaded worker is the dead one: a retry must go to another
                    "retry_host_predicate": [
                        {
                            "name": "envoy.retry_host_predicates.previous_hosts",
                            "typed_config": _any(
                                "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                            ),
                        }
                    ],
                    "host_selection_retry_max_attempts": 5,
                    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
                },
            },
            failure_mode_allow=settings.failure_mode == "open",
            status_on_error={"code": "ServiceUnavailable"},
            message_timeout=duration(settings.message_timeout),
            max_message_timeout=duration(max(settings.message_timeout, 10_000)),
            allow_mode_override=True,
            processing_mode={
                "request_header_mode": "SEND",
                "request_body_mode": "BUFFERED",
                "response_header_mode": "SEND",
                "response_body_mode": "NONE",
            },
            mutation_rules={"allow_all_routing": True},
            request_attributes=REQUEST_ATTRIBUTES,
            response_attributes=RESPONSE_ATTRIBUTES,
            metadata_options={"forwarding_namespaces": {"untyped": ["envoy.filters.http.jwt_authn"]}},
        ),
    }


def _route(name: str, match: Json, action: Json, *, metered: bool, settings: Settings) -> Json:
    route: Json = {
        "name": name,
        "match": match,
        "route": {**action, "timeout": "0s"},
        "request_headers_to_remove": removed_headers(settings),
    }
    if metered:
        route["request_body_buffer_limit"] = settings.max_body_bytes
    else:
        route["typed_per_filter_config"] = {
            EXT_PROC: _any("extensions.filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True)
        }
    return route


def removed_headers(settings: Settings) -> list[str]:
    """What no provider sees: internal request headers, and those of identity unless they are forwarded."""
    removed = {h.CLUSTER, h.REQUIRE_MODEL, h.RUN}
    if not settings.forward_identity_headers:
        removed |= {name for extractor in settings.extractors() for name in extractor.header_names}
    return sorted(removed)


def early_strip() -> Json:
    """Takes a client's copies of our headers off before the route is chosen."""
    return {
        "name": "strip",
        "typed_config": _any(
            "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[{"remove": name} for name in STRIPPED_EARLY],
        ),
    }


def routes(settings: Settings, upstreams: Sequence[Upstream]) -> list[Json]:
    """Paths that a dialect claims go through ext_proc, and so do percent-encoded ones, which may spell such a
    path; each has its own route, since Envoy bounds the size of a pattern; all others (uploads of any size) do
    not touch it."""
    out: list[Json] = []
    first = upstreams[0]
    claimed = [*(f".*{d.path_regex}/*" for d in DIALECTS), ".*%.*"]
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    for upstream in upstreams:
        chosen = {"name": h.CLUSTER, "string_match": {"exact": upstream.name}}
        action = {"cluster": upstream.name, "host_rewrite_literal": authority(upstream)}
        for regex in claimed:
            match: Json = {"safe_regex": {"regex": regex}, "headers": [post, chosen]}
            out.append(_route(f"llm-{upstream.name}", match, action, metered=True, settings=settings))
    action = {"cluster": first.name, "host_rewrite_literal": authority(first)}
    for regex in claimed:
        match = {"safe_regex": {"regex": regex}, "headers": [post]}
        out.append(_route("llm", match, action, metered=True, settings=settings))
    out.append(_route("other", {"prefix": "/"}, action, metered=False, settings=settings))
    return out


def bootstrap(
    listen: str,
    upstreams: Sequence[Upstream],
    grpc: Sequence[str],
    settings: Settings,
    admin: str = "",
) -> Json:
    """The whole bootstrap. Raises ConfigurationError for an address or upstream that can not be."""
    if not upstreams:
        raise ConfigurationError("no upstream; give --upstream URL, or `upstreams:` in the config file")
    manager = _any(
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
        early_header_mutation_extensions=[early_strip()],
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
            ext_proc_filter(settings),
            {
                "name": "envoy.filters.http.router",
                "typed_config": _any("extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
            },
        ],
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(settings, upstreams)}]
        },
    )
    listener = {
        "name": "llm",
        "address": address(listen),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    out: Json = {
        "static_resources": {
            "listeners": [listener],
            "clusters": [
                *(upstream_cluster(u) for u in upstreams),
                spendgate_cluster(grpc, settings.failure_mode),
            ],
        }
    }
    if admin:
        out = {"admin": {"address": address(admin)}, **out}
    check(out)
    return out


def _at_least(status: int) -> Json:
    return {"op": "GE", "value": {"default_value": status, "runtime_key": "spendgate.none"}}


def check(config: Json) -> None:
    """Read the configuration into Envoy's own message; a field that Envoy does not know is a ValueError."""
    try:
        ParseDict(config, bootstrap_pb2.Bootstrap())
    except ParseError as e:
        raise ConfigurationError(f"not an Envoy bootstrap: {e}") from e


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
