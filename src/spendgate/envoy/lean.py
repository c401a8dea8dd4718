"""Lean routes: our filter sees the request alone, and the access log tells what the answer cost.

Whether an answer is shown is decided for each request; the route only says that it need not be. Envoy reads the usage
of answers on these routes and of no others, since it holds a JSON answer whole for that.
"""

from __future__ import annotations

from typing import Any

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.config.route.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExtProcOverrides, ExtProcPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google import protobuf

from spendgate.envoy.ext_authz import JSON_USAGE, SSE_USAGE, usage_filters
from spendgate.envoy.parts import EXT_PROC, packed
from spendgate.gateway.adapters.codec import LEAN, NAMESPACE
from spendgate.identity import headers as h


def lean_filters() -> list[HttpFilter]:
    """What reads a usage: off, but where a route puts it on."""
    filters = usage_filters()
    for each in filters:
        each.disabled = True
    return filters


def decision_headers() -> list[HeaderValueOption]:
    """What the answer says about the decision, as our filter noted it beside the request; nothing where it did not."""
    return [
        HeaderValueOption(
            header=HeaderValue(key=name, value=f"%DYNAMIC_METADATA({NAMESPACE}:{name})%"),
            append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name in h.DECISION
    ]


def lean_route() -> dict[str, Any]:
    """What a route sets for its filters so that answers may pass unseen."""
    told = ExtProcOverrides(grpc_initial_metadata=[HeaderValue(key=LEAN, value="json,sse")])
    on = packed(FilterConfig(config=protobuf.Any()))  # empty: as it is configured in the listener
    return {EXT_PROC: packed(ExtProcPerRoute(overrides=told)), JSON_USAGE: on, SSE_USAGE: on}
