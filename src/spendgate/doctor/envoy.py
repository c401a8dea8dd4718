"""What is wrong with an Envoy that is to enforce budgets. Pure: configuration in, findings out.

Each check stands for something measured on Envoy 1.40 or written down in its issues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spendgate.doctor.envoy_dump import Dump, Json, routes_for, typed
from spendgate.doctor.envoy_filters import AUTHZ, PROC, check_early, check_filters, cluster_of, kind, ours_of
from spendgate.doctor.envoy_lean import check_lean
from spendgate.doctor.envoy_routes import LLM_PATHS, LONG_MS, check_rewrites, check_route, ms_or_zero
from spendgate.doctor.envoy_ways import check_ways, costs_nothing
from spendgate.doctor.finding import Finding, error, info, warning
from spendgate.durations import parse_duration_ms
from spendgate.envoy.parts import duration, plain
from spendgate.envoy.processor import REQUEST_ATTRIBUTES, STRIPPED_EARLY, keepalive
from spendgate.identity import headers as h
from spendgate.settings.config import JwtIdentity, Settings, SpiffeIdentity

RENDER = "take it from `spendgate render bootstrap`, `envoyfilter` or `extension-policy`"
MANY = 10_000


def check_envoy(dump: Dump, settings: Settings) -> list[Finding]:
    """Every finding of a configuration."""
    out: list[Finding] = []
    guarded = 0
    for name, listener, manager in dump.managers():
        filters = [f for f in manager.get("http_filters", []) if f.get("typed_config")]
        ours = ours_of(filters)
        if ours is None:
            continue
        guarded += 1
        config = ours["typed_config"]
        check = _ext_proc if kind(ours) == PROC else _ext_authz
        out += check(name, config, settings)
        out += _order(name, filters, ours, settings)
        out += check_filters(name, manager, ours)
        out += check_early(f"listener {name}", manager, ours)
        out += _silence(name, manager)
        out += _listener(name, listener, manager, ours, dump, settings)
        out += _cluster(config, dump, settings)
        if kind(ours) == AUTHZ:
            out += _access_log(name, manager)
        else:
            out += check_lean(name, manager, ours, dump.route_config(manager))
    if not guarded:
        out.append(
            error(
                "filter-missing",
                "envoy",
                "no listener asks spendgate: no budget is enforced",
                f"add the ext_proc filter before the router; {RENDER}",
            )
        )
    out += _providers(dump)
    out += check_ways(dump)
    return out


def _ms(value: Any, default: int) -> int:
    return parse_duration_ms(value) if value else default


def _ext_proc(name: str, config: Json, settings: Settings) -> Iterator[Finding]:
    where = f"listener {name}, ext_proc"
    mode = config.get("processing_mode", {})
    body = mode.get("request_body_mode", "NONE")
    fix = f"set processing_mode.request_body_mode: BUFFERED; {RENDER}"
    if body == "NONE":
        yield error("request-body-mode", where, "the request's body is not shown: nothing is estimated", fix)
    elif body != "BUFFERED":
        yield error(
            "request-body-mode", where,
            f"request_body_mode is {body}: fail-open and timeouts do not work, bodies come in pieces", fix,
        )  # fmt: skip
    if mode.get("request_header_mode") == "SKIP":
        yield error("request-headers-skipped", where, "the request's headers are not shown: nobody is known",
                    "set processing_mode.request_header_mode: SEND")  # fmt: skip
    if mode.get("response_header_mode") == "SKIP":
        yield error("response-headers-skipped", where, "answers are not shown: all is charged at the estimate",
                    "set processing_mode.response_header_mode: SEND")  # fmt: skip
    if mode.get("response_body_mode") == "FULL_DUPLEX_STREAMED":
        yield error("response-body-mode", where, "a configured FULL_DUPLEX_STREAMED disables mode overrides",
                    "set processing_mode.response_body_mode: NONE")  # fmt: skip
    if not config.get("allow_mode_override"):
        yield error("mode-override", where, "mode overrides are off: no answer is metered",
                    "set allow_mode_override: true")  # fmt: skip
    if config.get("observability_mode"):
        yield error("observability-mode", where, "observability_mode ignores what we answer: nothing is enforced",
                    "take observability_mode away")  # fmt: skip
    if config.get("disable_immediate_response"):
        yield error(
            "immediate-response", where, "refusals become errors 500", "take disable_immediate_response away"
        )
    rules = config.get("mutation_rules", {})
    if rules.get("disallow_all"):
        yield error("mutation-rules", where, "no header may be changed: models cannot be routed, nothing is stripped",
                    "set mutation_rules: {allow_all_routing: true, allow_envoy: true}")  # fmt: skip
    longest = ms_or_zero(config.get("max_message_timeout"))
    if longest < settings.longest_message_timeout:
        make = warning if longest else info  # Envoy Gateway has no field for it
        yield make(
            "max-message-timeout", where,
            f"Envoy grants at most {longest} ms more: a large request that asks for time is cut, or passes undecided",
            f"set max_message_timeout: {duration(settings.longest_message_timeout)}",
        )  # fmt: skip
    yield from _attributes(where, config, settings)
    yield from _failing(where, config, _ms(config.get("message_timeout"), 200), settings)


def _attributes(where: str, config: Json, settings: Settings) -> Iterator[Finding]:
    asked = set(config.get("request_attributes", []))
    principal = "connection.uri_san_peer_certificate"
    if principal not in asked and any(isinstance(s, SpiffeIdentity) for s in settings.identity):
        yield error("principal-attribute", where, "identity is by mTLS principal, and Envoy does not send it",
                    f"add {principal} to request_attributes")  # fmt: skip
    missing = [a for a in REQUEST_ATTRIBUTES if a not in asked and a != principal]
    if missing:
        yield warning(
            "request-attributes", where,
            "an exchange that Envoy asks twice for (a retry on another worker) is reserved twice",
            f"add {', '.join(missing)} to request_attributes",
        )  # fmt: skip
    if "response.code_details" not in config.get("response_attributes", []):
        yield warning("response-attributes", where, "Envoy's own errors are taken for the provider's answers",
                      "add response.code_details to response_attributes")  # fmt: skip
    spaces = config.get("metadata_options", {}).get("forwarding_namespaces", {}).get("untyped", [])
    if "envoy.filters.http.jwt_authn" not in spaces and _by_token(settings):
        yield error("jwt-metadata", where, "identity is by JWT, and its claims are not forwarded",
                    "add envoy.filters.http.jwt_authn to metadata_options.forwarding_namespaces.untyped")  # fmt: skip


def _by_token(settings: Settings) -> bool:
    return any(isinstance(s, JwtIdentity) for s in settings.identity)


def _failing(where: str, config: Json, timeout_ms: int, settings: Settings) -> Iterator[Finding]:
    if timeout_ms != settings.message_timeout and timeout_ms > settings.ledger_timeout:
        yield warning(
            "timeouts-differ", where,
            f"Envoy waits {timeout_ms} ms for an answer, the gateway believes {settings.message_timeout} ms: "
            "what came too late is judged wrongly",
            f"set message_timeout: {duration(settings.message_timeout)} in the filter, or the setting message_timeout",
        )  # fmt: skip
    if timeout_ms <= settings.ledger_timeout:
        yield error(
            "message-timeout", where,
            f"Envoy waits {timeout_ms} ms, the ledger may take {settings.ledger_timeout} ms: Envoy gives up first",
            "raise message_timeout above ledger_timeout, for example 2s",
        )  # fmt: skip
    opens = bool(config.get("failure_mode_allow"))
    if opens != (settings.failure_mode == "open"):
        yield warning(
            "failure-mode", where,
            f"Envoy fails {'open' if opens else 'closed'}, the settings say {settings.failure_mode}",
            f"set failure_mode_allow: {str(not opens).lower()}, or failure_mode in the settings",
        )  # fmt: skip
    elif opens:
        yield info("fails-open", where, "while no worker answers, traffic passes unmetered",
                   "if it must not, set failure_mode: closed")  # fmt: skip


def _ext_authz(name: str, config: Json, settings: Settings) -> Iterator[Finding]:
    where = f"listener {name}, ext_authz"
    body = config.get("with_request_body")
    if not body:
        yield error("authz-body", where, "the request's body is not shown: nothing is estimated",
                    "set with_request_body: {max_request_bytes, pack_as_bytes: true}")  # fmt: skip
    else:
        if body.get("allow_partial_message"):
            yield error("authz-partial-body", where, "long bodies are cut: they are refused as too large",
                        "set with_request_body.allow_partial_message: false")  # fmt: skip
        if int(body.get("max_request_bytes", 0)) < settings.max_body_bytes:
            yield warning("body-limit", where, f"bodies above {body.get('max_request_bytes', 0)} bytes get 413",
                          f"set with_request_body.max_request_bytes: {settings.max_body_bytes}")  # fmt: skip
    if config.get("metadata_context_namespaces", []) == [] and _by_token(settings):
        yield error("jwt-metadata", where, "identity is by JWT, and its claims are not forwarded",
                    "set metadata_context_namespaces: [envoy.filters.http.jwt_authn]")  # fmt: skip
    service = config.get("grpc_service", {})
    yield from _failing(where, config, _ms(service.get("timeout"), 200), settings)
    try_ms = _longest_pause_ms(service)
    if try_ms is not None and try_ms < settings.message_timeout:
        yield error(
            "try-timeout", where,
            f"Envoy gives a try as long as its longest pause, {try_ms} ms: then it asks again, and at last gives up",
            f"set grpc_service.retry_policy.retry_back_off.max_interval: {duration(settings.message_timeout)}",
        )  # fmt: skip
    yield info("authz-limits", where, "ext_authz changes no request and sees no answer: no model is routed",
               "use ext_proc where the gateway has it")  # fmt: skip


def _longest_pause_ms(service: Json) -> int | None:
    """The longest pause before a retry, in ms, which Envoy takes for the timeout of each try, too; None: no retries."""
    policy = service.get("retry_policy")
    if not policy:
        return None
    back_off = policy.get("retry_back_off", {})
    return _ms(back_off.get("max_interval"), 10 * _ms(back_off.get("base_interval"), 1000))


def _access_log(name: str, manager: Json) -> Iterator[Finding]:
    if not list(typed(manager.get("access_log", []), "HttpGrpcAccessLogConfig")):
        yield error(
            "access-log", f"listener {name}", "no gRPC access log: what ext_authz holds is charged at the estimate",
            "add the access log that `spendgate render bootstrap --entry ext_authz` prints",
        )  # fmt: skip


def _order(name: str, filters: list[Json], ours: Json, settings: Settings) -> Iterator[Finding]:
    kinds = [kind(f) for f in filters]
    at = filters.index(ours)
    if "JwtAuthentication" in kinds and kinds.index("JwtAuthentication") > at:
        yield error("filter-order", f"listener {name}", "tokens are verified after spendgate is asked: no claims come",
                    "put jwt_authn before ext_proc")  # fmt: skip
    elif "JwtAuthentication" not in kinds and _by_token(settings):
        yield error("jwt-filter", f"listener {name}", "identity is by JWT, and no filter verifies tokens here",
                    "add jwt_authn, or give jwks_file or jwks_url of the source")  # fmt: skip


def _listener(
    name: str, listener: Json, manager: Json, ours: Json, dump: Dump, settings: Settings
) -> Iterator[Finding]:
    early = {
        m.get("remove")
        for part in typed(manager.get("early_header_mutation_extensions", []), "HeaderMutation")
        for m in part.get("mutations", [])
    }
    if h.CLUSTER not in early and len(settings.upstreams) > 1:
        yield error("internal-headers", f"listener {name}", "a client can choose the provider by a header of its own",
                    f"strip {', '.join(STRIPPED_EARLY)} by early_header_mutation; {RENDER}")  # fmt: skip
    if any(isinstance(s, SpiffeIdentity) for s in settings.identity):
        contexts = list(typed(listener, "DownstreamTlsContext"))
        if not any("validation_context" in str(c) or "combined" in str(c) for c in contexts):
            yield error("client-certificates", f"listener {name}", "mTLS names callers, and no certificate is asked",
                        "give the listener client_ca (setting tls)")  # fmt: skip
    config = dump.route_config(manager)
    for path in LLM_PATHS:
        for host, route in routes_for(config, path):
            if costs_nothing(dump, ours, config, host, route):
                continue
            where = f"listener {name}, route of {path}"
            yield from check_route(where, config, listener, host, route, ours, settings)
    for host in config.get("virtual_hosts", []):
        for route in host.get("routes", []):
            where = f"listener {name}, route {route.get('name') or host.get('name')}"
            yield from check_rewrites(where, host, route, ours, config)
    if not config:
        yield info("routes-unread", f"listener {name}", "its routes are not in what was given",
                   "give --envoy-admin of the running Envoy")  # fmt: skip


def _silence(name: str, manager: Json) -> Iterator[Finding]:
    where = f"listener {name}"
    idle = manager.get("stream_idle_timeout")
    if 0 < ms_or_zero(idle) < LONG_MS:
        yield warning("idle-timeout", where, f"what is silent for {idle} is cut: a model that thinks is silent",
                      "set stream_idle_timeout: 600s, as the setting of that name says")  # fmt: skip
    longest = manager.get("common_http_protocol_options", {}).get("max_stream_duration")
    if 0 < ms_or_zero(longest) < LONG_MS:
        yield warning("max-stream-duration", where, f"answers are cut after {longest}; the provider goes on",
                      "take common_http_protocol_options.max_stream_duration away")  # fmt: skip
    whole = manager.get("request_timeout")
    if 0 < ms_or_zero(whole) < 60_000:
        yield warning("request-timeout", where, f"a request that takes longer than {whole} to arrive is cut with 408",
                      "take request_timeout away, or set 300s")  # fmt: skip


def _cluster(config: Json, dump: Dump, settings: Settings) -> Iterator[Finding]:
    name = cluster_of(config)
    where = f"cluster {name}"
    cluster = dump.clusters.get(name)
    if cluster is None:
        yield error("cluster-missing", where, "the cluster of spendgate does not exist",
                    "name the cluster of the service `spendgate` in grpc_service.envoy_grpc.cluster_name")  # fmt: skip
        return
    thresholds = cluster.get("circuit_breakers", {}).get("thresholds", [{}])
    if int(thresholds[0].get("max_requests", 1024)) < MANY:
        bad = "passes unmetered" if settings.failure_mode == "open" else "fails"
        yield error(
            "circuit-breaker", where,
            f"at most {thresholds[0].get('max_requests', 1024)} open calls: what is above {bad}",
            "set circuit_breakers.thresholds: [{max_requests: 100000, max_pending_requests: 100000, "
            "max_connections: 100000, max_retries: 100000}]",
        )  # fmt: skip
    if not cluster.get("health_checks") and cluster.get("type") != "EDS" and "cluster_type" not in cluster:
        yield warning("health-checks", where, "a dead worker is found by calls that wait for it",
                      f"add grpc_health_check and healthy_panic_threshold 0; {RENDER}")  # fmt: skip
    elif cluster.get("common_lb_config", {}).get("healthy_panic_threshold", {"value": 50}).get("value", 0):
        yield warning("panic-threshold", where, "with half of the workers dead, calls go to dead ones too",
                      "set common_lb_config.healthy_panic_threshold: {value: 0}")  # fmt: skip
    yield from _keepalive(where, cluster, settings)
    longest = str(
        next((o["max_stream_duration"] for o in _common_options(cluster) if "max_stream_duration" in o), "")
    )
    if ms_or_zero(longest):
        yield error("max-stream-duration", where, f"each call to spendgate is cut after {longest}, with its answer",
                    "take common_http_protocol_options.max_stream_duration of this cluster away")  # fmt: skip
    options = str(cluster.get("typed_extension_protocol_options", "")) + str(
        cluster.get("http2_protocol_options", "")
    )
    if "http2" not in options and "http2_protocol_options" not in cluster:
        yield error("cluster-http2", where, "gRPC needs HTTP/2, and the cluster speaks HTTP/1.1",
                    "set explicit_http_config: {http2_protocol_options: {}}, in Istio name the port grpc")  # fmt: skip


def _common_options(cluster: Json) -> Iterator[Json]:
    yield cluster.get("common_http_protocol_options", {})
    for options in typed(cluster.get("typed_extension_protocol_options", {}), "HttpProtocolOptions"):
        yield options.get("common_http_protocol_options", {})


def _keepalive(where: str, cluster: Json, settings: Settings) -> Iterator[Finding]:
    pings: Json = cluster.get("http2_protocol_options", {}).get("connection_keepalive", {})
    for options in typed(cluster.get("typed_extension_protocol_options", {}), "HttpProtocolOptions"):
        http2 = options.get("explicit_http_config", {}).get("http2_protocol_options", {})
        pings = http2.get("connection_keepalive", pings)
    ours = plain(keepalive(settings.message_timeout))
    fix = f"set connection_keepalive: {{interval: {ours['interval']}, timeout: {ours['timeout']}}}"
    interval, timeout = ms_or_zero(pings.get("interval")), ms_or_zero(pings.get("timeout"))
    if not interval:
        yield info(
            "keepalive", where, "no pings: calls to a worker that stands still wait as long as it does", fix
        )
    elif interval + timeout >= settings.message_timeout:
        yield warning(
            "keepalive", where,
            f"pings each {interval} ms that wait {timeout} ms notice a dead connection after Envoy's message timeout "
            f"({settings.message_timeout} ms): calls to a worker that stands still wait for them",
            fix,
        )  # fmt: skip
    elif interval < 100 or timeout < 100:
        found = f"pings each {interval} ms that wait {timeout} ms end the calls of a busy worker"
        yield warning("keepalive", where, found, fix)


def _providers(dump: Dump) -> Iterator[Finding]:
    for name, cluster in dump.clusters.items():
        has_key = bool(list(typed(cluster, "CredentialInjector")))
        contexts = list(typed(cluster, "UpstreamTlsContext"))
        if contexts and not any(
            "trusted_ca" in str(c) or "validation_context_sds" in str(c) for c in contexts
        ):
            yield warning("provider-tls", f"cluster {name}", "the provider's certificate is not verified",
                          "set validation_context.trusted_ca and match_typed_subject_alt_names")  # fmt: skip
        if has_key and not contexts and not _is_local(cluster):
            yield error("key-in-clear", f"cluster {name}", "the provider's key goes over the wire in clear",
                        "use an https:// url for the upstream")  # fmt: skip


def _is_local(cluster: Json) -> bool:
    hosts = [
        str(e.get("endpoint", {}).get("address", {}).get("socket_address", {}).get("address", ""))
        for group in cluster.get("load_assignment", {}).get("endpoints", [])
        for e in group.get("lb_endpoints", [])
    ]
    return all(
        x.startswith("127.") or x in ("localhost", "::1") or x.endswith(".svc.cluster.local") for x in hosts
    )
