"""An Envoy as Istio would configure it, and an EnvoyFilter's patches merged into it as Istio does.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.json_format import MessageToJson, ParseDict

from spendgate.envoy.parts import TYPE, address, plain
from support import envoy_messages  # noqa: F401  the messages of all Any values

Json = dict[str, Any]
MANAGER = "envoy.filters.network.http_connection_manager"


def proxy(
    listen: str, upstream: str, spendgate: str | Sequence[str], cluster: str, hosts: Sequence[str] = ()
) -> Json:
    """A gateway before any patch: one listener, a route for all, the clusters of provider and of spendgate (its
    endpoints). `hosts`: virtual hosts of their own, as Istio makes one of each host that it leads on."""
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": f"{host}:80" if host != "*" else "all",
                    "domains": [host],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}],
                }
                for host in (*hosts, "*")
            ],
            "ignore_port_in_host_matching": True,
        },
    }

    spendgate_at = [spendgate] if isinstance(spendgate, str) else spendgate

    def static(name: str, *addresses: str, **more: object) -> Json:
        endpoints = [{"endpoint": {"address": plain(address(a))}} for a in addresses]
        return {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
            **more,
        }

    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "outbound",
                    "address": plain(address(listen)),
                    "filter_chains": [{"filters": [{"name": MANAGER, "typed_config": manager}]}],
                }
            ],
            "clusters": [
                static("provider", upstream),
                static(cluster, *spendgate_at, typed_extension_protocol_options=http2),
            ],
        }
    }


def patched(config: Json, envoy_filter: Json) -> Json:
    """The configuration after the filter's patches; one that matches nothing is an error of the test."""
    out = ParseDict(config, bootstrap_pb2.Bootstrap())
    network = out.static_resources.listeners[0].filter_chains[0].filters[0]
    manager = http_connection_manager_pb2.HttpConnectionManager()
    network.typed_config.Unpack(manager)
    for entry in envoy_filter["spec"]["configPatches"]:
        match, value = entry["match"], entry["patch"]["value"]
        kind = (entry["applyTo"], entry["patch"]["operation"])
        if kind == ("CLUSTER", "MERGE"):
            name = f"outbound|{match['cluster']['portNumber']}||{match['cluster']['service']}"
            [found] = [c for c in out.static_resources.clusters if c.name == name]
            found.MergeFrom(ParseDict(value, cluster_pb2.Cluster()))
        elif kind == ("NETWORK_FILTER", "MERGE"):
            assert match["listener"]["filterChain"]["filter"]["name"] == value["name"] == network.name
            more = http_connection_manager_pb2.HttpConnectionManager()
            ParseDict(value, listener_components_pb2.Filter()).typed_config.Unpack(more)
            manager.MergeFrom(more)
        elif kind == ("HTTP_FILTER", "INSERT_BEFORE"):
            wanted = match["listener"]["filterChain"]["filter"]["subFilter"]["name"]
            at = [f.name for f in manager.http_filters].index(wanted)
            manager.http_filters.insert(at, ParseDict(value, http_connection_manager_pb2.HttpFilter()))
        elif kind == ("VIRTUAL_HOST", "MERGE"):
            domain = match.get("routeConfiguration", {}).get("vhost", {}).get("domainName", "")
            found_hosts = [h for h in manager.route_config.virtual_hosts if not domain or domain in h.domains]
            assert found_hosts, f"no virtual host of {domain}"
            for host in found_hosts:
                host.MergeFrom(ParseDict(value, route_components_pb2.VirtualHost()))
        else:
            raise AssertionError(f"an unknown patch: {kind}")
    network.typed_config.Pack(manager)
    document: Json = json.loads(MessageToJson(out, preserving_proto_field_name=True))
    return document


def authorization(policy: Json, ports: dict[str, int]) -> Json:
    """The filter that Istio makes of an AuthorizationPolicy that allows. `ports`: where a port of the policy is found
    here. What it does not know is an error of the test.

    https://istio.io/latest/docs/reference/config/security/authorization-policy/
    """
    assert policy["spec"]["action"] == "ALLOW"
    rules = [_rule(rule, ports) for rule in policy["spec"]["rules"]]
    policies = {f"rule[{i}]": rule for i, rule in enumerate(rules)}
    config = {"@type": TYPE + "extensions.filters.http.rbac.v3.RBAC", "rules": {"policies": policies}}
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


def _rule(rule: Json, ports: dict[str, int]) -> Json:
    assert set(rule) <= {"from", "to"}
    principals = [{"or_ids": {"ids": _sources(x["source"])}} for x in rule.get("from", ())]
    permissions = [{"and_rules": {"rules": _operations(x["operation"], ports)}} for x in rule.get("to", ())]
    return {"principals": principals or [{"any": True}], "permissions": permissions or [{"any": True}]}


def _sources(source: Json) -> list[Json]:
    assert len(source) == 1, "several sorts of sources are all to be met"
    [(sort, names)] = source.items()
    patterns: dict[str, Callable[[str], str]] = {
        "principals": lambda name: "spiffe://.+" if name == "*" else "spiffe://" + re.escape(name),
        "namespaces": lambda name: f"spiffe://.+/ns/{re.escape(name)}/.+",
    }
    return [
        {"authenticated": {"principal_name": {"safe_regex": {"regex": patterns[sort](name)}}}}
        for name in names
    ]


def _operations(operation: Json, ports: dict[str, int]) -> list[Json]:
    each: dict[str, Callable[[Any], Json]] = {
        "ports": lambda port: {"destination_port": ports[port]},
        "paths": lambda path: {"url_path": {"path": {"exact": path}}},
    }
    return [{"or_rules": {"rules": [each[sort](x) for x in values]}} for sort, values in operation.items()]
