"""The edits for what callers come by and what providers are asked with: a front door in Istio, providers' keys in Envoy
Gateway."""

from __future__ import annotations

import re
from typing import Any

import yaml

from helm_chart.text import After, Edit, Replace, when
from helm_chart.workloads import lines, read

KEYS = ".Values.envoyGateway.keys"
FRONT_DOOR = 'and (eq .Values.proxy "istio") .Values.istio.frontDoor.enabled'
HOST = "{{ .Values.istio.frontDoor.host }}"


def _of_route(name: str) -> tuple[list[str], Any]:
    """What components/envoy-gateway-keys does to a route: headers that it removes, too, and the filter that it adds."""
    document = yaml.safe_load(read("components/envoy-gateway-keys/kustomization.yaml"))
    [patch] = [p["patch"] for p in document["patches"] if p["target"]["name"] == name]
    added = [step["value"] for step in yaml.safe_load(patch) if step["op"] == "add"]
    [reference] = [value for value in added if isinstance(value, dict)]
    return [value for value in added if isinstance(value, str)], reference


class WithKeys:
    """The providers' keys at the routes of overlays/envoy-gateway."""

    def __call__(self, text: str) -> str:
        for name in ("openai", "anthropic"):
            removed, reference = _of_route(name)
            shown = yaml.safe_dump(reference, default_flow_style=True, width=1000).strip()
            text, found = re.subn(
                rf"(kind: HTTPRoute\nmetadata:\n  name: {name}\n(?:.*\n)*?            remove: \[.*)\](\n)",
                lambda m, removed=removed, shown=shown: (
                    f"{m[1]}{{{{ if {KEYS} }}}}, {', '.join(removed)}{{{{ end }}}}]{m[2]}"
                    f"{when(KEYS, f'        - {shown}')}\n"
                ),
                text,
            )
            if found != 1:
                raise ValueError(f"the route {name} removes no headers")
        return text


GATEWAY: tuple[Edit, ...] = (
    Replace(r"^  gatewayClassName: eg$", "  gatewayClassName: {{ .Values.envoyGateway.gatewayClassName }}"),
    WithKeys(),
)
DOOR: tuple[Edit, ...] = (
    Replace(r"(?<=^      hostname: )llm\.example\.com$", HOST),
    Replace(r"^  hostnames: \[llm\.example\.com\]$", f"  hostnames: [{HOST}]", times=2),
)
TO_THE_DOOR = Replace(
    r"^      ports:\n        - \{protocol: TCP, port: grpc\}$",
    lines(
        when(
            FRONT_DOOR,
            lines(
                "        - podSelector:",
                "            matchLabels:",
                "              gateway.networking.k8s.io/gateway-name: llm",
            ),
        ),
        "      ports:",
        "        - {protocol: TCP, port: grpc}",
    ),
)
"""The network policy of the gateways."""
OF_CALLERS: tuple[Edit, ...] = (
    After(
        r"^          volumeMounts:$",
        when(FRONT_DOOR, "            - {name: keys, mountPath: /etc/spendgate/keys, readOnly: true}"),
    ),
    After(
        r"^      volumes:$",
        when(
            FRONT_DOOR,
            "        - {name: keys, secret: {secretName: {{ .Values.istio.frontDoor.keysSecret }}, defaultMode: 0440}}",
        ),
    ),
)
"""The keys that callers have, at the gateways."""
