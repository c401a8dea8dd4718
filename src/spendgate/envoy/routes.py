"""Envoy's routes: which requests are metered, which provider they go to, and what no provider sees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.config.route.v3 import DirectResponseAction, Route, RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import CheckSettings, ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExtProcOverrides,
    ExtProcPerRoute,
    ProcessingMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from spendgate.dialects import registry
from spendgate.dialects.registry import DIALECTS
from spendgate.envoy.lean import lean_route
from spendgate.envoy.parts import EXT_AUTHZ, EXT_PROC, Entry, header_match, packed
from spendgate.envoy.upstreams import action
from spendgate.exchange.own_budget import PREFIX
from spendgate.exchange.request_facts import SIGV4
from spendgate.identity import headers as h
from spendgate.identity.extractors import KEY_HEADERS
from spendgate.pricing.terms import TOOLS
from spendgate.settings.config import Settings, Upstream, default_upstream

NO_SUCH_PATH = (
    '{"error":{"message":"No LLM API that this gateway meters has this path.","type":"invalid_request_error",'
    '"param":null,"code":"path_not_allowed"}}'
)
NO_GATEWAY = (
    '{"error":{"message":"No gateway answers at the moment. Try again soon.","type":"api_error","param":null,'
    '"code":"no_gateway"}}'
)
_HEADERS_ONLY = ProcessingMode(
    request_header_mode=ProcessingModeHeaderSendMode.SEND,
    response_header_mode=ProcessingModeHeaderSendMode.SKIP,
)


def _headers_first(entry: Entry) -> dict[str, Any]:
    """On a route that no dialect is known to claim our filter looks at the headers alone; ext_proc asks for the body
    where they say that it costs money."""
    if entry == "ext_authz":
        return {
            EXT_AUTHZ: packed(
                ExtAuthzPerRoute(check_settings=CheckSettings(disable_request_body_buffering=True))
            )
        }
    return {EXT_PROC: packed(ExtProcPerRoute(overrides=ExtProcOverrides(processing_mode=_HEADERS_ONLY)))}


def _unasked(entry: Entry) -> dict[str, Any]:
    """Our filter does nothing: Envoy answers by itself."""
    if entry == "ext_authz":
        return {EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))}
    return {EXT_PROC: packed(ExtProcPerRoute(disabled=True))}


def _route(
    name: str,
    match: RouteMatch,
    upstream: Upstream,
    *,
    metered: bool,
    settings: Settings,
    entry: Entry,
    lean: bool = False,
) -> Route:
    removed = set(removed_headers(settings, verified=metered))
    if upstream.credential is not None:
        removed |= set(KEY_HEADERS)  # the client's key is not this provider's
    return Route(
        name=name,
        match=match,
        route=action(upstream),
        request_headers_to_remove=sorted(removed),
        request_body_buffer_limit=settings.max_body_bytes,
        typed_per_filter_config=(lean_route() if lean else {}) if metered else _headers_first(entry),
    )


def _signed(name: str, match: RouteMatch, upstream: Upstream, settings: Settings, entry: Entry) -> Route:
    """The route of what an AWS SDK signed: host and headers stay, since the signature covers them; the exchange
    takes off those that it does not cover."""
    route = _route(name, match, upstream, metered=True, settings=settings, entry=entry)
    route.route = action(upstream, rewrite_host=False)
    route.request_headers_to_remove = [h.CLUSTER]
    return route


def removed_headers(settings: Settings, *, verified: bool = True) -> list[str]:
    """What no provider sees: internal request headers, and those of identity unless they are forwarded.

    `verified`: ext_proc takes off before what the caller was not allowed to set."""
    return sorted({h.CLUSTER, h.REQUIRE_MODEL, h.RUN, *settings.stripped_identity(verified=verified)})


def _answered(status: int, body: str, how: HeaderValueOptionHeaderAppendAction) -> dict[str, Any]:
    """What Envoy answers itself, in JSON."""
    label = HeaderValue(key="content-type", value="application/json")
    return {
        "direct_response": DirectResponseAction(status=status, body=DataSource(inline_string=body)),
        "response_headers_to_add": [HeaderValueOption(header=label, append_action=how)],
    }


def _own(entry: Entry) -> Route:
    """What the gateway answers itself: where none does, no provider is asked instead."""
    return Route(
        name="own",
        match=RouteMatch(safe_regex=RegexMatcher(regex=f"(?i)/+{PREFIX.strip('/')}(/.*)?")),
        typed_per_filter_config=_headers_first(entry),
        **_answered(503, NO_GATEWAY, HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT),
    )


def _mcp_routes(upstreams: Sequence[Upstream], settings: Settings, entry: Entry) -> list[Route]:
    """Of upstreams that are there for MCP: all of a session goes to them, by its path, whatever it costs. Those with a
    prefix of their own come first."""
    there = [u for u in upstreams if TOOLS in u.dialects]
    out = []
    for upstream in sorted(there, key=lambda u: not u.strip_prefix):
        own = f"{re.escape(upstream.strip_prefix)}/.*"
        regex = own if upstream.strip_prefix else f"(?i).*{registry.by_name(TOOLS).path_regex}/*"
        match = RouteMatch(safe_regex=RegexMatcher(regex=regex))
        out.append(
            _route(f"mcp-{upstream.name}", match, upstream, metered=True, settings=settings, entry=entry)
        )
    return out


_ODD = (".*[%;].*", "(.*/)?\\.{1,2}(/.*)?", ".*\\s")
"""Paths that may spell another: percent-encoding, parameters, dot segments, blanks at the end."""


def routes(settings: Settings, upstreams: Sequence[Upstream], entry: Entry = "ext_proc") -> list[Route]:
    """Every request meets our filter. What a dialect claims comes with its body, and so does what is spelled oddly and
    may be such a path; each pattern has its own route, since Envoy bounds their size. Of all others it sees the
    headers first (uploads and downloads of any size pass), and ext_proc then asks for the body of what costs money
    after all; ext_authz cannot ask, so there the body comes whatever the method is.

    With `passthrough: reject` there are no others: Envoy answers 404."""
    out = [_own(entry)]
    default = default_upstream(tuple(upstreams))
    assert default is not None, "bootstrap() demands an upstream"
    claimed = [(f"(?i).*{d.path_regex}/*", settings.lean and d.logged) for d in DIALECTS if d.owns_path]
    claimed += [(odd, False) for odd in _ODD]
    post = header_match(":method", exact="POST")
    by_aws = header_match("authorization", prefix=SIGV4)
    for upstream in upstreams:
        chosen = header_match(h.CLUSTER, exact=upstream.name)
        if upstream.credential is None:
            kept = RouteMatch(prefix="/", headers=[post, chosen, by_aws])
            out.append(_signed(f"signed-{upstream.name}", kept, upstream, settings, entry))
        match = RouteMatch(prefix="/", headers=[chosen])
        out.append(
            _route(f"llm-{upstream.name}", match, upstream, metered=True, settings=settings, entry=entry)
        )
    out += _mcp_routes(upstreams, settings, entry)
    if default.credential is None:
        match = RouteMatch(prefix="/", headers=[post, by_aws])
        out.append(_signed("signed", match, default, settings, entry))
    for regex, lean in claimed:
        match = RouteMatch(
            safe_regex=RegexMatcher(regex=regex), headers=[post] if entry == "ext_proc" else []
        )
        out.append(_route("llm", match, default, metered=True, settings=settings, entry=entry, lean=lean))
    if settings.passthrough == "reject":
        how = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
        answered = _answered(404, NO_SUCH_PATH, how)
        out.append(
            Route(
                name="other",
                match=RouteMatch(prefix="/"),
                typed_per_filter_config=_unasked(entry),
                **answered,
            )
        )
    else:
        match = RouteMatch(prefix="/")
        out.append(_route("other", match, default, metered=False, settings=settings, entry=entry))
    return out
