"""Envoy's filters for gateways without ext_proc: ext_authz, and what reads a response's usage."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    BackoffStrategy,
    RetryPolicy,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.content_parsers.json.v3 import (
    JsonContentParser,
    JsonContentParserRuleConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import BufferSettings, ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.json_to_metadata.v3 import (
    JsonToMetadata,
    JsonToMetadataKeyValuePair,
    JsonToMetadataMatchRules,
    JsonToMetadataRule,
    JsonToMetadataSelector,
)
from envoy_data_plane.envoy.extensions.filters.http.sse_to_metadata.v3 import (
    SseToMetadata,
    SseToMetadataProcessingRules,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from spendgate.envoy.parts import EXT_AUTHZ, envoy_grpc, milliseconds, packed
from spendgate.exchange.access_log_settlement import NAMESPACE, USAGE_PATHS
from spendgate.settings.config import Settings

JSON_USAGE = "envoy.filters.http.json_to_metadata"
SSE_USAGE = "envoy.filters.http.sse_to_metadata"
SSE_EVENT_BYTES = 1_048_576
STAT_PREFIX = "spendgate"
"""Tells our filter's counters from those of other ext_authz filters in the chain."""
RETRY_ON = "connect-failure,refused-stream,unavailable,reset"
"""What may be asked of another worker: none of it was answered."""


def back_off(settings: Settings) -> BackoffStrategy:
    """The pauses before another worker is asked: at most 5, 15, then 35 ms, at random. Envoy takes the longest pause
    also for the timeout of each try, once the request is sent (`Http::Utility::convertCoreToRouteRetryPolicy`): so it
    is no shorter than what a decision may take."""
    return BackoffStrategy(
        base_interval=timedelta(milliseconds=5), max_interval=milliseconds(settings.message_timeout)
    )


def ext_authz_filter(settings: Settings, cluster: str = "spendgate") -> HttpFilter:
    """The filter: the whole body, as bytes; a request above the limit is 413, never a part of it."""
    service = envoy_grpc(
        cluster,
        timeout=milliseconds(settings.message_timeout),
        retry_policy=RetryPolicy(retry_on=RETRY_ON, num_retries=3, retry_back_off=back_off(settings)),
    )
    config = ExtAuthz(
        transport_api_version=ApiVersion.V3,
        grpc_service=service,
        failure_mode_allow=settings.failure_mode == "open",
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        with_request_body=BufferSettings(
            max_request_bytes=settings.max_body_bytes, allow_partial_message=False, pack_as_bytes=True
        ),
        clear_route_cache=True,  # the upstream is chosen by a header of ours
        metadata_context_namespaces=["envoy.filters.http.jwt_authn"],
        stat_prefix=STAT_PREFIX,
    )
    return HttpFilter(name=EXT_AUTHZ, typed_config=packed(config))


def _rule(path: str) -> JsonToMetadataRule:
    return JsonToMetadataRule(
        selectors=[JsonToMetadataSelector(key=key) for key in path.split(".")],
        on_present=JsonToMetadataKeyValuePair(metadata_namespace=NAMESPACE, key=path),
    )


def usage_filters() -> list[HttpFilter]:
    """Filters of Envoy that write the numbers of a response's usage beside its log entry: the last event of a
    stream that has a number counts. They stand before ext_authz in the list, and change nothing."""
    rules = [_rule(path) for path in USAGE_PATHS]
    parser = JsonContentParser(rules=[JsonContentParserRuleConfig(rule=rule) for rule in rules])
    whole = JsonToMetadata(response_rules=JsonToMetadataMatchRules(rules=rules))
    streamed = SseToMetadata(
        response_rules=SseToMetadataProcessingRules(
            content_parser=TypedExtensionConfig(
                name="envoy.content_parsers.json", typed_config=packed(parser)
            ),
            max_event_size=SSE_EVENT_BYTES,
        )
    )
    return [
        HttpFilter(name=JSON_USAGE, typed_config=packed(whole)),
        HttpFilter(name=SSE_USAGE, typed_config=packed(streamed)),
    ]
