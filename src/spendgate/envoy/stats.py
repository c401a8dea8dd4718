"""Envoy's own counters for Prometheus: a listener that answers `/stats/prometheus` and nothing else of the admin."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)

from spendgate.envoy.parts import ROUTER, address, endpoints_of, header_match, packed

CLUSTER = "envoy_admin"
PATH = "/stats/prometheus"


def stats_listener(listen: str) -> Listener:
    """The listener: only this path leads to the admin, which can do more than show numbers."""
    read = RouteMatch(path=PATH, headers=[header_match(":method", exact="GET")])
    routes = [Route(match=read, route=RouteAction(cluster=CLUSTER))]
    manager = HttpConnectionManager(
        stat_prefix="stats",
        http_filters=[HttpFilter(name=ROUTER, typed_config=packed(Router()))],
        route_config=RouteConfiguration(
            virtual_hosts=[VirtualHost(name="stats", domains=["*"], routes=routes)]
        ),
    )
    chain = FilterChain(filters=[Filter(name="http", typed_config=packed(manager))])
    return Listener(name="stats", address=address(listen), filter_chains=[chain])


def admin_cluster(admin: str) -> Cluster:
    """Where the admin listens, as an upstream."""
    return Cluster(
        name=CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(milliseconds=250),
        load_assignment=endpoints_of(CLUSTER, [address(admin)]),
    )
