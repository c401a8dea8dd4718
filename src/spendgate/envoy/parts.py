"""Small pieces that every Envoy configuration of ours is made of, as plain data."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Any, Literal

from spendgate.errors import ConfigurationError

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
EXT_PROC = "spendgate.ext_proc"
"""Our filter's name. It is not the generic one: what a route sets under a filter's name hits every filter of that name
(an InferencePool's route in Istio names another processor under the generic one). The type decides what it does."""
EXT_AUTHZ = "spendgate.ext_authz"
Entry = Literal["ext_proc", "ext_authz"]
"""By which of its filters Envoy asks us."""
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


def any_of(name: str, **fields: Any) -> Json:
    """A typed_config of Envoy's type of this name."""
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


def endpoints_of(cluster: str, addresses: list[Json]) -> Json:
    """A cluster's addresses."""
    return {
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": a}} for a in addresses]}],
    }


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
