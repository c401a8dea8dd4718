"""Envoy's own counters for Prometheus: a listener that answers `/stats/prometheus` and nothing else of the admin."""

from __future__ import annotations

from spendgate.envoy.parts import Json, address, any_of, endpoints_of

CLUSTER = "envoy_admin"
PATH = "/stats/prometheus"


def stats_listener(listen: str) -> Json:
    """The listener: only this path leads to the admin, which can do more than show numbers."""
    manager = any_of(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="stats",
        http_filters=[
            {
                "name": "envoy.filters.http.router",
                "typed_config": any_of("extensions.filters.http.router.v3.Router"),
            }
        ],
        route_config={
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [{
                        "match": {
                            "path": PATH, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
                        },
                        "route": {"cluster": CLUSTER},
                    }],
                }
            ]
        },
    )  # fmt: skip
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": "stats", "address": address(listen), "filter_chains": [chain]}


def admin_cluster(admin: str) -> Json:
    """Where the admin listens, as an upstream."""
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": endpoints_of(CLUSTER, [address(admin)]),
    }
