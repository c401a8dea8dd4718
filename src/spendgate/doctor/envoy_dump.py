"""Envoy's configuration as the doctor reads it: from its admin's /config_dump, or from a bootstrap file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from spendgate.values import dataclass

Json = dict[str, Any]
_MANAGER = "HttpConnectionManager"


def typed(value: Any, name: str) -> Iterator[Json]:
    """Every message of a type (the end of its name) inside a value."""
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith("." + name):
            yield value
        for part in value.values():
            yield from typed(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from typed(part, name)


@dataclass(frozen=True, slots=True)
class Dump:
    """Listeners, clusters by name, and route configurations by name."""

    listeners: tuple[Json, ...] = ()
    clusters: dict[str, Json] = field(default_factory=dict)
    routes: dict[str, Json] = field(default_factory=dict)

    def managers(self) -> Iterator[tuple[str, Json, Json]]:
        """Every HTTP listener: its name, the listener, its connection manager."""
        for listener in self.listeners:
            for manager in typed(listener, _MANAGER):
                yield str(listener.get("name", "listener")), listener, manager

    def route_config(self, manager: Json) -> Json:
        """The routes of a connection manager, inline or by name."""
        if "route_config" in manager:
            found: Json = manager["route_config"]
            return found
        return self.routes.get(str(manager.get("rds", {}).get("route_config_name", "")), {})


def of_bootstrap(config: Json) -> Dump:
    """From a bootstrap."""
    static = config.get("static_resources") or {}
    clusters = {str(c.get("name")): c for c in static.get("clusters", [])}
    return Dump(tuple(static.get("listeners", [])), clusters, {})


def of_config_dump(dump: Json) -> Dump:
    """From /config_dump."""
    listeners: list[Json] = []
    clusters: dict[str, Json] = {}
    routes: dict[str, Json] = {}
    for part in dump.get("configs", []):
        kind = str(part.get("@type", ""))
        if kind.endswith("ListenersConfigDump"):
            listeners += [x["listener"] for x in part.get("static_listeners", [])]
            active = (x.get("active_state") for x in part.get("dynamic_listeners", []))
            listeners += [x["listener"] for x in active if x]
        elif kind.endswith("ClustersConfigDump"):
            for key in ("static_clusters", "dynamic_active_clusters"):
                clusters |= {str(x["cluster"].get("name")): x["cluster"] for x in part.get(key, [])}
        elif kind.endswith("RoutesConfigDump"):
            for key in ("static_route_configs", "dynamic_route_configs"):
                for x in part.get(key, []):
                    routes[str(x["route_config"].get("name", ""))] = x["route_config"]
    return Dump(tuple(listeners), clusters, routes)


def routes_for(config: Json, path: str) -> Iterator[tuple[Json, Json]]:
    """The routes that a POST to this path may take in each virtual host: (virtual host, route). The last is the first
    that asks for nothing else (a header, a query parameter, a share of the calls)."""
    for host in config.get("virtual_hosts", []):
        for route in host.get("routes", []):
            match = route.get("match", {})
            if not _takes(match, path):
                continue
            yield host, route
            if not _asks_more(match):
                break


_MORE = (
    "query_parameters",
    "runtime_fraction",
    "grpc",
    "tls_context",
    "dynamic_metadata",
    "filter_state",
    "cookies",
)


def _asks_more(match: Json) -> bool:
    return any(k in match for k in _MORE) or any(h.get("name") != ":method" for h in match.get("headers", []))


def _takes(match: Json, path: str) -> bool:
    """By its path and the method POST."""
    for header in match.get("headers", []):
        if header.get("name") == ":method" and not _is_post(header):
            return False
    fold = re.IGNORECASE if match.get("case_sensitive") is False else re.RegexFlag(0)
    if "safe_regex" in match:
        try:
            return re.fullmatch(match["safe_regex"].get("regex", ""), path, fold) is not None
        except re.error:
            return False  # RE2 knows forms that Python does not
    if fold:
        path, match = path.lower(), {k: v.lower() if isinstance(v, str) else v for k, v in match.items()}
    if "path_separated_prefix" in match:
        prefix = match["path_separated_prefix"]
        return path == prefix or path.startswith(prefix + "/")
    if "connect_matcher" in match:
        return False
    return bool(path == match["path"]) if "path" in match else path.startswith(match.get("prefix", "/"))


def _is_post(header: Json) -> bool:
    text = header.get("string_match", {})
    exact = text.get("exact", header.get("exact_match"))
    regex = text.get("safe_regex", header.get("safe_regex_match", {})).get("regex")
    hit = exact == "POST" if exact is not None else regex is None or re.fullmatch(regex, "POST") is not None
    return hit != bool(header.get("invert_match"))
