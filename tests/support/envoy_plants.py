"""Faults for an Envoy's configuration: functions that plant them into a bootstrap that we rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.envoy.parts import TYPE, address, plain

Json = dict[str, Any]
Plant = Callable[[Json], object]
HTTP = TYPE + "extensions.filters.http."
NETWORK = TYPE + "extensions.filters.network."


def manager(config: Json) -> Json:
    out: Json = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return out


def hosts(config: Json) -> list[Json]:
    out: list[Json] = manager(config)["route_config"]["virtual_hosts"]
    return out


def route(**fields: Any) -> Plant:
    """Set these for the action of every route that leads on."""
    return lambda c: [r["route"].update(fields) for h in hosts(c) for r in h["routes"] if "route" in r]


def every(**fields: Any) -> Plant:
    """Set these for every route."""
    return lambda c: [r.update(fields) for h in hosts(c) for r in h["routes"]]


def host(**fields: Any) -> Plant:
    return lambda c: [h.update(fields) for h in hosts(c)]


def http(**fields: Any) -> Plant:
    return lambda c: manager(c).update(fields)


def ours(config: Json) -> Json:
    [out] = [f for f in manager(config)["http_filters"] if f["name"] == "spendgate.ext_proc"]
    return out


def inserted(at: int, name: str, kind: str, **fields: Any) -> Plant:
    config = {"@type": HTTP + kind, **fields}
    return lambda c: manager(c)["http_filters"].insert(at, {"name": name, "typed_config": config})


def first(match: Json, action: Json, **fields: Any) -> Plant:
    """A route before all others."""
    new = {
        "name": "planted",
        "match": match,
        "route": {"cluster": "openai", "timeout": "0s", **action},
        **fields,
    }
    return lambda c: hosts(c)[0]["routes"].insert(0, new)


def per_route(name: str = "spendgate.ext_proc", **fields: Any) -> Json:
    return {"typed_per_filter_config": {name: {"@type": HTTP + "ext_proc.v3.ExtProcPerRoute", **fields}}}


def http2(config: Json) -> Json:
    [cluster] = [c for c in config["static_resources"]["clusters"] if c["name"] == "spendgate"]
    [options] = cluster["typed_extension_protocol_options"].values()
    out: Json = options["explicit_http_config"]["http2_protocol_options"]
    return out


def pings(interval: str, timeout: str) -> Plant:
    return lambda c: http2(c).update(connection_keepalive={"interval": interval, "timeout": timeout})


def provider(name: str, address: str = "api.openai.com", **fields: Any) -> Json:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": 443}}}}
    kind = "STRICT_DNS" if address.endswith("com") else "STATIC"
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": kind, "load_assignment": load, **fields}


def tls(sni: str) -> Json:
    context = {"@type": TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": sni}
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def listener(filters: list[Json], **chain: Any) -> Json:
    return {
        "name": "other",
        "address": plain(address("127.0.0.1:0")),
        "filter_chains": [{"filters": filters, **chain}],
    }


def beside(cluster: Json, filters: list[Json], **chain: Any) -> Plant:
    """Another listener, and where it leads."""

    def act(config: Json) -> None:
        config["static_resources"]["clusters"].append(cluster)
        made = listener(filters, **chain)
        if chain:
            inspector = {"@type": TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"}
            made["listener_filters"] = [{"name": "tls", "typed_config": inspector}]
        config["static_resources"]["listeners"].append(made)

    return act


def tunnel(cluster: str) -> list[Json]:
    config = {"@type": NETWORK + "tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": cluster}
    return [{"name": "tcp", "typed_config": config}]


def web(cluster: str, domain: str = "*") -> list[Json]:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]
    config = {
        "@type": NETWORK + "http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "w",
        "route_config": {"virtual_hosts": [{"name": "w", "domains": [domain], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": HTTP + "router.v3.Router"}}],
    }  # fmt: skip
    return [{"name": "http", "typed_config": config}]


ANYWHERE = {"name": "PassthroughCluster", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
GZIP = {
    "name": "gzip",
    "typed_config": {"@type": TYPE + "extensions.compression.gzip.decompressor.v3.Gzip"},
}
PICKER = {"grpc_service": {"envoy_grpc": {"cluster_name": "openai"}}}
