"""Ways to known providers that do not meet our filter. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.doctor.envoy_dump import Dump, Json, typed
from spendgate.doctor.envoy_filters import ours_of, setting_of
from spendgate.doctor.finding import Finding, error, warning
from spendgate.pricing.terms import provider_of_host, provider_under

ANY = ("PassthroughCluster", "original_dst")
EGRESS = "docs/explanation/egress.md"
FIX = f"let this host leave through a listener with spendgate's filter, or take the way away ({EGRESS})"


def hosts_of(cluster: Json) -> set[str]:
    """Every host name that a cluster stands for: of its endpoints, of its certificate, of its own name in Istio."""
    out = set()
    for group in cluster.get("load_assignment", {}).get("endpoints", []):
        for entry in group.get("lb_endpoints", []):
            endpoint = entry.get("endpoint", {})
            out.add(str(endpoint.get("hostname", "")))
            out.add(str(endpoint.get("address", {}).get("socket_address", {}).get("address", "")))
    out |= {str(context.get("sni", "")) for context in typed(cluster, "UpstreamTlsContext")}
    parts = str(cluster.get("name", "")).split("|")
    if len(parts) == 4:  # outbound|443|SUBSET|HOST
        out.add(parts[3])
    return out - {""}


def provider_of(cluster: Json) -> str:
    """The known provider that a cluster leads to, "" for none."""
    return next((host for host in sorted(hosts_of(cluster)) if provider_of_host(host)), "")


def goes_anywhere(cluster: Json) -> bool:
    """Does it lead wherever the client likes?"""
    kinds = (str(cluster.get("type", "")), str(cluster.get("cluster_type", {}).get("name", "")))
    return kinds[0] == "ORIGINAL_DST" or "dynamic_forward_proxy" in kinds[1] or cluster.get("name") in ANY


def costs_nothing(dump: Dump, ours: Json, config: Json, host: Json, route: Json) -> bool:
    """Is the filter off by default and on at other hosts in `config`, and does this route, on which it is not, lead to
    no provider that is known, nor wherever the client likes?"""
    hosts = config.get("virtual_hosts", [])
    on = {
        str(h.get("name", ""))
        for h in hosts
        for r in h.get("routes", [])
        if not setting_of(ours, r, h, config).get("disabled")
    }
    levels = (route, host, config)
    named = any(ours.get("name") in level.get("typed_per_filter_config", {}) for level in levels)
    if not ours.get("disabled") or not on or named or str(host.get("name", "")) in on:
        return False  # where a host's other calls are metered, this one may be a mistake
    if any(provider_under(str(domain)) for domain in host.get("domains", [])):
        return False
    clusters = [dump.clusters.get(t, {"name": t}) for t in targets(route.get("route", {}))]
    return not any(provider_of(c) or goes_anywhere(c) for c in clusters)


def check_ways(dump: Dump) -> Iterator[Finding]:
    """Listeners, routes and tunnels that lead to a provider unmetered."""
    for name, _, manager in dump.managers():
        if ours_of(list(manager.get("http_filters", []))) is None:
            yield from _unguarded(name, dump, manager)
    for listener in dump.listeners:
        name = str(listener.get("name", "listener"))
        chains = [*listener.get("filter_chains", []), *filter(None, [listener.get("default_filter_chain")])]
        for chain in chains:
            yield from _tunnels(name, dump, chain)


def _unguarded(name: str, dump: Dump, manager: Json) -> Iterator[Finding]:
    where = f"listener {name}"
    for host in dump.route_config(manager).get("virtual_hosts", []):
        domains = [d for d in map(str, host.get("domains", [])) if provider_under(d)]
        for route in host.get("routes", []):
            for target in targets(route.get("route", {})):
                cluster = dump.clusters.get(target, {"name": target})
                to = provider_of(cluster) or (domains[0] if domains and goes_anywhere(cluster) else "")
                if to:
                    yield error(
                        "unmetered-way",
                        f"{where}, cluster {target}",
                        f"{to} is reached here without spendgate's filter: it is free",
                        FIX,
                    )
                elif goes_anywhere(cluster):
                    yield _unlisted(where, target)


def _tunnels(name: str, dump: Dump, chain: Json) -> Iterator[Finding]:
    names = [str(n) for n in chain.get("filter_chain_match", {}).get("server_names", [])]
    known = [n for n in names if provider_under(n)]
    for proxy in typed(chain.get("filters", []), "TcpProxy"):
        for target in targets(proxy):
            cluster = dump.clusters.get(target, {"name": target})
            to = provider_of(cluster) or (known[0] if known else "")
            if to:
                yield error(
                    "tls-passthrough",
                    f"listener {name}, cluster {target}",
                    f"{to} is passed through unread (TLS): it is free",
                    FIX,
                )
            elif goes_anywhere(cluster):
                yield _unlisted(f"listener {name}", target)
    if list(typed(chain.get("filters", []), "FilterConfig")) and "sni_dynamic_forward_proxy" in str(chain):
        yield _unlisted(f"listener {name}", "sni_dynamic_forward_proxy")


def _unlisted(where: str, target: str) -> Finding:
    return warning(
        "unlisted-hosts",
        f"{where}, cluster {target}",
        "hosts that nobody listed are reached here, providers too: unread and free",
        f"in Istio outboundTrafficPolicy REGISTRY_ONLY; a network policy besides ({EGRESS})",
    )


def targets(action: Json) -> Iterator[str]:
    """The clusters that a route or a TCP proxy names."""
    if action.get("cluster"):
        yield str(action["cluster"])
    for weighted in action.get("weighted_clusters", {}).get("clusters", []):
        if weighted.get("name"):
            yield str(weighted["name"])
