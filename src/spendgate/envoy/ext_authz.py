"""Envoy's filters for gateways without ext_proc: ext_authz, what reads an answer's usage, and the access log."""

from __future__ import annotations

from envoy.extensions.access_loggers.grpc.v3 import als_pb2  # noqa: F401  resolves Any types
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2  # noqa: F401
from envoy.extensions.filters.http.json_to_metadata.v3 import json_to_metadata_pb2  # noqa: F401

from spendgate.envoy.parts import EXT_AUTHZ, Json, any_of, duration
from spendgate.exchange.access_log_settlement import NAMESPACE, USAGE_PATHS
from spendgate.settings.config import Settings

SSE = "extensions.filters.http.sse_to_metadata.v3.SseToMetadata"
SSE_EVENT_BYTES = 1_048_576


def ext_authz_filter(settings: Settings, cluster: str = "spendgate") -> Json:
    """The filter: the whole body, as bytes; a request above the limit is 413, never a part of it."""
    return {
        "name": EXT_AUTHZ,
        "typed_config": any_of(
            "extensions.filters.http.ext_authz.v3.ExtAuthz",
            transport_api_version="V3",
            grpc_service={
                "envoy_grpc": {"cluster_name": cluster},
                "timeout": duration(settings.message_timeout),
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,unavailable,reset",
                    "num_retries": 3,
                    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
                },
            },
            failure_mode_allow=settings.failure_mode == "open",
            status_on_error={"code": "ServiceUnavailable"},
            with_request_body={
                "max_request_bytes": settings.max_body_bytes,
                "allow_partial_message": False,
                "pack_as_bytes": True,
            },
            clear_route_cache=True,  # the upstream is chosen by a header of ours
            metadata_context_namespaces=["envoy.filters.http.jwt_authn"],
        ),
    }


def usage_filters() -> list[Json]:
    """Filters of Envoy that write the numbers of an answer's usage beside its log entry: the last event of a
    stream that has a number counts. They stand before ext_authz in the list, and change nothing."""

    def rule(path: str) -> Json:
        return {
            "selectors": [{"key": key} for key in path.split(".")],
            "on_present": {"metadata_namespace": NAMESPACE, "key": path},
        }

    rules = [rule(path) for path in USAGE_PATHS]
    parser = any_of(
        "extensions.content_parsers.json.v3.JsonContentParser", rules=[{"rule": r} for r in rules]
    )
    return [
        {
            "name": "envoy.filters.http.json_to_metadata",
            "typed_config": any_of(
                "extensions.filters.http.json_to_metadata.v3.JsonToMetadata", response_rules={"rules": rules}
            ),
        },
        {
            "name": "envoy.filters.http.sse_to_metadata",
            "typed_config": any_of(
                SSE,
                response_rules={
                    "content_parser": {"name": "envoy.content_parsers.json", "typed_config": parser},
                    "max_event_size": SSE_EVENT_BYTES,
                },
            ),
        },
    ]


def access_log(cluster: str = "spendgate") -> Json:
    """The access log to the same service and port: of calls it settles ext_authz, and of the router's attempts it
    tells which a provider may bill. Both share one gRPC stream a thread of Envoy, since they are the same."""
    return {
        "name": "envoy.access_loggers.http_grpc",
        "typed_config": any_of(
            "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            common_config={
                "log_name": "spendgate",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
                "buffer_flush_interval": "1s",
                "grpc_stream_retry_policy": {"num_retries": 3},
            },
        ),
    }
