"""The policies that attach spendgate to an Envoy Gateway.

https://gateway.envoyproxy.io/docs/api/extension_types/
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from spendgate.envoy.parts import Json, duration
from spendgate.envoy.processor import STRIPPED_EARLY, external_processor
from spendgate.settings.config import Settings

_API = "gateway.envoyproxy.io/v1alpha1"
_BREAKER = {
    "maxConnections": 100000,
    "maxPendingRequests": 100000,
    "maxParallelRequests": 100000,
    "maxParallelRetries": 100000,
}
"""The defaults of 1024 concurrent calls and 3 retries would be a budget bypass by load."""

_RETRY = {
    "numRetries": 3,
    "retryOn": {"triggers": ["connect-failure", "refused-stream", "unavailable", "reset"]},
    "perRetry": {"backOff": {"baseInterval": "5ms", "maxInterval": "20ms"}},
}
"""Of the processor, since Envoy Gateway 1.6. There is no field for another host: a dead one is left by its ejection."""
_PASSIVE = {
    "splitExternalLocalOriginErrors": True,
    "consecutiveLocalOriginFailures": 1,
    "consecutiveGatewayErrors": 1,
    "consecutive5XxErrors": 100,
    "interval": "1s",
    "baseEjectionTime": "1s",
    "maxEjectionPercent": 50,
}


_ROUTER = [
    "x-envoy-expected-rq-timeout-ms", "x-envoy-hedge-on-per-try-timeout", "x-envoy-max-retries",
    "x-envoy-retriable-header-names", "x-envoy-retriable-status-codes", "x-envoy-retry-grpc-on",
    "x-envoy-retry-on", "x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
]  # fmt: skip
"""What the router obeys, by name: this API takes no prefix in the oldest version that is supported, and has no
mutation rules that would let our replies take `x-envoy-…` off. Envoy itself takes them off what comes from outside."""


class Target(NamedTuple):
    """What the policies are attached to."""

    kind: Literal["Gateway", "HTTPRoute"]
    name: str


def _document(kind: str, namespace: str, target: Target, spec: Json) -> Json:
    reference = {"group": "gateway.networking.k8s.io", "kind": target.kind, "name": target.name}
    name = "spendgate" if target.kind == "Gateway" else f"spendgate-{target.name}"
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"targetRefs": [reference], **spec},
    }


def extension_policies(
    target: Target, namespace: str, service: str, service_namespace: str, port: int, settings: Settings
) -> list[Json]:
    """The documents: the EnvoyExtensionPolicy itself; a BackendTrafficPolicy, since answers may take minutes
    and Envoy Gateway's limits would cut or pass them; for a Gateway a ClientTrafficPolicy, for bodies over 1 MiB; and a
    ReferenceGrant where the service is in another namespace than the target.
    """
    ours = external_processor(settings)
    assert ours.metadata_options is not None and ours.metadata_options.forwarding_namespaces is not None
    ext_proc = {
        "backendRefs": [{"name": service, "namespace": service_namespace, "port": port}],
        "backendSettings": {
            "circuitBreaker": _BREAKER,
            "loadBalancer": {"type": "LeastRequest"},
            "retry": _RETRY,
            "healthCheck": {
                "active": {
                    "type": "GRPC",
                    "grpc": {},
                    "interval": "1s",
                    "timeout": "2s",
                    "unhealthyThreshold": 2,
                    "healthyThreshold": 1,
                },
                "passive": _PASSIVE,
                "panicThreshold": 0,
            },
        },
        "messageTimeout": duration(settings.message_timeout),
        "failOpen": ours.failure_mode_allow,
        "metadata": {"accessibleNamespaces": ours.metadata_options.forwarding_namespaces.untyped},
        "processingMode": {
            "allowModeOverride": True,
            "request": {"body": "Buffered", "attributes": _allowed(ours.request_attributes)},
            "response": {"attributes": ours.response_attributes},
        },
    }
    limit = str(settings.max_body_bytes)
    documents = [
        _document("EnvoyExtensionPolicy", namespace, target, {"extProc": [ext_proc]}),
        _document(
            "BackendTrafficPolicy",
            namespace,
            target,
            {
                "circuitBreaker": _BREAKER,
                "connection": {"bufferLimit": limit},
                "timeout": {"http": {"requestTimeout": "0s"}},
            },
        ),
    ]
    if target.kind == "Gateway":  # the only kind that it can be attached to
        early = {"earlyRequestHeaders": {"remove": [*STRIPPED_EARLY, *_ROUTER]}}
        client = {"connection": {"bufferLimit": limit}, "headers": early}
        documents.append(_document("ClientTrafficPolicy", namespace, target, client))
    if service_namespace != namespace:
        documents.append(
            {
                "apiVersion": "gateway.networking.k8s.io/v1beta1",
                "kind": "ReferenceGrant",
                "metadata": {"name": "spendgate", "namespace": service_namespace},
                "spec": {
                    "from": [
                        {
                            "group": "gateway.envoyproxy.io",
                            "kind": "EnvoyExtensionPolicy",
                            "namespace": namespace,
                        }
                    ],
                    "to": [{"group": "", "kind": "Service", "name": service}],
                },
            }
        )
    return documents


def _allowed(attributes: list[str]) -> list[str]:
    """Those that the policy's schema takes: it knows no filter state. There is no policy for internal redirects either,
    for which it is asked."""
    return [name for name in attributes if not name.startswith("filter_state")]
