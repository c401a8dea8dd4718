"""Which manifest of k8s/ becomes which template, and when it is rendered."""

from __future__ import annotations

from dataclasses import dataclass

from helm_chart import doors
from helm_chart.general import conditional, general
from helm_chart.redis import REDIS
from helm_chart.text import After, Block, Edit, Replace, when
from helm_chart.workloads import (
    CONTROLLER,
    DOCTOR,
    ENVOY,
    EXPORT,
    GATEWAY,
    SCALED,
    WEBHOOK,
    account,
    read,
)

NOTE = "{{- /* Written by scripts/build_chart.py from k8s/SOURCE; do not edit. */ -}}\n"
ENVOY_ONLY, ISTIO = 'eq .Values.proxy "envoy"', 'eq .Values.proxy "istio"'
ENVOY_GATEWAY = 'eq .Values.proxy "envoy-gateway"'
SHIPPED = 'ne .Values.redis.mode "external"'
SENTINEL = 'eq .Values.redis.mode "sentinel"'
CERT_MANAGER = 'eq .Values.mtls "cert-manager"'


@dataclass(frozen=True, slots=True)
class Copy:
    """A manifest, the template made of it, the condition of all its documents, and edits beside the general ones."""

    source: str
    template: str
    condition: str = ""
    edits: tuple[Edit, ...] = ()

    def text(self) -> str:
        """The template."""
        out = read(self.source)
        for edit in self.edits:
            out = edit(out)
        if not out.endswith("\n"):
            out += "\n"
        return NOTE.replace("SOURCE", self.source) + conditional(general(out), self.condition)


LABELS = After(
    r"^    app\.kubernetes\.io/name: spendgate$",
    "{{- with .Values.monitoring.labels }}\n    {{- toYaml . | nindent 4 }}\n{{- end }}",
)


COPIES = (
    Copy(
        "base/crd.yaml",
        "crd.yaml",
        ".Values.crds.install",
        (
            Replace(
                r"^metadata:\n  name: llmbudgets\.ai\.systemhardening\.com$",
                "metadata:\n  name: llmbudgets.ai.systemhardening.com\n"
                + when(".Values.crds.keep", "  annotations:\n    helm.sh/resource-policy: keep"),
            ),
        ),
    ),
    Copy("base/user-roles.yaml", "user-roles.yaml", ".Values.userRoles.enabled"),
    Copy(
        "base/controller-rbac.yaml",
        "controller-rbac.yaml",
        ".Values.controller.enabled",
        (account("llm-budget-controller", "controller"),),
    ),
    Copy("base/controller.yaml", "controller.yaml", ".Values.controller.enabled", CONTROLLER),
    Copy("base/gateway.yaml", "gateway.yaml", "", (*doors.OF_CALLERS, *GATEWAY)),
    Copy("components/redis/redis.yaml", "redis.yaml", SHIPPED, REDIS),
    Copy("components/redis-ha/disruption-budget.yaml", "redis-disruption-budget.yaml", SENTINEL),
    Copy("components/redis-secured/certificate.yaml", "redis-certificate.yaml", ".Values.redis.secured"),
    Copy(
        "components/redis-managed/egress.yaml",
        "redis-egress.yaml",
        'eq .Values.redis.mode "external"',
        (
            Block(
                r"  egress:",
                "{{- with .Values.redis.egress }}\n  egress:\n    {{- toYaml . | nindent 4 }}\n{{- else }}",
                "{{- end }}",
            ),
        ),
    ),
    Copy("components/priority/priority-class.yaml", "priority-class.yaml", ".Values.priorityClass.create"),
    Copy("components/keda/scaled-object.yaml", "scaled-object.yaml", "", SCALED),
    Copy("components/disruption-budgets/budgets.yaml", "disruption-budgets.yaml"),
    Copy(
        "components/network-policies/policies.yaml",
        "network-policies.yaml",
        "",
        (
            doors.TO_THE_DOOR,
            Block(
                r"        - namespaceSelector: # sidecars.*",
                '{{- if or (ne .Values.proxy "istio") .Values.istio.sidecars }}',
                "{{- end }}",
            ),
        ),
    ),
    Copy("components/monitoring/podmonitor.yaml", "podmonitor.yaml", "", (LABELS,)),
    Copy("components/webhook/webhook.yaml", "webhook.yaml", ".Values.webhook.enabled", WEBHOOK),
    Copy("components/webhook/webhook-rbac.yaml", "webhook-rbac.yaml", ".Values.webhook.enabled"),
    Copy("components/webhook/certificate.yaml", "webhook-certificate.yaml", ".Values.webhook.enabled"),
    Copy("components/webhook/validating-webhook.yaml", "validating-webhook.yaml", ".Values.webhook.enabled"),
    Copy("components/tls/certificates.yaml", "certificates.yaml", CERT_MANAGER),
    Copy("components/doctor/doctor.yaml", "doctor.yaml", ".Values.doctor.enabled", DOCTOR),
    Copy("components/doctor/policy.yaml", "doctor-policy.yaml", ".Values.doctor.enabled"),
    Copy("components/export/export.yaml", "export.yaml", ".Values.export.enabled", EXPORT),
    Copy("components/export/policy.yaml", "export-policy.yaml", ".Values.export.enabled"),
    Copy("overlays/envoy/envoy.yaml", "envoy.yaml", ENVOY_ONLY, ENVOY),
    Copy("overlays/envoy/podmonitor.yaml", "envoy-podmonitor.yaml", ENVOY_ONLY, (LABELS,)),
    Copy("overlays/istio/envoyfilter-gateway.yaml", "istio-envoyfilter-gateway.yaml", ISTIO),
    Copy(
        "overlays/istio/envoyfilter-sidecars.yaml",
        "istio-envoyfilter-sidecars.yaml",
        f"and ({ISTIO}) .Values.istio.sidecars",
    ),
    Copy("overlays/istio/egress.yaml", "istio-egress.yaml", f"and ({ISTIO}) .Values.istio.egress"),
    Copy("overlays/istio/mesh.yaml", "istio-mesh.yaml", ISTIO),
    Copy(
        "overlays/istio/authorization.yaml",
        "istio-authorization.yaml",
        ISTIO,
        (
            Replace(
                r'^            principals: \["\*"\]$',
                when(
                    ".Values.istio.sidecars",
                    '            principals: ["*"]',
                    "            namespaces: [istio-system]",
                ),
            ),
        ),
    ),
    Copy(
        "overlays/envoy-gateway/gateway.yaml",
        "envoy-gateway.yaml",
        f"and ({ENVOY_GATEWAY}) .Values.envoyGateway.routes",
        doors.GATEWAY,
    ),
    Copy(
        "components/envoy-gateway-keys/filters.yaml",
        "envoy-gateway-keys.yaml",
        f"and ({ENVOY_GATEWAY}) {doors.KEYS}",
    ),
    Copy("components/front-door/gateway.yaml", "istio-front-door.yaml", doors.FRONT_DOOR, doors.DOOR),
    Copy("components/front-door/envoyfilter.yaml", "istio-envoyfilter-front-door.yaml", doors.FRONT_DOOR),
    Copy("overlays/envoy-gateway/policies.yaml", "envoy-gateway-policies.yaml", ENVOY_GATEWAY),
)
FILES = {
    "config-istio.yaml": "overlays/istio/config.yaml",
    "config-front-door.yaml": "components/front-door/config.yaml",
    "redis.conf": "components/redis/redis.conf",
    "start.sh": "components/redis-ha/start.sh",
    "rules.yaml": "components/monitoring/rules.yaml",
    "chargeback.json": "components/monitoring/chargeback.json",
    "operations.json": "components/monitoring/operations.json",
    "envoy-none.yaml": "overlays/envoy/bootstrap.yaml",
    "envoy-cert-manager.yaml": "overlays/envoy-tls/bootstrap.yaml",
    "envoy-spire.yaml": "overlays/envoy-spire/bootstrap.yaml",
    "mtls-cert-manager.yaml": "components/tls/sidecar-envoy.yaml",
    "mtls-spire.yaml": "components/spire/sidecar-envoy.yaml",
    "server/certificate.json": "components/tls/certificate.json",
    "server/authorities.json": "components/tls/authorities.json",
    "client/certificate.json": "overlays/envoy-tls/certificate.json",
    "client/authorities.json": "overlays/envoy-tls/authorities.json",
}
"""Files that templates take in whole; those that name the namespace are templates themselves."""
TEMPLATED = ("config-istio.yaml", "envoy-none.yaml", "envoy-cert-manager.yaml", "envoy-spire.yaml",
             "mtls-cert-manager.yaml", "mtls-spire.yaml")  # fmt: skip


def templates() -> dict[str, str]:
    """Template by its path in the chart."""
    return {f"templates/{c.template}": c.text() for c in COPIES}


def files() -> dict[str, str]:
    """File by its path in the chart."""
    out = {}
    for name, source in FILES.items():
        text = read(source)
        out[f"files/{name}"] = general(text) if name in TEMPLATED else text
    return out
