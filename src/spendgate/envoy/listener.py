"""Whom the listener believes: its certificate and its clients' (mTLS), and tokens (JWT)."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import DataSource, HttpUri, RetryPolicy, TransportSocket
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRequirementOrList,
    RemoteJwks,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
)
from envoy_data_plane.google import protobuf

from spendgate.envoy.parts import TLS, packed
from spendgate.envoy.upstreams import upstream_cluster
from spendgate.settings.config import ApiKeyIdentity, JwtIdentity, ListenerTls, Settings, Upstream
from spendgate.settings.upstreams import BEARER


def tls_socket(tls: ListenerTls) -> TransportSocket:
    """The transport socket of a listener with a certificate."""
    certificate = TlsCertificate(
        certificate_chain=DataSource(filename=tls.certificate), private_key=DataSource(filename=tls.key)
    )
    common = CommonTlsContext(tls_certificates=[certificate], alpn_protocols=["h2", "http/1.1"])
    context = DownstreamTlsContext(common_tls_context=common)
    if tls.client_ca:
        common.validation_context = CertificateValidationContext(
            trusted_ca=DataSource(filename=tls.client_ca)
        )
        context.require_client_certificate = tls.client_certificate == "required"
    return TransportSocket(name=TLS, typed_config=packed(context))


def _verified(settings: Settings) -> list[tuple[str, JwtIdentity]]:
    sources = (s for s in settings.identity if isinstance(s, JwtIdentity) and s.verified_here)
    return [(f"jwt-{i}", s) for i, s in enumerate(sources)]


def jwt_filters(settings: Settings) -> list[HttpFilter]:
    """The filter that verifies tokens, before ext_proc; none where no source of identity needs it.

    A wrong token is 401. Only where API keys may stand in the same header, what is no valid token goes on, as
    nobody: it may be a key.
    """
    sources = _verified(settings)
    if not sources:
        return []
    providers = {name: _provider(name, source) for name, source in sources}
    need = [JwtRequirement(provider_name=name) for name in providers]
    token_headers = {s.header.lower() for _, s in sources}
    shared = any(
        token_headers & {n.lower() for n in ((s.header,) if s.header else s.headers)}
        for s in settings.identity
        if isinstance(s, ApiKeyIdentity)
    )
    if shared:
        need.append(JwtRequirement(allow_missing_or_failed=protobuf.Empty()))
    elif not any(s.required for _, s in sources):
        need.append(JwtRequirement(allow_missing=protobuf.Empty()))
    requires = (
        need[0] if len(need) == 1 else JwtRequirement(requires_any=JwtRequirementOrList(requirements=need))
    )
    rules = [RequirementRule(match=RouteMatch(prefix="/"), requires=requires)]
    config = JwtAuthentication(providers=providers, rules=rules)
    return [HttpFilter(name="envoy.filters.http.jwt_authn", typed_config=packed(config))]


def _provider(name: str, source: JwtIdentity) -> JwtProvider:
    header = source.header.lower()
    provider = JwtProvider(
        issuer=source.issuer,
        audiences=list(source.audiences),
        from_headers=[JwtHeader(name=header, value_prefix=BEARER if header == "authorization" else "")],
        payload_in_metadata=name,
        forward=False,
    )
    if source.jwks_file:
        provider.local_jwks = DataSource(filename=source.jwks_file)
        return provider
    provider.remote_jwks = RemoteJwks(
        http_uri=HttpUri(uri=source.jwks_url, cluster=f"{name}-keys", timeout=timedelta(seconds=5)),
        cache_duration=timedelta(minutes=5),
        retry_policy=RetryPolicy(num_retries=3),
    )
    return provider


def jwks_clusters(settings: Settings) -> list[Cluster]:
    """Where the issuers publish their keys."""
    out = []
    for name, source in _verified(settings):
        if source.jwks_url:
            url = urlsplit(source.jwks_url)
            out.append(upstream_cluster(Upstream(name=f"{name}-keys", url=f"{url.scheme}://{url.netloc}")))
    return out
