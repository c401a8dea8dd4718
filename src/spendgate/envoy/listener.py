"""Whom the listener believes: its certificate and its clients' (mTLS), and tokens (JWT)."""

from __future__ import annotations

from urllib.parse import urlsplit

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2  # noqa: F401  resolves Any types
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401

from spendgate.envoy.parts import Json, any_of
from spendgate.envoy.upstreams import upstream_cluster
from spendgate.settings.config import ApiKeyIdentity, JwtIdentity, ListenerTls, Settings, Upstream
from spendgate.settings.upstreams import BEARER


def tls_socket(tls: ListenerTls) -> Json:
    """The transport socket of a listener with a certificate."""
    common: Json = {
        "tls_certificates": [
            {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}
        ],
        "alpn_protocols": ["h2", "http/1.1"],
    }
    context: Json = {"common_tls_context": common}
    if tls.client_ca:
        common["validation_context"] = {"trusted_ca": {"filename": tls.client_ca}}
        context["require_client_certificate"] = tls.client_certificate == "required"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": any_of("extensions.transport_sockets.tls.v3.DownstreamTlsContext", **context),
    }


def _verified(settings: Settings) -> list[tuple[str, JwtIdentity]]:
    sources = (s for s in settings.identity if isinstance(s, JwtIdentity) and s.verified_here)
    return [(f"jwt-{i}", s) for i, s in enumerate(sources)]


def jwt_filters(settings: Settings) -> list[Json]:
    """The filter that verifies tokens, before ext_proc; none where no source of identity needs it.

    A wrong token is 401. Only where API keys may stand in the same header, what is no valid token goes on, as
    nobody: it may be a key.
    """
    sources = _verified(settings)
    if not sources:
        return []
    providers: Json = {}
    for name, source in sources:
        prefix = {"value_prefix": BEARER} if source.header.lower() == "authorization" else {}
        provider: Json = {
            "issuer": source.issuer,
            "audiences": list(source.audiences),
            "from_headers": [{"name": source.header.lower(), **prefix}],
            "payload_in_metadata": name,
            "forward": False,
        }
        if source.jwks_file:
            provider["local_jwks"] = {"filename": source.jwks_file}
        else:
            provider["remote_jwks"] = {
                "http_uri": {"uri": source.jwks_url, "cluster": f"{name}-keys", "timeout": "5s"},
                "cache_duration": "300s",
                "retry_policy": {"num_retries": 3},
            }
        providers[name] = provider
    need: list[Json] = [{"provider_name": name} for name in providers]
    token_headers = {s.header.lower() for _, s in sources}
    shared = any(
        token_headers & {n.lower() for n in ((s.header,) if s.header else s.headers)}
        for s in settings.identity
        if isinstance(s, ApiKeyIdentity)
    )
    if shared:
        need.append({"allow_missing_or_failed": {}})
    elif not any(s.required for _, s in sources):
        need.append({"allow_missing": {}})
    requires = need[0] if len(need) == 1 else {"requires_any": {"requirements": need}}
    return [
        {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": any_of(
                "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                providers=providers,
                rules=[{"match": {"prefix": "/"}, "requires": requires}],
            ),
        }
    ]


def jwks_clusters(settings: Settings) -> list[Json]:
    """Where the issuers publish their keys."""
    out = []
    for name, source in _verified(settings):
        if source.jwks_url:
            url = urlsplit(source.jwks_url)
            out.append(upstream_cluster(Upstream(name=f"{name}-keys", url=f"{url.scheme}://{url.netloc}")))
    return out
