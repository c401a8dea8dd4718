"""Envoy's access logs to our service: what they tell settles ext_authz and lean routes, and charges the attempts that a
provider may bill beside the one that was answered."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, HeaderFilter, OrFilter
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, RetryPolicy
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)

from spendgate.envoy.parts import at_least, at_most, envoy_grpc, header_match, packed
from spendgate.exchange.attempts import SHADOW


def access_log(cluster: str = "spendgate", only: AccessLogFilter | None = None) -> AccessLog:
    """The gRPC access log to the service and port of the cluster. All that are configured alike share one gRPC stream
    a thread of Envoy, whatever they tell `only` of."""
    common = CommonGrpcAccessLogConfig(
        log_name="spendgate",
        transport_api_version=ApiVersion.V3,
        grpc_service=envoy_grpc(cluster),
        buffer_flush_interval=timedelta(seconds=1),
        grpc_stream_retry_policy=RetryPolicy(num_retries=3),
    )
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=only,
        typed_config=packed(HttpGrpcAccessLogConfig(common_config=common)),
    )


def attempts_log() -> AccessLog:
    """The router's, an entry for each attempt but those whose exchange is charged for them: answered, and no copy that
    Envoy sent to somebody else. Nearly all are, and what nobody reads costs 11 µs."""
    copied = AccessLogFilter(header_filter=HeaderFilter(header=header_match(":authority", contains=SHADOW)))
    return access_log(only=AccessLogFilter(or_filter=OrFilter(filters=[at_most(199), at_least(300), copied])))
