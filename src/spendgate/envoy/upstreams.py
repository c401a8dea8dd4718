"""The providers as Envoy sees them: a cluster each, and the provider's own key put in by the cluster itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterDnsLookupFamily
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ConfigSource,
    DataSource,
    Http1ProtocolOptions,
    SocketAddress,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.route.v3 import RouteAction
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    GenericSecret,
    SdsSecretConfig,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher, StringMatcher

from spendgate.envoy.parts import HTTP_OPTIONS, TLS, UNBOUNDED, ca_file, endpoints_of, is_ip, packed
from spendgate.settings.config import Upstream
from spendgate.settings.upstreams import Credential


def upstream_cluster(upstream: Upstream) -> Cluster:
    """The cluster of one provider; https is verified against the system's authorities, and the host's name."""
    parts = urlsplit(upstream.url)
    host = parts.hostname or ""
    https = parts.scheme == "https"
    port = parts.port or (443 if https else 80)
    place = Address(socket_address=SocketAddress(address=host, port_value=port))
    cluster = Cluster(
        name=upstream.name,
        type=ClusterDiscoveryType.STATIC if is_ip(host) else ClusterDiscoveryType.LOGICAL_DNS,
        connect_timeout=timedelta(seconds=5),
        circuit_breakers=UNBOUNDED,
        load_assignment=endpoints_of(upstream.name, [place]),
    )
    if not is_ip(host):
        cluster.dns_lookup_family = ClusterDnsLookupFamily.V4_PREFERRED
    if https:
        cluster.transport_socket = TransportSocket(name=TLS, typed_config=packed(_tls(host)))
    if upstream.credential is not None:
        cluster.typed_extension_protocol_options = {
            HTTP_OPTIONS: packed(with_key(upstream.name, upstream.credential))
        }
    return cluster


def _tls(host: str) -> UpstreamTlsContext:
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if is_ip(host) else SubjectAltNameMatcherSanType.DNS
    validation = CertificateValidationContext(
        trusted_ca=DataSource(filename=ca_file()),
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=host))
        ],
    )
    return UpstreamTlsContext(
        common_tls_context=CommonTlsContext(validation_context=validation), sni="" if is_ip(host) else host
    )


def with_key(
    name: str, credential: Credential, discovered: ConfigSource | None = None
) -> HttpProtocolOptions:
    """A filter of the cluster, not of the listener: whichever route a request takes, the key is that of the
    provider which gets it. Without a key Envoy answers 401 and the provider sees nothing.

    `discovered`: where Envoy gets the key by SDS, where it is no secret of the bootstrap. It is the whole value
    of the header then, `Bearer ` included: Istio 1.28.0 drops the field for what stands before it."""
    generic = Generic(
        credential=SdsSecretConfig(name=secret_name(name), sds_config=discovered),
        header=credential.header.lower(),
        header_value_prefix="" if discovered else credential.before,
    )
    injector = CredentialInjector(
        overwrite=True,
        credential=TypedExtensionConfig(
            name="envoy.http.injected_credentials.generic", typed_config=packed(generic)
        ),
    )
    return HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        ),
        http_filters=[
            HttpFilter(name="envoy.filters.http.credential_injector", typed_config=packed(injector)),
            HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=packed(UpstreamCodec())),
        ],
    )


def secret_name(upstream: str) -> str:
    """The name under which Envoy keeps an upstream's key."""
    return f"credential-{upstream}"


def secrets(upstreams: Sequence[Upstream]) -> list[Secret]:
    """Where Envoy reads each key: never its text."""
    return [
        Secret(name=secret_name(u.name), generic_secret=GenericSecret(secret=_source(u.credential)))
        for u in upstreams
        if u.credential is not None
    ]


def _source(credential: Credential) -> DataSource:
    if credential.env:
        return DataSource(environment_variable=credential.env)
    return DataSource(filename=credential.file)


def authority(upstream: Upstream) -> str:
    """What the provider wants to see as Host."""
    return upstream.authority or urlsplit(upstream.url).netloc


def action(upstream: Upstream, *, rewrite_host: bool = True) -> RouteAction:
    """The route action that sends a request to a provider: cluster, Host and path prefix, for as long as it takes."""
    out = RouteAction(cluster=upstream.name, timeout=timedelta(0))
    if rewrite_host:
        out.host_rewrite_literal = authority(upstream)
    if upstream.strip_prefix or upstream.path_prefix:
        out.regex_rewrite = RegexMatchAndSubstitute(
            pattern=RegexMatcher(regex=f"^{re.escape(upstream.strip_prefix)}/"),
            substitution=f"{upstream.path_prefix}/",
        )
    return out
