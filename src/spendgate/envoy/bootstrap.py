"""Envoy's bootstrap for spendgate: its listener with our filter, the providers, and the cluster of our workers.

Every value that is not Envoy's default stands here with its reason; they were measured on Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, AndFilter, ResponseFlagFilter
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google import protobuf

from spendgate.envoy.access_logs import access_log, attempts_log
from spendgate.envoy.ext_authz import ext_authz_filter, usage_filters
from spendgate.envoy.lean import decision_headers, lean_filters
from spendgate.envoy.listener import jwks_clusters, jwt_filters, tls_socket
from spendgate.envoy.parts import ROUTER, Entry, Json, address, at_least, milliseconds, packed, plain
from spendgate.envoy.processor import early_strip, ext_proc_filter, spendgate_cluster
from spendgate.envoy.routes import routes
from spendgate.envoy.stats import admin_cluster, stats_listener
from spendgate.envoy.upstreams import secrets, upstream_cluster
from spendgate.errors import ConfigurationError
from spendgate.settings.config import Settings, Upstream


def bootstrap(
    listen: str,
    upstreams: Sequence[Upstream],
    grpc: Sequence[str],
    settings: Settings,
    admin: str = "",
    entry: Entry = "ext_proc",
    stats: str = "",
    *,
    as_it_is: bool = False,
) -> Json:
    """The whole bootstrap. `stats`: where Prometheus scrapes Envoy's counters, by way of `admin`. `as_it_is`: nobody
    makes its routes retry, hedge or mirror, so that no log is needed to tell attempts apart. Raises ConfigurationError
    for an address or upstream that cannot be."""
    if settings.lean and entry == "ext_authz":
        raise ConfigurationError("ext_authz sees no answer: `lean` is for ext_proc")
    if not upstreams:
        raise ConfigurationError("no upstream; give --upstream URL, or `upstreams:` in the config file")
    chain = FilterChain(
        filters=[Filter(name="http", typed_config=packed(_manager(settings, upstreams, entry, as_it_is)))]
    )
    if settings.tls is not None:
        chain.transport_socket = tls_socket(settings.tls)
    resources = BootstrapStaticResources(
        listeners=[Listener(name="llm", address=address(listen), filter_chains=[chain])],
        clusters=[
            *(upstream_cluster(u) for u in upstreams),
            *jwks_clusters(settings),
            spendgate_cluster(grpc, settings.message_timeout),
        ],
        secrets=secrets(upstreams),
    )
    if stats:
        if not admin:
            raise ConfigurationError("Envoy's counters are its admin's: give its address too (--envoy-admin)")
        resources.listeners.append(stats_listener(stats))
        resources.clusters.append(admin_cluster(admin))
    return plain(
        Bootstrap(admin=Admin(address=address(admin)) if admin else None, static_resources=resources)
    )


def _manager(
    settings: Settings, upstreams: Sequence[Upstream], entry: Entry, as_it_is: bool
) -> HttpConnectionManager:
    """The listener's HTTP: bytes stay as they were, and errors of Envoy's own read as an API's."""
    logged = settings.lean or entry == "ext_authz" or not as_it_is
    asking = [*(lean_filters() if settings.lean else []), ext_proc_filter(settings, logged=logged)]
    if entry == "ext_authz":
        asking = [*usage_filters(), ext_authz_filter(settings)]
    router = Router(suppress_envoy_headers=True, upstream_log=[attempts_log()] if logged else [])
    hosts = [VirtualHost(name="all", domains=["*"], routes=routes(settings, upstreams, entry))]
    return HttpConnectionManager(
        stat_prefix="llm",
        stream_idle_timeout=milliseconds(settings.stream_idle_timeout),
        # no path normalising, no merged slashes, the provider's own Server header
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        preserve_external_request_id=True,
        skip_xff_append=True,
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True),
        http2_protocol_options=Http2ProtocolOptions(max_concurrent_streams=100000),
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket", enabled=True)],
        early_header_mutation_extensions=[early_strip(prefixes=True)],
        access_log=[access_log()] if logged else [],
        local_reply_config=_local_replies(),
        http_filters=[
            *jwt_filters(settings),
            *asking,
            HttpFilter(name=ROUTER, typed_config=packed(router)),
        ],
        route_config=RouteConfiguration(
            virtual_hosts=hosts, response_headers_to_add=decision_headers() if settings.lean else []
        ),
    )


def _local_replies() -> LocalReplyConfig:
    """What Envoy answers itself where a provider fails: JSON, as SDKs expect an error."""
    failures = [at_least(500), AccessLogFilter(response_flag_filter=ResponseFlagFilter())]
    error = {"message": "%LOCAL_REPLY_BODY%", "type": "gateway_error", "code": "%RESPONSE_CODE%"}
    shape = SubstitutionFormatString(json_format=protobuf.Struct.from_dict({"error": error}))
    mapper = ResponseMapper(
        filter=AccessLogFilter(and_filter=AndFilter(filters=failures)), body_format_override=shape
    )
    return LocalReplyConfig(mappers=[mapper])


def one_upstream(url: str) -> Upstream:
    """The upstream of `--upstream URL`, named `upstream`. Raises ConfigurationError."""
    try:
        return Upstream(name="upstream", url=url)
    except ValueError as e:
        text = str(e.errors()[0]["msg"]) if hasattr(e, "errors") else str(e)
        raise ConfigurationError(text.removeprefix("Value error, ")) from e


def as_yaml(config: Json) -> str:
    """Print it as YAML in the order of Envoy's API."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)
