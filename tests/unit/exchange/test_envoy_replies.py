"""What Envoy's own answers say of the provider."""

from __future__ import annotations

import pytest

from spendgate.exchange.envoy_replies import may_be_sent


@pytest.mark.parametrize(
    ("status", "details"),
    [
        (504, "response_timeout"),
        (504, "upstream_response_timeout"),
        (504, "upstream_per_try_timeout"),
        (504, "upstream_max_stream_duration_reached"),
        (408, "stream_idle_timeout"),
        (503, "upstream_reset_before_response_started{connection_termination}"),
        (503, "upstream_reset_before_response_started{remote_reset}"),
        (502, "upstream_reset_before_response_started{protocol_error}"),
        (500, "response_payload_too_large"),
        (502, "filter_removed_required_response_headers"),
        (503, ""),
        (500, "something_new"),
    ],
)
def test_a_request_that_the_provider_may_have_got_counts_as_sent(status: int, details: str) -> None:
    assert may_be_sent(status, details)


@pytest.mark.parametrize(
    ("status", "details"),
    [
        (503, "no_healthy_upstream"),
        (503, "cluster_not_found"),
        (404, "route_not_found"),
        (503, "upstream_reset_before_response_started{connection_failure}"),
        (503, "upstream_reset_before_response_started{remote_connection_failure|111}"),
        (503, "upstream_reset_before_response_started{overflow}"),
        (403, "rbac_access_denied_matched_policy[none]"),
        (403, "ext_authz_denied"),
        (429, "request_rate_limited"),
        (401, "jwt_authn_access_denied{Jwt_is_missing}"),
        (413, "request_payload_too_large"),
        (403, "lua_response"),
    ],
)
def test_a_request_that_was_kept_from_the_provider_is_known(status: int, details: str) -> None:
    assert not may_be_sent(status, details)
