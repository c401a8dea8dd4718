"""Mutual TLS between Envoy and the gateways, where no mesh brings it: only Envoys may ask for money to be reserved.

The gateway's side is an Envoy of its own beside it (`terminator`), which reads and renews certificates by itself,
from files (cert-manager's Secrets) or from SPIRE's agent by SDS; the other side is a transport socket for the
cluster `spendgate` (`with_client`). https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    ConfigSource,
    DataSource,
    Http2ProtocolOptions,
    Node,
    PathConfigSource,
    Pipe,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerSetCurrentClientCertDetails,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from spendgate.envoy.parts import (
    ROUTER,
    TLS,
    UNBOUNDED,
    Json,
    address,
    endpoints_of,
    envoy_grpc,
    http2_options,
    packed,
    plain,
)
from spendgate.values import dataclass

SPIRE = "spire_agent"
BOUND_PREFIX = "llm"
"""The terminator's stat_prefix is that of our other Envoys, so that the same hook drains it."""
STREAMS_MAX = 2147483647


@dataclass(frozen=True, slots=True)
class Files:
    """Certificates in a folder: tls.crt, tls.key, ca.crt, replaced as Kubernetes replaces a Secret's. `sds`: the
    folder with the files of `secrets`, by which Envoy learns of a replacement."""

    folder: str
    sds: str

    def secrets(self) -> dict[str, Json]:
        """The files that stand in `sds`, by name: Envoy watches files only where SDS names them."""
        watched = WatchedDirectory(path=self.folder)
        certificate = TlsCertificate(
            certificate_chain=DataSource(filename=f"{self.folder}/tls.crt"),
            private_key=DataSource(filename=f"{self.folder}/tls.key"),
            watched_directory=watched,
        )
        trusted = CertificateValidationContext(
            trusted_ca=DataSource(filename=f"{self.folder}/ca.crt", watched_directory=watched)
        )
        secrets = (
            Secret(name="certificate", tls_certificate=certificate),
            Secret(name="authorities", validation_context=trusted),
        )
        return {f"{s.name}.json": {"resources": [plain(packed(s))]} for s in secrets}

    def _config(self, name: str) -> SdsSecretConfig:
        path = PathConfigSource(path=f"{self.sds}/{name}.json")
        source = ConfigSource(path_config_source=path, resource_api_version=ApiVersion.V3)
        return SdsSecretConfig(name=name, sds_config=source)

    def certificate(self) -> SdsSecretConfig:
        """The context's own certificate."""
        return self._config("certificate")

    def authorities(self) -> SdsSecretConfig:
        """Whom the context believes."""
        return self._config("authorities")

    def clusters(self) -> list[Cluster]:
        """None is needed."""
        return []


@dataclass(frozen=True, slots=True)
class Spire:
    """Certificates from SPIRE's agent. `socket`: its Workload API; `trust_domain`: whose bundle is believed."""

    socket: str
    trust_domain: str

    def _secret(self, name: str) -> SdsSecretConfig:
        api = ApiConfigSource(
            api_type=ApiConfigSourceApiType.GRPC,
            transport_api_version=ApiVersion.V3,
            grpc_services=[envoy_grpc(SPIRE)],
        )
        source = ConfigSource(api_config_source=api, resource_api_version=ApiVersion.V3)
        return SdsSecretConfig(name=name, sds_config=source)

    def certificate(self) -> SdsSecretConfig:
        """The workload's own SVID: the agent knows it under the name `default`."""
        return self._secret("default")

    def authorities(self) -> SdsSecretConfig:
        """The trust domain's bundle."""
        return self._secret(f"spiffe://{self.trust_domain}")

    def clusters(self) -> list[Cluster]:
        """The agent."""
        return [
            Cluster(
                name=SPIRE,
                type=ClusterDiscoveryType.STATIC,
                connect_timeout=timedelta(seconds=1),
                typed_extension_protocol_options=http2_options(max_concurrent_streams=STREAMS_MAX),
                load_assignment=endpoints_of(SPIRE, [Address(pipe=Pipe(path=self.socket))]),
            )
        ]


Source = Files | Spire


def _common(source: Source, peers: list[str], alpn: str, versions: TlsParameters) -> CommonTlsContext:
    """Our certificate, and whose we believe: one of the authorities' with one of the names (`peers`, URIs)."""
    names = [
        SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=StringMatcher(exact=uri))
        for uri in peers
    ]
    believed = CommonTlsContextCombinedCertificateValidationContext(
        default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=names),
        validation_context_sds_secret_config=source.authorities(),
    )
    return CommonTlsContext(
        alpn_protocols=[alpn],
        tls_params=versions,
        tls_certificate_sds_secret_configs=[source.certificate()],
        combined_validation_context=believed,
    )


def terminator(listen: str, grpc: str, admin: str, source: Source, clients: list[str]) -> Json:
    """The bootstrap of the Envoy beside a gateway: mTLS on `listen`, plain gRPC to `grpc` on the same pod, which is
    told whose certificate it was (x-forwarded-client-cert). `clients`: URIs of the certificates that may call. Raises
    ConfigurationError for an address that is none."""
    newest = TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_3)
    context = DownstreamTlsContext(
        common_tls_context=_common(source, clients, "h2", newest), require_client_certificate=True
    )
    routes = [Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="gateway", timeout=timedelta(0)))]
    manager = HttpConnectionManager(
        stat_prefix=BOUND_PREFIX,
        codec_type=HttpConnectionManagerCodecType.HTTP2,
        http2_protocol_options=Http2ProtocolOptions(max_concurrent_streams=100000),
        stream_idle_timeout=timedelta(0),  # the calling Envoy's timeouts count
        # who calls, as the setting `gateways` of an identity reads it
        forward_client_cert_details=HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET,
        set_current_client_cert_details=HttpConnectionManagerSetCurrentClientCertDetails(uri=True),
        http_filters=[HttpFilter(name=ROUTER, typed_config=packed(Router()))],
        route_config=RouteConfiguration(
            virtual_hosts=[VirtualHost(name="gateway", domains=["*"], routes=routes)]
        ),
    )
    chain = FilterChain(
        transport_socket=TransportSocket(name=TLS, typed_config=packed(context)),
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))],
    )
    gateway = Cluster(
        name="gateway",
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(milliseconds=250),
        circuit_breakers=UNBOUNDED,
        typed_extension_protocol_options=http2_options(max_concurrent_streams=STREAMS_MAX),
        load_assignment=endpoints_of("gateway", [address(grpc)]),
    )
    return plain(
        Bootstrap(
            admin=Admin(address=address(admin)),
            node=Node(id="spendgate", cluster="spendgate"),
            static_resources=BootstrapStaticResources(
                listeners=[Listener(name="mtls", address=address(listen), filter_chains=[chain])],
                clusters=[gateway, *source.clusters()],
            ),
        )
    )


def with_client(
    config: Json, source: Source, server: list[str], cluster: str = "spendgate", alpn: str = "h2"
) -> Json:
    """A bootstrap whose cluster `spendgate` speaks mTLS. `server`: URIs of the gateways' certificates."""
    newest = TlsParameters(
        tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3
    )  # else a client ends at 1.2
    context = UpstreamTlsContext(common_tls_context=_common(source, server, alpn, newest))
    socket = plain(TransportSocket(name=TLS, typed_config=packed(context)))
    resources = config["static_resources"]
    clusters = [
        {**c, "transport_socket": socket} if c["name"] == cluster else c for c in resources["clusters"]
    ]
    return {
        **config,
        "node": {"id": "llm-envoy", "cluster": "llm-envoy"},
        "static_resources": {**resources, "clusters": [*clusters, *map(plain, source.clusters())]},
    }
