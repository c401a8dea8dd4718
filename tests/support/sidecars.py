"""Envoys around a gateway as Istio sets them up: the sidecar before it, which demands certificates, and what calls it
with one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spendgate.envoy.bootstrap import as_yaml
from spendgate.envoy.istio import cluster_name
from spendgate.envoy.parts import TYPE
from spendgate.supervisor.front import envoy_binary
from support.istio import proxy

Json = dict[str, Any]
SERVICE = "spendgate.spendgate.svc.cluster.local"
CLUSTER = cluster_name(SERVICE, 9002)


def spiffe(namespace: str, account: str) -> str:
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


def tls(kind: str, files: tuple[str, str], ca: Path, **more: object) -> Json:
    """A transport socket with a certificate that demands one of the same authority."""
    common = {
        "tls_certificates": [
            {"certificate_chain": {"filename": files[0]}, "private_key": {"filename": files[1]}}
        ],
        "validation_context": {"trusted_ca": {"filename": str(ca)}},
        "alpn_protocols": ["h2"],
    }
    config = {
        "@type": f"{TYPE}extensions.transport_sockets.tls.v3.{kind}",
        "common_tls_context": common,
        **more,
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def calls(listen: str, gateway: str) -> tuple[Json, Json]:
    """A proxy that passes gRPC on to a gateway, and its filter chain."""
    base = proxy(listen, "127.0.0.1:1", gateway, CLUSTER)
    [chain] = base["static_resources"]["listeners"][0]["filter_chains"]
    for host in chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route["route"] = {"cluster": CLUSTER, "timeout": "0s"}
    return base, chain


def inbound(listen: str, worker: str, socket: Json, filters: tuple[Json, ...] = ()) -> Json:
    """The gateway's own sidecar: it demands a certificate and writes down whose it was, as Istio's does. `filters`
    stand before its router."""
    base, chain = calls(listen, worker)
    chain["transport_socket"] = socket
    manager = chain["filters"][0]["typed_config"]
    manager["http_filters"][:0] = filters
    manager["forward_client_cert_details"] = "APPEND_FORWARD"
    manager["set_current_client_cert_details"] = {"subject": True, "dns": True, "uri": True}
    return base


def with_certificate(base: Json, socket: Json) -> Json:
    """The proxy, showing a certificate to the gateway."""
    [cluster] = [c for c in base["static_resources"]["clusters"] if c["name"] == CLUSTER]
    cluster["transport_socket"] = socket
    return base


@contextmanager
def envoy(folder: Path, config: Json) -> Iterator[None]:
    folder.mkdir()
    (folder / "envoy.yaml").write_text(as_yaml(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [envoy_binary(), "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(60)
