"""Which filters a request meets, and in which order: ours, another processor beside it, what changes bodies. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spendgate.doctor.envoy_dump import Json, typed
from spendgate.doctor.finding import Finding, error, info, warning
from spendgate.envoy.parts import EXT_AUTHZ, EXT_PROC

PROC, AUTHZ = "ExternalProcessor", "ExtAuthz"
GENERIC = ("envoy.filters.http.ext_proc", "envoy.filters.http.ext_authz")
MARK = "spendgate"
REWRITERS = ("Lua", "Wasm", "Config", "DynamicModuleFilter", "GrpcJsonTranscoder", "AiProtocolManager")
"""Types of filters whose programs may change a body; `Config` is golang's."""


def kind(http_filter: Json) -> str:
    """The last word of a filter's type, "" where it comes by discovery."""
    return str(http_filter.get("typed_config", {}).get("@type", "")).rpartition(".")[2]


def cluster_of(config: Json) -> str:
    """The cluster that an ext_proc or ext_authz filter asks."""
    return str(config.get("grpc_service", {}).get("envoy_grpc", {}).get("cluster_name", ""))


def ours_of(filters: list[Json]) -> Json | None:
    """Our filter: by its name, else by the cluster that it asks, else the first that asks anybody."""
    asking = [f for f in filters if kind(f) in (PROC, AUTHZ)]
    named = [f for f in asking if f.get("name") in (EXT_PROC, EXT_AUTHZ)]
    marked = [f for f in asking if MARK in cluster_of(f["typed_config"]) or MARK in str(f.get("name"))]
    found = named or marked or asking
    return found[0] if found else None


def setting_of(ours: Json, *levels: Json) -> Mapping[str, Any]:
    """What a route (virtual host, route configuration) sets for our filter: the nearest level that sets anything.
    `levels`: the nearest first. A filter that is off by default is off until a level names it."""
    for level in levels:
        own: Json | None = level.get("typed_per_filter_config", {}).get(ours.get("name"))
        if own is None:
            continue
        if str(own.get("@type", "")).endswith(".FilterConfig"):
            inner: Json = own.get("config") or {}
            return {**inner, "disabled": bool(own.get("disabled")) or bool(inner.get("disabled"))}
        return own
    return {"disabled": True} if ours.get("disabled") else {}


def check_filters(name: str, manager: Json, ours: Json) -> Iterator[Finding]:
    """What stands beside our filter."""
    where = f"listener {name}"
    filters = list(manager.get("http_filters", []))
    yield from _processors(where, filters, ours)
    yield from _bodies(where, filters, ours)
    for found in filters:
        if "config_discovery" in found:
            yield info(
                "filter-unread",
                f"{where}, {found.get('name')}",
                "its configuration comes by discovery: not looked at",
                "see that it changes no body, and stands before spendgate's filter",
            )
    for upgrade in manager.get("upgrade_configs", []):
        own = upgrade.get("filters", [])
        if own and upgrade.get("enabled", True) and ours_of(own) is None:
            yield error(
                "upgrade-filters",
                f"{where}, upgrade {upgrade.get('upgrade_type')}",
                "upgraded connections have filters of their own, without spendgate's: they are free",
                f"put {EXT_PROC} into upgrade_configs.filters, or take these filters away",
            )


def _processors(where: str, filters: list[Json], ours: Json) -> Iterator[Finding]:
    own = str(ours.get("name"))
    if own in GENERIC:
        yield warning(
            "filter-name",
            where,
            f"spendgate's filter has the generic name {own}: what a route sets for another processor hits it too",
            f"name it {EXT_PROC if own == GENERIC[0] else EXT_AUTHZ}; render the configuration anew",
        )
    for other in filters:
        if other is ours or kind(other) not in (PROC, AUTHZ):
            continue
        theirs = str(other.get("name"))
        same = theirs == own
        if MARK in cluster_of(other["typed_config"]):
            yield error(
                "second-ext-proc",
                where,
                f"{theirs} asks spendgate as {own} does: each call is decided twice",
                "keep one of the two filters on this listener",
            )
        elif same:
            yield error(
                "second-ext-proc",
                where,
                f"another processor's filter is named {theirs} too: a route that configures it switches spendgate off",
                f"name spendgate's filter {EXT_PROC}; render the configuration anew",
            )
        elif kind(other) == PROC:
            after = filters.index(other) > filters.index(ours)
            yield warning(
                "second-ext-proc",
                where,
                f"{theirs} is a second ext_proc filter{', after ours' if after else ''}: it may change model and body "
                + ("of what was decided" if after else "and its failures are not ours"),
                "put it before spendgate's filter"
                if after
                else "see that no route configures spendgate's filter by its "
                "name, and that it changes no answer",
            )


def _bodies(where: str, filters: list[Json], ours: Json) -> Iterator[Finding]:
    at = filters.index(ours)
    for i, other in enumerate(filters):
        name = f"{where}, {other.get('name')}"
        if kind(other) == "Decompressor" and i < at:
            yield warning(
                "decompressor",
                name,
                "it inflates requests before spendgate reads them and ends them with trailers; one that it does not "
                "know stays as it is",
                "take it away: the gateway decodes by itself",
            )
        elif kind(other) == "Decompressor":
            yield error(
                "decompressor",
                name,
                "behind spendgate's filter it lets answers hang (envoyproxy/envoy#21205)",
                "take it away: the gateway asks for plain answers and decodes by itself",
            )
        elif kind(other) == "Compressor" and i > at:
            yield warning(
                "compressor",
                name,
                "it compresses answers before spendgate's filter reads them",
                "put it before spendgate's filter in the list",
            )
        elif kind(other) in REWRITERS and i > at:
            yield info(
                "rewriter",
                name,
                "a program behind spendgate's filter can change the model of what was decided",
                "put it before spendgate's filter, unless it changes no body and no path",
            )


def check_early(where: str, manager: Json, ours: Json) -> Iterator[Finding]:
    """Who takes off a client's `x-envoy-…`, by which the router repeats paid calls?"""
    rules = ours["typed_config"].get("mutation_rules", {})
    if kind(ours) == AUTHZ or rules.get("allow_envoy"):
        return
    for part in typed(manager.get("early_header_mutation_extensions", []), "HeaderMutation"):
        for mutation in part.get("mutations", []):
            prefix = mutation.get("remove_on_match", {}).get("key_matcher", {}).get("prefix", "")
            if mutation.get("remove") == "x-envoy-retry-on" or (prefix and "x-envoy-".startswith(prefix)):
                return
    yield warning(
        "router-headers",
        where,
        "a client's x-envoy-retry-on and its like reach the router: several bills for one hold",
        "set mutation_rules: {allow_all_routing: true, allow_envoy: true}; spendgate then takes them off",
    )
