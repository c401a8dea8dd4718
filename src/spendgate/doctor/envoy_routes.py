"""What a route does to a paid call: repeats it, copies it, cuts it, leads it past our filter. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from spendgate.dialects import registry
from spendgate.doctor.envoy_dump import Json
from spendgate.doctor.envoy_filters import cluster_of, setting_of
from spendgate.doctor.finding import Finding, error, warning
from spendgate.durations import parse_duration_ms
from spendgate.settings.config import Settings

LONG_MS = 300_000
"""An answer of a model that thinks takes minutes; ten are not rare."""
MIB = 1024 * 1024
LLM_PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings")
UNSENT = frozenset(
    {
        "connect-failure",
        "refused-stream",
        "reset-before-request",
        "envoy-ratelimited",
        "unavailable",
        "cancelled",
    }
)
"""What the router retries on where nothing was sent, or nothing was done with it; the last two are of gRPC, which no
metered API speaks."""
BAD = "a try that reached the provider may be billed though no answer came"


def ms_or_zero(text: Any) -> int:
    """A duration in ms, 0 for none at all."""
    return parse_duration_ms(text) if text and str(text).strip("0.s") else 0


def check_route(
    where: str, config: Json, listener: Json, host: Json, route: Json, ours: Json, settings: Settings
) -> Iterator[Finding]:
    """A route that LLM calls take."""
    own = setting_of(ours, route, host, config)
    if own.get("disabled"):
        yield error(
            "route-disabled",
            where,
            "spendgate is switched off on this route: it is free",
            "take the per-route `disabled: true` away, or name the filter where it is off by default",
        )
        return
    yield from _overrides(where, own.get("overrides") or {}, ours, settings)
    if "route" not in route:
        return
    action = route["route"]
    for weighted in action.get("weighted_clusters", {}).get("clusters", []):
        if setting_of({**ours, "disabled": False}, weighted).get("disabled"):
            yield error(
                "route-disabled",
                f"{where}, cluster {weighted.get('name')}",
                "spendgate is switched off for a share of the calls",
                "take the per-cluster `disabled` away",
            )
    limits = [route.get("request_body_buffer_limit"), host.get("request_body_buffer_limit")]
    limits += [host.get("per_request_buffer_limit_bytes"), route.get("per_request_buffer_limit_bytes")]
    limits.append(listener.get("per_connection_buffer_limit_bytes"))
    limit = max((int(x) for x in limits if x), default=MIB)
    if limit < settings.max_body_bytes:
        yield warning(
            "body-limit",
            where,
            f"bodies above {limit} bytes get 413, long answers 500",
            f"set request_body_buffer_limit: {settings.max_body_bytes} on the virtual host",
        )
    yield from _times(where, action)
    yield from _copies(where, config, host, action)


def _overrides(where: str, overrides: Mapping[str, Any], ours: Json, settings: Settings) -> Iterator[Finding]:
    fix = "take the overrides of this route away, or put them under the name of the filter that they are for"
    asked = cluster_of(dict(overrides))
    if asked and asked != cluster_of(ours["typed_config"]):
        yield error(
            "route-overrides", where, f"this route asks {asked} in spendgate's place: it is free", fix
        )
    mode = overrides.get("processing_mode")
    if mode is not None and mode.get("request_body_mode") != "BUFFERED":
        yield error(
            "route-overrides",
            where,
            f"this route sets request_body_mode {mode.get('request_body_mode', 'NONE')}: bodies are not read",
            fix,
        )
    opens = overrides.get("failure_mode_allow")
    if opens is not None and bool(opens) != (settings.failure_mode == "open"):
        yield warning(
            "route-overrides",
            where,
            f"this route fails {'open' if opens else 'closed'}, the settings say {settings.failure_mode}",
            fix,
        )


def _times(where: str, action: Json) -> Iterator[Finding]:
    timeout = action.get("timeout")
    if timeout is None or 0 < ms_or_zero(timeout) < LONG_MS:
        yield warning(
            "route-timeout",
            where,
            f"answers and streams are cut after {timeout or '15s'}; the provider goes on",
            "set timeout: 0s; stream_idle_timeout still ends what is silent",
        )
    idle = ms_or_zero(action.get("idle_timeout"))
    if 0 < idle < LONG_MS:
        yield warning(
            "idle-timeout",
            where,
            f"what is silent for {action['idle_timeout']} is cut, as a model that thinks is",
            "take idle_timeout away, or set 600s",
        )
    longest = action.get("max_stream_duration", {}).get("max_stream_duration")
    if 0 < ms_or_zero(longest) < LONG_MS:
        yield warning(
            "max-stream-duration",
            where,
            f"answers and streams are cut after {longest}; the provider goes on",
            "take max_stream_duration away",
        )


def _copies(where: str, config: Json, host: Json, action: Json) -> Iterator[Finding]:
    retry = action.get("retry_policy") or host.get("retry_policy") or {}
    words = {x.strip() for x in str(retry.get("retry_on", "")).split(",") if x.strip()}
    if not retry.get("retriable_status_codes"):  # which Istio names by default, with no code
        words.discard("retriable-status-codes")
    risky = sorted(words - UNSENT)
    per_try = retry.get("per_try_timeout") or retry.get("per_try_idle_timeout")
    if risky and retry.get("num_retries", 1) != 0:
        timed = f", each try cut after {per_try}" if per_try else ""
        yield warning(
            "provider-retries",
            where,
            f"Envoy repeats paid calls on {', '.join(risky)}{timed}: {BAD}",
            "leave retries to the SDK, or retry on connect-failure and refused-stream only",
        )
    elif 0 < ms_or_zero(per_try) < LONG_MS:
        yield warning(
            "route-timeout",
            where,
            f"each try is cut after {per_try}; the provider goes on",
            "take per_try_timeout and per_try_idle_timeout away",
        )
    hedge = action.get("hedge_policy") or host.get("hedge_policy") or {}
    more = int(hedge.get("initial_requests", 1)) > 1 or hedge.get("additional_request_chance")
    if more or hedge.get("hedge_on_per_try_timeout"):
        yield warning(
            "hedging",
            where,
            f"Envoy asks the provider again while a call is open: {BAD}",
            "take hedge_policy away",
        )
    name = "request_mirror_policies"
    for mirror in action.get(name) or host.get(name) or config.get(name) or ():
        to = mirror.get("cluster") or mirror.get("cluster_header") or "?"
        yield warning(
            "mirror",
            where,
            f"each call is sent to {to} as well, and nobody sees that answer",
            "take request_mirror_policies away, or mirror to what costs nothing",
        )
    if (
        "internal_redirect_policy" in action
        or action.get("internal_redirect_action") == "HANDLE_INTERNAL_REDIRECT"
    ):
        yield warning(
            "internal-redirect",
            where,
            "Envoy follows a provider's redirect by itself: one call, two requests",
            "take internal_redirect_policy away; SDKs follow redirects",
        )
    for upgrade in action.get("upgrade_configs", []):
        if str(upgrade.get("upgrade_type", "")).upper() == "CONNECT" and "connect_config" in upgrade:
            yield error(
                "connect-tunnel",
                where,
                "CONNECT makes a tunnel to the provider: nothing in it is read",
                "take connect_config away",
            )


def check_rewrites(where: str, host: Json, route: Json, ours: Json, config: Json) -> Iterator[Finding]:
    """A path that is rewritten behind our filter onto one of an LLM API."""
    action = route.get("route", {})
    metered = not setting_of(ours, route, host, config).get("disabled")
    for before, after in _rewritten(route.get("match", {}), action):
        wanted, seen = _api(after), _api(before) if metered else ""
        if wanted and wanted != seen:
            taken = f"it is read as {seen}" if seen else "it is free"
            yield error(
                "rewrite",
                where,
                f"{before} becomes {after} behind spendgate's filter, which sees the first: {taken}",
                "rewrite before the filter (a listener in front), or let clients use the provider's own paths",
            )
            return


def _api(path: str) -> str:
    dialect = registry.find("POST", path, "application/json")
    return dialect.name if dialect is not None else ""


def _rewritten(match: Json, action: Json) -> Iterator[tuple[str, str]]:
    """Paths that the route takes, and what becomes of them. For a pattern: what can be told of it."""
    prefix = match.get("prefix") or match.get("path_separated_prefix") or ""
    exact = match.get("path", "")
    rests = ("", *LLM_PATHS, *(p.removeprefix("/v1") for p in LLM_PATHS), *(p.lstrip("/") for p in LLM_PATHS))
    samples = [exact] if exact else [prefix + rest for rest in rests] if prefix else []
    if "prefix_rewrite" in action:
        to = str(action["prefix_rewrite"])
        for path in samples:
            yield path, to + path[len(exact or prefix) :]
        if not samples:
            yield str(match.get("safe_regex", {}).get("regex", "")), to
    regex = action.get("regex_rewrite")
    if regex:
        pattern, to = str(regex.get("pattern", {}).get("regex", "")), str(regex.get("substitution", ""))
        for path in (*samples, _example(pattern)):
            try:
                after = re.sub(pattern, to, path)
            except (re.error, IndexError):
                after = re.sub(r"\\\d", "", to)
            yield path, after
    template = action.get("path_rewrite_policy", {}).get("typed_config", {}).get("path_template_rewrite")
    if template:
        yield (
            exact or prefix or str(match.get("path_match_policy", "")),
            re.sub(r"\{[^}]*\}", "x", str(template)),
        )


def _example(pattern: str) -> str:
    """A path that a simple pattern takes: anchors off, groups and wildcards filled."""
    text = pattern.removeprefix("^").removesuffix("$")
    text = re.sub(r"\((\?:|\?P<\w+>)?[^()]*\)|\[[^\]]*\][*+?]?|\.[*+]", "x", text)
    return text.replace("\\", "").replace("?", "")
