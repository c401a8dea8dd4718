"""Routes whose answers pass unseen (lean): does the log tell what they cost? Pure."""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.doctor.envoy_dump import Json, typed
from spendgate.doctor.envoy_filters import cluster_of, kind, setting_of
from spendgate.doctor.finding import Finding, error
from spendgate.gateway.adapters.codec import LEAN, NAMESPACE

READERS = {"json": "JsonToMetadata", "sse": "SseToMetadata"}
RENDER = "take it from `spendgate render bootstrap --lean`"


def check_lean(name: str, manager: Json, ours: Json, config: Json) -> Iterator[Finding]:
    """What is missing for answers that pass unseen. `config`: the listener's routes."""
    lean = list(_routes(ours, config))
    if not lean:
        return
    where = f"listener {name}"
    logs = typed(manager.get("access_log", []), "HttpGrpcAccessLogConfig")
    asked = cluster_of(ours["typed_config"])
    if not any(cluster_of(log.get("common_config", {})) == asked for log in logs):
        yield error("lean-log", where, "answers pass unseen, and no access log tells spendgate what they cost: all is "
                    "charged at the estimate, after unseen_ttl", f"log to cluster {asked}; {RENDER}")  # fmt: skip
    options = ours["typed_config"].get("metadata_options", {})
    if NAMESPACE not in options.get("receiving_namespaces", {}).get("untyped", []):
        yield error("lean-ticket", where, "Envoy does not take what its log needs to end an exchange: all that passes "
                    "unseen is charged at the estimate, after unseen_ttl",
                    f"add {NAMESPACE} to metadata_options.receiving_namespaces.untyped; {RENDER}")  # fmt: skip
    for told, reader in READERS.items():
        unread = [
            levels[0] for word, levels in lean if told in word and not _is_read(manager, reader, levels)
        ]
        if unread:
            yield error(
                "lean-usage", f"{where}, route {unread[0].get('name') or 'without a name'}",
                f"no {reader} reads the usage of answers that pass unseen: they are charged at the estimate",
                f"add the filter, on for this route, or take {told} out of {LEAN}; {RENDER}",
            )  # fmt: skip


def _routes(ours: Json, config: Json) -> Iterator[tuple[list[str], tuple[Json, Json, Json]]]:
    """The routes of which our filter says so, and for which answers; with the levels that set filters for them."""
    service = ours["typed_config"].get("grpc_service", {})
    for host in config.get("virtual_hosts", []):
        for route in host.get("routes", []):
            setting = setting_of(ours, route, host, config)
            own = setting.get("overrides", {}).get("grpc_initial_metadata", [])
            word = [
                str(x.get("value", ""))
                for x in (*service.get("initial_metadata", []), *own)
                if x.get("key") == LEAN
            ]
            if word and not setting.get("disabled"):
                yield word[-1].split(","), (route, host, config)


def _is_read(manager: Json, reader: str, levels: tuple[Json, Json, Json]) -> bool:
    """Is there a filter of this type, and on?"""
    filters = [f for f in manager.get("http_filters", []) if kind(f) == reader]
    return any(not setting_of(f, *levels).get("disabled") for f in filters)
