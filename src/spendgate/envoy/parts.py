"""Small pieces that every Envoy configuration of ours is made of: Envoy's own messages, typed, of envoy-data-plane."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import betterproto2
from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.cluster.v3 import CircuitBreakers, CircuitBreakersThresholds
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    Pipe,
    RuntimeUInt32,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google import protobuf

from spendgate.errors import ConfigurationError

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
EXT_PROC = "spendgate.ext_proc"
"""Our filter's name. It is not the generic one: what a route sets under a filter's name hits every filter of that name
(an InferencePool's route in Istio names another processor under the generic one). The type decides what it does."""
EXT_AUTHZ = "spendgate.ext_authz"
ROUTER = "envoy.filters.http.router"
TLS = "envoy.transport_sockets.tls"
Entry = Literal["ext_proc", "ext_authz"]
"""By which of its filters Envoy asks us."""
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNBOUNDED = CircuitBreakers(
    thresholds=[
        CircuitBreakersThresholds(
            max_connections=100000, max_pending_requests=100000, max_requests=100000, max_retries=100000
        )
    ]
)
"""The defaults of 1024 concurrent calls and 3 retries would be a budget bypass by load, or while a worker
restarts, where failures pass."""


def plain(message: betterproto2.Message) -> Json:
    """A message as Envoy's YAML has it: fields as they are named in the API, defaults left out."""
    # its own casing makes consecutive_5_xx of 5xx
    out: Json = _with_empty(message.to_dict(casing=cast(betterproto2.Casing, str)))
    return out


def _with_empty(value: Any) -> Any:
    """A value in which what is packed of nothing is empty: Envoy takes no type without a name."""
    if isinstance(value, dict):
        return {k: _with_empty(v) for k, v in value.items() if (k, v) != ("@type", "")}
    return [_with_empty(v) for v in value] if isinstance(value, list) else value


def packed(message: betterproto2.Message) -> Any:
    """A message as a `typed_config`."""
    return protobuf.Any.pack(message)


def milliseconds(ms: int) -> timedelta:
    """A protobuf Duration."""
    return timedelta(milliseconds=ms)


def duration(ms: int) -> str:
    """Milliseconds as protobuf JSON writes a Duration."""
    return f"{ms // 1000}.{ms % 1000:03d}s" if ms % 1000 else f"{ms // 1000}s"


def address(text: str) -> Address:
    """`HOST:PORT`, `[V6]:PORT` or `unix:PATH` as an Envoy address. Raises ConfigurationError."""
    if text.startswith("unix:"):
        return Address(pipe=Pipe(path=text.removeprefix("unix:").removeprefix("//")))
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"not an address: {text!r}; write HOST:PORT or unix:PATH")
    return Address(socket_address=SocketAddress(address=host.strip("[]"), port_value=int(port)))


def endpoints_of(cluster: str, addresses: list[Address]) -> ClusterLoadAssignment:
    """A cluster's addresses."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=a)) for a in addresses]
    return ClusterLoadAssignment(
        cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
    )


def http2_options(**fields: Any) -> dict[str, Any]:
    """A cluster's options that make it speak HTTP/2."""
    explicit = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions(**fields))
    return {HTTP_OPTIONS: packed(HttpProtocolOptions(explicit_http_config=explicit))}


def envoy_grpc(cluster: str, authority: str = "", **fields: Any) -> GrpcService:
    """A gRPC service behind a cluster. `authority`: of the calls, where the cluster's name is no host name."""
    return GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster, authority=authority), **fields)


def header_match(
    name: str, exact: str | None = None, prefix: str | None = None, contains: str | None = None
) -> HeaderMatcher:
    """A header is `exact`, or begins with `prefix`, or `contains` a text."""
    text = StringMatcher(exact=exact, prefix=prefix, contains=contains)
    return HeaderMatcher(name=name, string_match=text)


def at_least(status: int) -> AccessLogFilter:
    """Of what was answered with this status or a higher one."""
    return _compared(ComparisonFilterOp.GE, status)


def at_most(status: int) -> AccessLogFilter:
    """Of what was answered with this status or a lower one, or not at all (0)."""
    return _compared(ComparisonFilterOp.LE, status)


def _compared(op: ComparisonFilterOp, status: int) -> AccessLogFilter:
    never_set = RuntimeUInt32(default_value=status, runtime_key="spendgate.none")  # Envoy wants a key
    return AccessLogFilter(
        status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=op, value=never_set))
    )


def is_ip(host: str) -> bool:
    """Is a host an address and no name?"""
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
