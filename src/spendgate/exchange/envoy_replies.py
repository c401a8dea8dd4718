"""Answers that Envoy makes itself: did the provider have the request by then? Pure.

By the response code details that Envoy gives (source/common/http, and
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details). Who cannot tell
takes it for sent.
"""

from __future__ import annotations

_NEVER_SENT = (
    "no_healthy_upstream", "cluster_not_found", "no_cluster_found", "route_not_found", "direct_response",
    "maintenance_mode", "overload", "load_shed", "missing_host", "path_normalization_failed", "fault_filter_abort",
    "rbac_access_denied", "ext_authz_", "ext_proc_", "request_payload_too_large", "request_header", "jwt_authn_",
    "request_rate_limited", "local_rate_limited", "rate_limit", "admission_control", "spendgate_", "upgrade_failed",
    "request_overall_timeout", "low_version", "invalid_", "internal_redirect_not", "filter_chain_not_found",
)  # fmt: skip
_NOT_CONNECTED = ("connection_failure", "overflow", "connect_timeout")
"""Reasons of a reset before which nothing was sent: no connection, or a full circuit breaker."""
_SENT = (
    "response_timeout",
    "upstream_",
    "response_payload_too_large",
    "filter_removed_required_response_headers",
)


def may_be_sent(status: int, details: str) -> bool:
    """May the provider have had the request, and work on it? `details`: why Envoy answered, "" where it does not
    say."""
    reason = details.lower()
    if reason.startswith(_NEVER_SENT):
        return False
    if reason.startswith("upstream_reset_before_response_started"):
        return not any(word in reason for word in _NOT_CONNECTED)
    if reason.startswith(_SENT) or "timeout" in reason or "duration" in reason:
        return True
    return status >= 500 or status < 200  # another filter's refusal is the client's fault: 4xx
