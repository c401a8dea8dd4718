"""Mutual TLS between Envoy and the gateways, where no mesh brings it: only Envoys may ask for money to be reserved.

The gateway's side is an Envoy of its own beside it (`terminator`), which reads and renews certificates by itself,
from files (cert-manager's Secrets) or from SPIRE's agent by SDS; the other side is a transport socket for the
cluster `spendgate` (`with_client`). https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2  # noqa: F401  resolve Any types

from spendgate.envoy import bootstrap as b

Json = dict[str, Any]
SPIRE = "spire_agent"
BOUND_PREFIX = "llm"
"""The terminator's stat_prefix is that of our other Envoys, so that the same hook drains it."""


def _secret_config(name: str, source: Json) -> Json:
    return {"name": name, "sds_config": {"resource_api_version": "V3", **source}}


def _combined(peers: list[Json], authorities: Json) -> Json:
    """Whom a context believes: the authorities' certificates with one of the names."""
    combined = {
        "default_validation_context": {"match_typed_subject_alt_names": peers},
        "validation_context_sds_secret_config": authorities,
    }
    return {"combined_validation_context": combined}


@dataclass(frozen=True, slots=True)
class Files:
    """Certificates in a folder: tls.crt, tls.key, ca.crt, replaced as Kubernetes replaces a Secret's. `sds`: the
    folder with the files of `secrets`, by which Envoy learns of a replacement."""

    folder: str
    sds: str

    def secrets(self) -> dict[str, Json]:
        """The files that stand in `sds`, by name: Envoy watches files only where SDS names them."""
        watched = {"watched_directory": {"path": self.folder}}
        certificate = {
            "certificate_chain": {"filename": f"{self.folder}/tls.crt"},
            "private_key": {"filename": f"{self.folder}/tls.key"},
            **watched,
        }
        trusted = {"trusted_ca": {"filename": f"{self.folder}/ca.crt", **watched}}
        kind = b.TYPE + "extensions.transport_sockets.tls.v3.Secret"
        return {
            "certificate.json": {
                "resources": [{"@type": kind, "name": "certificate", "tls_certificate": certificate}]
            },
            "authorities.json": {
                "resources": [{"@type": kind, "name": "authorities", "validation_context": trusted}]
            },
        }

    def _config(self, name: str) -> Json:
        return _secret_config(name, {"path_config_source": {"path": f"{self.sds}/{name}.json"}})

    def certificate(self) -> Json:
        """The context's own certificate."""
        return {"tls_certificate_sds_secret_configs": [self._config("certificate")]}

    def validation(self, peers: list[Json]) -> Json:
        """Whom the context believes."""
        return _combined(peers, self._config("authorities"))

    def clusters(self) -> list[Json]:
        """None is needed."""
        return []


@dataclass(frozen=True, slots=True)
class Spire:
    """Certificates from SPIRE's agent. `socket`: its Workload API; `trust_domain`: whose bundle is believed."""

    socket: str
    trust_domain: str

    def _secret(self, name: str) -> Json:
        api: Json = {"api_type": "GRPC", "transport_api_version": "V3"}
        api["grpc_services"] = [{"envoy_grpc": {"cluster_name": SPIRE}}]
        return _secret_config(name, {"api_config_source": api})

    def certificate(self) -> Json:
        """The workload's own SVID: the agent knows it under the name `default`."""
        return {"tls_certificate_sds_secret_configs": [self._secret("default")]}

    def validation(self, peers: list[Json]) -> Json:
        """The trust domain's bundle, and one of the names."""
        return _combined(peers, self._secret(f"spiffe://{self.trust_domain}"))

    def clusters(self) -> list[Json]:
        """The agent."""
        http2 = _http2()
        return [
            {
                "name": SPIRE,
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": http2,
                "load_assignment": {
                    "cluster_name": SPIRE,
                    "endpoints": [
                        {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": self.socket}}}}]}
                    ],
                },
            }
        ]


Source = Files | Spire


def _http2() -> Json:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": b.TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 2147483647}},
        }
    }


def _peers(uris: list[str]) -> list[Json]:
    return [{"san_type": "URI", "matcher": {"exact": uri}} for uri in uris]


def terminator(listen: str, grpc: str, admin: str, source: Source, clients: list[str]) -> Json:
    """The bootstrap of the Envoy beside a gateway: mTLS on `listen`, plain gRPC to `grpc` on the same pod, which is
    told whose certificate it was (x-forwarded-client-cert). `clients`: URIs of the certificates that may call. Raises
    ConfigurationError for an address that is none."""
    context = {
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
            **source.certificate(),
            **source.validation(_peers(clients)),
        },
        "require_client_certificate": True,
    }
    manager = {
        "@type": b.TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": BOUND_PREFIX,
        "codec_type": "HTTP2",
        "http2_protocol_options": {"max_concurrent_streams": 100000},
        "stream_idle_timeout": "0s",  # the calling Envoy's timeouts count
        "forward_client_cert_details": "SANITIZE_SET",  # who calls, as the setting `gateways` of an identity reads it
        "set_current_client_cert_details": {"uri": True},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": b.TYPE + "extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "gateway",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}}],
                }
            ]
        },
    }
    chain = {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": b.TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                **context,
            },
        },
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    }
    gateway = {
        "name": "gateway",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "circuit_breakers": b.UNBOUNDED,
        "typed_extension_protocol_options": _http2(),
        "load_assignment": {
            "cluster_name": "gateway",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": b.address(grpc)}}]}],
        },
    }
    out: Json = {
        "admin": {"address": b.address(admin)},
        "node": {"id": "spendgate", "cluster": "spendgate"},
        "static_resources": {
            "listeners": [{"name": "mtls", "address": b.address(listen), "filter_chains": [chain]}],
            "clusters": [gateway, *source.clusters()],
        },
    }
    b.check(out)
    return out


def with_client(
    config: Json, source: Source, server: list[str], cluster: str = "spendgate", alpn: str = "h2"
) -> Json:
    """A bootstrap whose cluster `spendgate` speaks mTLS. `server`: URIs of the gateways' certificates."""
    context = {
        "@type": b.TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": [alpn],
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},  # a client's default ends at 1.2
            **source.certificate(),
            **source.validation(_peers(server)),
        },
    }
    clusters = [
        {**c, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}
        if c["name"] == cluster
        else c
        for c in config["static_resources"]["clusters"]
    ]
    resources = {**config["static_resources"], "clusters": [*clusters, *source.clusters()]}
    out = {**config, "node": {"id": "llm-envoy", "cluster": "llm-envoy"}, "static_resources": resources}
    b.check(out)
    return out
