"""Envoy's routes: which requests are metered, which provider they go to, and what no provider sees."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.dialects.registry import DIALECTS
from spendgate.envoy.parts import EXT_AUTHZ, EXT_PROC, Entry, Json, any_of
from spendgate.envoy.upstreams import action
from spendgate.exchange.own_budget import PREFIX
from spendgate.exchange.request_facts import SIGV4
from spendgate.identity import headers as h
from spendgate.identity.extractors import KEY_HEADERS
from spendgate.settings.config import Settings, Upstream, default_upstream

NO_SUCH_PATH = (
    '{"error":{"message":"No LLM API that this gateway meters has this path.","type":"invalid_request_error",'
    '"param":null,"code":"path_not_allowed"}}'
)
NO_GATEWAY = (
    '{"error":{"message":"No gateway answers at the moment. Try again soon.","type":"api_error","param":null,'
    '"code":"no_gateway"}}'
)
_PROC = "extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_AUTHZ = "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_HEADERS_ONLY = {
    "request_header_mode": "SEND",
    "request_body_mode": "NONE",
    "response_header_mode": "SKIP",
    "response_body_mode": "NONE",
}


def _headers_first(entry: Entry) -> Json:
    """On a route that no dialect is known to claim our filter looks at the headers alone; ext_proc asks for the body
    where they say that it costs money."""
    if entry == "ext_authz":
        return {EXT_AUTHZ: any_of(_AUTHZ, check_settings={"disable_request_body_buffering": True})}
    return {EXT_PROC: any_of(_PROC, overrides={"processing_mode": _HEADERS_ONLY})}


def _unasked(entry: Entry) -> Json:
    """Our filter does nothing: Envoy answers by itself."""
    return {EXT_AUTHZ if entry == "ext_authz" else EXT_PROC: any_of(
        _AUTHZ if entry == "ext_authz" else _PROC, disabled=True
    )}  # fmt: skip


def _route(
    name: str,
    match: Json,
    upstream: Upstream,
    *,
    metered: bool,
    settings: Settings,
    entry: Entry,
) -> Json:
    removed = set(removed_headers(settings, verified=metered))
    if upstream.credential is not None:
        removed |= set(KEY_HEADERS)  # the client's key is not this provider's
    route: Json = {
        "name": name,
        "match": match,
        "route": {**action(upstream), "timeout": "0s"},
        "request_headers_to_remove": sorted(removed),
    }
    route["request_body_buffer_limit"] = settings.max_body_bytes
    if not metered:
        route["typed_per_filter_config"] = _headers_first(entry)
    return route


def _signed(name: str, match: Json, upstream: Upstream, settings: Settings, entry: Entry) -> Json:
    """The route of what an AWS SDK signed: host and headers stay, since the signature covers them; the exchange
    takes off those that it does not cover."""
    route = _route(name, match, upstream, metered=True, settings=settings, entry=entry)
    route["route"] = {key: value for key, value in route["route"].items() if key != "host_rewrite_literal"}
    route["request_headers_to_remove"] = [h.CLUSTER]
    return route


def removed_headers(settings: Settings, *, verified: bool = True) -> list[str]:
    """What no provider sees: internal request headers, and those of identity unless they are forwarded.

    `verified`: ext_proc takes off before what the caller was not allowed to set."""
    return sorted({h.CLUSTER, h.REQUIRE_MODEL, h.RUN, *settings.stripped_identity(verified=verified)})


def _own(entry: Entry) -> Json:
    """What the gateway answers itself: where none does, no provider is asked instead."""
    return {
        "name": "own",
        "match": {"safe_regex": {"regex": f"(?i)/+{PREFIX.strip('/')}(/.*)?"}},
        "direct_response": {"status": 503, "body": {"inline_string": NO_GATEWAY}},
        "response_headers_to_add": [
            {"header": {"key": "content-type", "value": "application/json"},
             "append_action": "ADD_IF_ABSENT"}
        ],
        "typed_per_filter_config": _headers_first(entry),
    }  # fmt: skip


_ODD = (".*[%;].*", "(.*/)?\\.{1,2}(/.*)?", ".*\\s")
"""Paths that may spell another: percent-encoding, parameters, dot segments, blanks at the end."""


def routes(settings: Settings, upstreams: Sequence[Upstream], entry: Entry = "ext_proc") -> list[Json]:
    """Every request meets our filter. What a dialect claims comes with its body, and so does what is spelled oddly and
    may be such a path; each pattern has its own route, since Envoy bounds their size. Of all others it sees the
    headers first (uploads and downloads of any size pass), and ext_proc then asks for the body of what costs money
    after all; ext_authz cannot ask, so there the body comes whatever the method is.

    With `passthrough: reject` there are no others: Envoy answers 404."""
    out: list[Json] = []
    default = default_upstream(tuple(upstreams))
    assert default is not None, "bootstrap() demands an upstream"
    claimed = [*(f"(?i).*{d.path_regex}/*" for d in DIALECTS), *_ODD]
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    calls = [post] if entry == "ext_proc" else []
    by_aws = {"name": "authorization", "string_match": {"prefix": SIGV4}}
    out.append(_own(entry))
    for upstream in upstreams:
        chosen = {"name": h.CLUSTER, "string_match": {"exact": upstream.name}}
        if upstream.credential is None:
            kept: Json = {"prefix": "/", "headers": [post, chosen, by_aws]}
            out.append(_signed(f"signed-{upstream.name}", kept, upstream, settings, entry))
        match: Json = {"prefix": "/", "headers": [chosen]}
        out.append(
            _route(f"llm-{upstream.name}", match, upstream, metered=True, settings=settings, entry=entry)
        )
    if default.credential is None:
        match = {"prefix": "/", "headers": [post, by_aws]}
        out.append(_signed("signed", match, default, settings, entry))
    for regex in claimed:
        match = {"safe_regex": {"regex": regex}, **({"headers": calls} if calls else {})}
        out.append(_route("llm", match, default, metered=True, settings=settings, entry=entry))
    other = _route("other", {"prefix": "/"}, default, metered=False, settings=settings, entry=entry)
    if settings.passthrough == "reject":
        for key in ("route", "request_headers_to_remove", "request_body_buffer_limit"):
            del other[key]
        other["typed_per_filter_config"] = _unasked(entry)
        other["direct_response"] = {"status": 404, "body": {"inline_string": NO_SUCH_PATH}}
        other["response_headers_to_add"] = [
            {"header": {"key": "content-type", "value": "application/json"},
             "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ]  # fmt: skip
    out.append(other)
    return out
