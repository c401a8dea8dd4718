"""Envoy's routes: which requests are metered, which provider they go to, and what no provider sees."""

from __future__ import annotations

from collections.abc import Sequence

from spendgate.dialects.registry import DIALECTS
from spendgate.gateway import headers as h
from spendgate.gateway.config import Settings, Upstream, default_upstream
from spendgate.gateway.extractors import KEY_HEADERS
from spendgate.gateway.reading import SIGV4
from spendgate.supervisor.envoy_parts import EXT_AUTHZ, EXT_PROC, Entry, Json, any_of
from spendgate.supervisor.providers import action

NO_SUCH_PATH = (
    '{"error":{"message":"No LLM API that this gateway meters has this path.","type":"invalid_request_error",'
    '"param":null,"code":"path_not_allowed"}}'
)
_PROC = "extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_AUTHZ = "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_HEADERS_ONLY = {
    "request_header_mode": "SEND",
    "request_body_mode": "NONE",
    "response_header_mode": "SKIP",
    "response_body_mode": "NONE",
}


def _unmetered(entry: Entry, settings: Settings, *, counted: bool) -> Json:
    """What our filter does on a route that nobody meters: nothing, or only look at the headers, to count what
    may cost money or ask who calls."""
    asks = counted or settings.passthrough == "identified"
    if entry == "ext_authz":
        quiet: Json = (
            {"check_settings": {"disable_request_body_buffering": True}} if asks else {"disabled": True}
        )
        return {EXT_AUTHZ: any_of(_AUTHZ, **quiet)}
    quiet = {"overrides": {"processing_mode": _HEADERS_ONLY}} if asks else {"disabled": True}
    return {EXT_PROC: any_of(_PROC, **quiet)}


def _route(
    name: str,
    match: Json,
    upstream: Upstream,
    *,
    metered: bool,
    settings: Settings,
    entry: Entry,
    counted: bool = False,
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
    if metered:
        route["request_body_buffer_limit"] = settings.max_body_bytes
    else:
        route["typed_per_filter_config"] = _unmetered(entry, settings, counted=counted)
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


def routes(settings: Settings, upstreams: Sequence[Upstream], entry: Entry = "ext_proc") -> list[Json]:
    """Paths that a dialect claims go through ext_proc, and so do percent-encoded ones, which may spell such a
    path; each has its own route, since Envoy bounds the size of a pattern. Of other POSTs and of WebSockets,
    which may cost money, it sees the headers alone (uploads of any size pass); nothing else touches it, unless
    `passthrough` asks who sends it."""
    out: list[Json] = []
    default = default_upstream(tuple(upstreams))
    assert default is not None, "bootstrap() demands an upstream"
    claimed = [*(f".*{d.path_regex}/*" for d in DIALECTS), ".*%.*"]
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    by_aws = {"name": "authorization", "string_match": {"prefix": SIGV4}}
    websocket = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
    for upstream in upstreams:
        chosen = {"name": h.CLUSTER, "string_match": {"exact": upstream.name}}
        if upstream.credential is None:
            kept: Json = {"prefix": "/", "headers": [post, chosen, by_aws]}
            out.append(_signed(f"signed-{upstream.name}", kept, upstream, settings, entry))
        for regex in claimed:
            match: Json = {"safe_regex": {"regex": regex}, "headers": [post, chosen]}
            name = f"llm-{upstream.name}"
            out.append(_route(name, match, upstream, metered=True, settings=settings, entry=entry))
    if default.credential is None:
        match = {"prefix": "/", "headers": [post, by_aws]}
        out.append(_signed("signed", match, default, settings, entry))
    for regex in claimed:
        match = {"safe_regex": {"regex": regex}, "headers": [post]}
        out.append(_route("llm", match, default, metered=True, settings=settings, entry=entry))
    for header in () if settings.passthrough == "reject" else (post, websocket):
        match = {"prefix": "/", "headers": [header]}
        out.append(
            _route("unclaimed", match, default, metered=False, settings=settings, entry=entry, counted=True)
        )
    other = _route("other", {"prefix": "/"}, default, metered=False, settings=settings, entry=entry)
    if settings.passthrough == "reject":
        del other["route"], other["request_headers_to_remove"]
        other["direct_response"] = {"status": 404, "body": {"inline_string": NO_SUCH_PATH}}
        other["response_headers_to_add"] = [
            {"header": {"key": "content-type", "value": "application/json"},
             "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ]  # fmt: skip
    out.append(other)
    return out
