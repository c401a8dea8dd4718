"""The providers as Envoy sees them: a cluster each, and the provider's own key put in by the cluster itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2  # noqa: F401
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2  # noqa: F401
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2  # noqa: F401

from spendgate.envoy.parts import UNBOUNDED, Json, any_of, ca_file, endpoints_of, is_ip
from spendgate.settings.config import Upstream
from spendgate.settings.upstreams import Credential

GENERIC = "extensions.http.injected_credentials.generic.v3.Generic"


def upstream_cluster(upstream: Upstream) -> Json:
    """The cluster of one provider; https is verified against the system's authorities."""
    parts = urlsplit(upstream.url)
    host = parts.hostname or ""
    https = parts.scheme == "https"
    port = parts.port or (443 if https else 80)
    cluster: Json = {
        "name": upstream.name,
        "type": "STATIC" if is_ip(host) else "LOGICAL_DNS",
        "connect_timeout": "5s",
        "circuit_breakers": UNBOUNDED,
        "load_assignment": endpoints_of(
            upstream.name, [{"socket_address": {"address": host, "port_value": port}}]
        ),
    }
    if not is_ip(host):
        cluster["dns_lookup_family"] = "V4_PREFERRED"
    if https:
        context: Json = {"trusted_ca": {"filename": ca_file()}}
        tls: Json = {"common_tls_context": {"validation_context": context}}
        if not is_ip(host):
            tls["sni"] = host
        context["match_typed_subject_alt_names"] = [
            {"san_type": "IP_ADDRESS" if is_ip(host) else "DNS", "matcher": {"exact": host}}
        ]
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": any_of("extensions.transport_sockets.tls.v3.UpstreamTlsContext", **tls),
        }
    if upstream.credential is not None:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any_of(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http_protocol_options": {}},
                http_filters=[
                    _injector(upstream.name, upstream.credential),
                    {
                        "name": "envoy.filters.http.upstream_codec",
                        "typed_config": any_of("extensions.filters.http.upstream_codec.v3.UpstreamCodec"),
                    },
                ],
            )
        }
    return cluster


def _injector(name: str, credential: Credential) -> Json:
    """A filter of the cluster, not of the listener: whichever route a request takes, the key is that of the
    provider which gets it. Without a key Envoy answers 401 and the provider sees nothing."""
    generic = any_of(GENERIC, credential={"name": secret_name(name)}, header=credential.header.lower())
    if credential.before:
        generic["header_value_prefix"] = credential.before
    return {
        "name": "envoy.filters.http.credential_injector",
        "typed_config": any_of(
            "extensions.filters.http.credential_injector.v3.CredentialInjector",
            overwrite=True,
            credential={"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
        ),
    }


def secret_name(upstream: str) -> str:
    """The name under which Envoy keeps an upstream's key."""
    return f"credential-{upstream}"


def secrets(upstreams: Sequence[Upstream]) -> list[Json]:
    """Where Envoy reads each key: never its text."""
    return [
        {
            "name": secret_name(u.name),
            "generic_secret": {
                "secret": {"environment_variable": u.credential.env}
                if u.credential.env
                else {"filename": u.credential.file}
            },
        }
        for u in upstreams
        if u.credential is not None
    ]


def authority(upstream: Upstream) -> str:
    """What the provider wants to see as Host."""
    return upstream.authority or urlsplit(upstream.url).netloc


def action(upstream: Upstream) -> Json:
    """The route action that sends a request to a provider: cluster, Host and path prefix."""
    out: Json = {"cluster": upstream.name, "host_rewrite_literal": authority(upstream)}
    if upstream.strip_prefix or upstream.path_prefix:
        out["regex_rewrite"] = {
            "pattern": {"regex": f"^{re.escape(upstream.strip_prefix)}/"},
            "substitution": f"{upstream.path_prefix}/",
        }
    return out
