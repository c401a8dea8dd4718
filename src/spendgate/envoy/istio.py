"""The EnvoyFilter that attaches spendgate to Istio's gateways or sidecars.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Literal

from envoy_data_plane.envoy.config.route.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from spendgate.envoy.parts import EXT_PROC, Json, packed, plain
from spendgate.envoy.processor import early_strip, ext_proc_filter, spendgate_cluster
from spendgate.envoy.routes import removed_headers
from spendgate.errors import ConfigurationError
from spendgate.gateway.adapters.codec import ATTACHED, NOT_LAST, PLACE
from spendgate.identity import headers as h
from spendgate.settings.config import Settings

Attach = Literal["gateway", "sidecar"]
_CONTEXT: dict[Attach, str] = {"gateway": "GATEWAY", "sidecar": "SIDECAR_OUTBOUND"}
_NAME: dict[Attach, str] = {"gateway": "spendgate", "sidecar": "spendgate-sidecars"}
_MANAGER = "envoy.filters.network.http_connection_manager"
_BETWEEN: dict[Attach, tuple[str, ...]] = {
    "gateway": (h.CLIENT_CERTIFICATE, h.HANDOVER, *h.BETWEEN_PROXIES),
    "sidecar": (),  # the same routes lead to services of the mesh, which may be told
}
"""What proxies of the mesh tell each other of a workload: no provider gets it."""
API_VERSION = "networking.istio.io/v1alpha3"
REFERENCED = "envoyfilter.istio.io/referenced-services"
"""The annotation by which an EnvoyFilter names services whose clusters it needs (Istio 1.26)."""
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def cluster_name(service: str, port: int) -> str:
    """Istio's own name for a service's cluster; its mTLS and endpoints come with it."""
    return f"outbound|{port}||{service}"


def service_host(service: str) -> str:
    """A service's full host name. Raises ConfigurationError for a short one, whose cluster Istio never has."""
    if not _HOST.fullmatch(service) or service.count(".") < 2:
        raise ConfigurationError(
            f"not a service's full name: {service!r}; write NAME.NAMESPACE.svc.cluster.local"
        )
    return service


def _cluster(host: str, settings: Settings) -> Json:
    """What makes Istio's cluster of the service leave a dead or hung gateway as soon as ours does. Istio's HTTP/2
    options of the cluster are replaced as a whole (a map's entry), so all of them are here."""
    ours = plain(spendgate_cluster(["unix:/none"], settings.message_timeout))
    keys = ("connect_timeout", "common_lb_config", "outlier_detection", "typed_extension_protocol_options")
    # by default the authority is the cluster's name, whose `|` the gateway's sidecar refuses
    checks = [{**check, "grpc_health_check": {"authority": host}} for check in ours["health_checks"]]
    # a pod that Kubernetes took off the list is left at once, whatever it still answers
    return {**{k: ours[k] for k in keys}, "health_checks": checks, "ignore_health_on_host_removal": True}


def patch_of(kind: str, match: Json, operation: str, value: Json) -> Json:
    """One patch of an EnvoyFilter."""
    return {"applyTo": kind, "match": match, "patch": {"operation": operation, "value": value}}


def envoy_filter(
    service: str,
    port: int,
    namespace: str,
    attach: Attach,
    selector: Mapping[str, str],
    settings: Settings,
    *,
    last: bool = True,
    llm_hosts: Sequence[str] = (),
) -> Json:
    """The EnvoyFilter. `selector`: labels of the workloads; empty: all of `namespace` (of the mesh, in Istio's
    root namespace). `last`: False where another Envoy with our filter follows, which counts. `llm_hosts`: only calls
    to these meet the filter, all others pay nothing; empty: every call. Raises ConfigurationError.

    Istio speaks HTTP/2 to the service where its port is named `grpc`; its clusters have no circuit breaker of
    their own.
    """
    host = service_host(service)
    if attach == "sidecar" and not selector and namespace == "istio-system":
        raise ConfigurationError(
            "this would attach spendgate to every sidecar of the mesh, its own too; give --selector or the "
            "--namespace of the applications"
        )
    context = _CONTEXT[attach]
    manager: Json = {"filterChain": {"filter": {"name": _MANAGER}}}
    router: Json = {
        "filterChain": {"filter": {"name": _MANAGER, "subFilter": {"name": "envoy.filters.http.router"}}}
    }
    metadata = []
    if attach == "sidecar":  # its certificate is its workload's; a gateway's is not its callers'
        metadata.append((ATTACHED, "sidecar"))
    if not last:
        metadata.append((PLACE, NOT_LAST))
    # by default the authority is the cluster's name, whose `|` a sidecar before the gateway refuses
    asking = ext_proc_filter(settings, cluster_name(host, port), host, metadata=metadata)
    asking.disabled = bool(llm_hosts)
    patches = [
        patch_of(
            "CLUSTER",
            {"context": context, "cluster": {"service": host, "portNumber": port}},
            "MERGE",
            _cluster(host, settings),
        ),
        patch_of(
            "NETWORK_FILTER",
            {"context": context, "listener": manager},
            "MERGE",
            {
                "name": _MANAGER,
                "typed_config": plain(
                    packed(HttpConnectionManager(early_header_mutation_extensions=[early_strip()]))
                ),
            },
        ),
        patch_of(
            "HTTP_FILTER",
            {"context": context, "listener": router},
            "INSERT_BEFORE",
            plain(asking),
        ),
    ]
    through: Json = {
        "request_body_buffer_limit": settings.max_body_bytes,
        "request_headers_to_remove": sorted({*removed_headers(settings), *_BETWEEN[attach]}),
    }
    if llm_hosts:
        on = {**plain(packed(FilterConfig())), "config": {}}  # empty: on, as it is configured in the listener
        through["typed_per_filter_config"] = {EXT_PROC: on}
    for name in llm_hosts or ("",):
        match: Json = {"context": context}
        if name:
            match["routeConfiguration"] = {"vhost": {"domainName": name}}
        patches.append(patch_of("VIRTUAL_HOST", match, "MERGE", deepcopy(through)))
    spec: Json = {"configPatches": patches}
    if selector:
        spec = {"workloadSelector": {"labels": dict(selector)}, **spec}
    return {
        "apiVersion": API_VERSION,
        "kind": "EnvoyFilter",
        "metadata": {
            "name": _NAME[attach],
            "namespace": namespace,
            # else a gateway with PILOT_FILTER_GATEWAY_CLUSTER_CONFIG has no cluster that only this filter names
            "annotations": {REFERENCED: host},
        },
        "spec": spec,
    }
