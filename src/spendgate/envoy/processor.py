"""The external processor as Envoy sees it: the cluster of our workers, our filter, and what is taken off before it.

Every value that is not Envoy's default stands here with its reason; they were measured on Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation,
    HeaderMutationRemoveOnMatch,
    HeaderMutationRules,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    KeepaliveSettings,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, Percent, StatusCode

from spendgate.envoy.ext_authz import RETRY_ON, back_off
from spendgate.envoy.parts import (
    EXT_PROC,
    UNBOUNDED,
    address,
    endpoints_of,
    envoy_grpc,
    http2_options,
    is_ip,
    milliseconds,
    packed,
)
from spendgate.gateway.adapters.codec import LOGS_ATTEMPTS, NAMESPACE
from spendgate.identity import headers as h
from spendgate.settings.config import Settings

REQUEST_ATTRIBUTES = [
    "request.time", "connection.id", "source.address", "destination.address",
    "connection.uri_san_peer_certificate", "filter_state['num_internal_redirects']",
]  # fmt: skip
RESPONSE_ATTRIBUTES = ["response.code_details", "upstream.request_attempt_count"]
STRIPPED_EARLY = [
    h.CLUSTER, h.UTILIZATION, h.DOWNGRADED, h.MODEL, h.REASON, h.ESTIMATE, h.COST, h.KEPT, h.CLAMPED,
]  # fmt: skip
"""A client's copy of these is taken off before the route is chosen: it must not choose the cluster."""


def keepalive(message_timeout_ms: int) -> KeepaliveSettings:
    """Envoy's pings of a worker, answered by gRPC's own threads. A connection is given up after a message timeout
    at the latest: a stream's timeout begins anew with each of its chunks, so only this frees those that wait for
    a process that stands still."""
    return KeepaliveSettings(
        interval=milliseconds(message_timeout_ms // 5), timeout=milliseconds(message_timeout_ms * 7 // 10)
    )


def spendgate_cluster(grpc: Sequence[str], message_timeout_ms: int) -> Cluster:
    """The cluster of our workers: one endpoint per worker, since Envoy keeps one connection per thread and
    endpoint. A dead worker is left at once, and costs no message timeout."""
    placed = all(g.startswith("unix:") or is_ip(g.rpartition(":")[0].strip("[]")) for g in grpc)
    second = timedelta(seconds=1)
    return Cluster(
        name="spendgate",
        type=ClusterDiscoveryType.STATIC if placed else ClusterDiscoveryType.STRICT_DNS,
        connect_timeout=timedelta(milliseconds=250),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=UNBOUNDED,
        common_lb_config=ClusterCommonLbConfig(
            healthy_panic_threshold=Percent(value=0),
            # by default Envoy gathers changes of health for a second: a dead worker would be chosen that long
            update_merge_window=timedelta(0),
        ),
        health_checks=[
            HealthCheck(
                timeout=timedelta(seconds=2),
                interval=second,
                no_traffic_interval=second,
                unhealthy_threshold=2,
                healthy_threshold=1,
                reuse_connection=False,
                grpc_health_check=HealthCheckGrpcHealthCheck(),
            )
        ],
        outlier_detection=OutlierDetection(
            consecutive_5xx=100,
            consecutive_gateway_failure=1,
            enforcing_consecutive_gateway_failure=100,
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=1,
            interval=second,
            base_ejection_time=second,
            max_ejection_time=timedelta(seconds=2),
            max_ejection_percent=50,
        ),
        typed_extension_protocol_options=http2_options(
            max_concurrent_streams=2147483647,
            initial_stream_window_size=1048576,
            initial_connection_window_size=67108864,
            connection_keepalive=keepalive(message_timeout_ms),
        ),
        load_assignment=endpoints_of("spendgate", [address(g) for g in grpc]),
    )


def ext_proc_filter(
    settings: Settings,
    cluster: str = "spendgate",
    authority: str = "",
    *,
    logged: bool = False,
    metadata: Sequence[tuple[str, str]] = (),
) -> HttpFilter:
    """The filter. `authority`: of the calls, where the cluster's name is no host name. `logged`: the listener and the
    router log to us, so that each attempt is told apart. `metadata`: what each call says of its Envoy."""
    config = external_processor(settings, cluster, authority, logged=logged, metadata=metadata)
    return HttpFilter(name=EXT_PROC, typed_config=packed(config))


def external_processor(
    settings: Settings,
    cluster: str = "spendgate",
    authority: str = "",
    *,
    logged: bool = False,
    metadata: Sequence[tuple[str, str]] = (),
) -> ExternalProcessor:
    """The filter's configuration. Nothing is FULL_DUPLEX_STREAMED here: configured, it would disable mode_override,
    message timeouts and fail-open."""
    told = [*metadata, *([(LOGS_ATTEMPTS, "logged")] if logged else [])]
    another = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=packed(PreviousHostsPredicate())
    )
    service = envoy_grpc(
        cluster,
        authority,
        retry_policy=RetryPolicy(
            retry_on=RETRY_ON,
            num_retries=3,
            retry_host_predicate=[another],  # the least loaded worker is the dead one
            host_selection_retry_max_attempts=5,
            retry_back_off=back_off(settings),
        ),
        initial_metadata=[HeaderValue(key=key, value=value) for key, value in told],
    )
    tokens = MetadataOptionsMetadataNamespaces(untyped=["envoy.filters.http.jwt_authn"])
    return ExternalProcessor(
        grpc_service=service,
        failure_mode_allow=settings.failure_mode == "open",
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        message_timeout=milliseconds(settings.message_timeout),
        max_message_timeout=milliseconds(settings.longest_message_timeout),
        allow_mode_override=True,
        processing_mode=ProcessingMode(
            request_header_mode=ProcessingModeHeaderSendMode.SEND,
            request_body_mode=ProcessingModeBodySendMode.BUFFERED,
            response_header_mode=ProcessingModeHeaderSendMode.SEND,
        ),
        # without allow_envoy our replies could not take a client's `x-envoy-…` off
        mutation_rules=HeaderMutationRules(allow_all_routing=True, allow_envoy=True),
        request_attributes=REQUEST_ATTRIBUTES,
        response_attributes=RESPONSE_ATTRIBUTES,
        metadata_options=MetadataOptions(
            forwarding_namespaces=tokens,
            receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=[NAMESPACE]) if logged else None,
        ),
    )


def early_strip(*, prefixes: bool = False) -> TypedExtensionConfig:
    """Takes a client's copies of our headers off before the route is chosen. `prefixes`: Envoy's own `x-envoy-…` too,
    by a field that old Envoys of a mesh may not know; there the exchange takes them off, before the router reads."""
    mutations = [HeaderMutation(remove=name) for name in STRIPPED_EARLY]
    if prefixes:
        ours = HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=h.ENVOY_PREFIX))
        mutations.append(HeaderMutation(remove_on_match=ours))
    return TypedExtensionConfig(name="strip", typed_config=packed(EarlyHeaderMutation(mutations=mutations)))
