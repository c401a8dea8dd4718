"""The edits of each workload: what of it is a value, and what depends on a switch."""

from __future__ import annotations

from textwrap import indent

import yaml

from helm_chart.text import After, Block, Edit, Replace, block, when
from helm_chart.values import K8S

STRATEGIC = "components/mtls-sidecar/sidecar.yaml"
IN_MESH = "overlays/istio/gateway-in-the-mesh.yaml"
ISTIO, MTLS = 'eq .Values.proxy "istio"', 'ne .Values.mtls "none"'
PERSISTENT = ".Values.gateway.spool.persistent"


def lines(*parts: str) -> str:
    """Texts one below the other."""
    return "\n".join(parts)


def storage_class(values: str) -> str:
    """The class of a volume, where one is given."""
    return lines(
        f"{{{{- with .Values.{values}.storageClass }}}}",
        "        storageClassName: {{ . | quote }}",
        "{{- end }}",
    )


def certificate(secret: str) -> str:
    """A pod's volume with its certificate; `secret`: cert-manager's."""
    return f'{{{{- include "spendgate.certificate" (dict "root" . "secret" "{secret}") | nindent 8 }}}}'


def read(path: str) -> str:
    """A manifest's text."""
    return (K8S / path).read_text("utf-8")


def pods(
    values: str, app: str, at: int = 6, affinity: bool = False, metadata: bool = True
) -> tuple[Edit, ...]:
    """What every workload's pods may be given. `at`: how deep the pod's spec is; `affinity`: the manifest has one;
    `metadata`: the pod's labels and annotations are edited, too."""
    pad, inner = " " * at, " " * (at + 2)
    own = f".Values.{values}"
    edits: list[Edit] = [
        Block(
            rf"{inner}  resources:.*",
            put=f"{inner}  resources:\n{inner}    {{{{- toYaml {own}.resources | nindent {at + 6} }}}}",
        ),
    ]
    if affinity:
        edits.append(Block(rf"{pad}affinity:", f"{{{{- if not {own}.affinity }}}}", "{{- end }}"))
    if metadata:
        edits.append(
            Replace(
                rf"^{pad[2:]}metadata:\n{pad}labels:\n{inner}app: {app}$",
                f"{pad[2:]}metadata:\n{pad}labels:\n{inner}app: {app}\n"
                f"{more('podLabels', own, at + 2)}\n"
                f"{{{{- with {own}.podAnnotations }}}}\n{pad}annotations:\n"
                f"{inner}{{{{- toYaml . | nindent {at + 2} }}}}\n{{{{- end }}}}",
            )
        )
    return tuple(edits)


def more(field: str, of: str, at: int) -> str:
    """The entries of a value, beside those that the manifest has."""
    return f"{{{{- with {of}.{field} }}}}\n{' ' * at}{{{{- toYaml . | nindent {at} }}}}\n{{{{- end }}}}"


def scheduling(values: str, anchor: str, at: int = 6, important: bool = False) -> Edit:
    """Where the pods may run, after the line `anchor` of the pod's spec. `important`: they have the chart's own
    priority class, where there is one."""
    scope = f'"root" $ "of" .Values.{values} "important" {str(important).lower()}'
    return After(
        rf"^{' ' * at}{anchor}.*$",
        f'{{{{- include "spendgate.pods" (dict {scope}) | nindent {at} }}}}',
    )


def environment(values: str, at: int = 10, before: str = "") -> Edit:
    """More variables at the end of the container's. `before`: others of ours."""
    return Block(rf"{' ' * at}env:", after=f"{before}\n{more('env', f'.Values.{values}', at + 2)}")


def authority(at: int = 6) -> tuple[Edit, ...]:
    """The CA of an external Redis in the pod and its container."""
    mount, volume = at + 6, at + 2
    return (
        After(
            rf"^{' ' * (at + 4)}volumeMounts:$",
            f'{{{{- include "spendgate.redis.mount" . | nindent {mount} }}}}',
        ),
        After(rf"^{' ' * at}volumes:$", f'{{{{- include "spendgate.redis.volume" . | nindent {volume} }}}}'),
    )


def account(name: str, values: str) -> Edit:
    """Annotations of a service account."""
    return Replace(
        rf"^kind: ServiceAccount\nmetadata:\n  name: {name}( #.*)?\n  namespace: llm-gateway$",
        f"kind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: llm-gateway\n"
        f"{{{{- with .Values.{values}.serviceAccount.annotations }}}}\n  annotations:\n"
        "    {{- toYaml . | nindent 4 }}\n{{- end }}",
    )


BY_CPU = 'eq .Values.gateway.autoscaling.by "cpu"'
CPU = "{{ .Values.gateway.autoscaling.targetCpuPercent }}"


def _by_exchanges() -> str:
    """The HorizontalPodAutoscaler's metrics and behaviour in components/autoscaling."""
    [patch] = yaml.safe_load(read("components/autoscaling/kustomization.yaml"))["patches"]
    added = {
        step["path"].rpartition("/")[2]: step["value"]
        for step in yaml.safe_load(patch["patch"])
        if step["op"] == "add"
    }
    text = yaml.safe_dump(added, sort_keys=False, indent=2)
    return Replace(r"averageUtilization: 70$", f"averageUtilization: {CPU}")(indent(text, "  "))


SCALED = (
    Replace(
        r"^    kind: Deployment #.*$",
        f"    kind: {{{{ if {PERSISTENT} }}}}StatefulSet{{{{ else }}}}Deployment{{{{ end }}}}",
    ),
    Replace(r"^  minReplicaCount: 2$", "  minReplicaCount: {{ .Values.gateway.autoscaling.minReplicas }}"),
    Replace(r"^  maxReplicaCount: 20$", "  maxReplicaCount: {{ .Values.gateway.autoscaling.maxReplicas }}"),
    Replace(
        r"^        serverAddress: .*$",
        "        serverAddress: {{ .Values.monitoring.prometheusUrl | quote }}",
    ),
    Replace(
        r'^        value: "70"$', "        value: {{ .Values.gateway.autoscaling.targetCpuPercent | quote }}"
    ),
)


def _gateway() -> tuple[Edit, ...]:
    mesh = read(IN_MESH)
    label = block(mesh, r"        sidecar\.istio\.io/inject: .*")
    revision = when(".Values.istio.revision", "        istio.io/rev: {{ .Values.istio.revision | quote }}")
    containers = read(STRATEGIC).partition("\n      volumes:\n")[0]
    sidecar = block(containers, r"        - name: mtls")
    volume = "        - name: mtls\n          configMap:\n            name: spendgate-mtls"
    annotation = block(mesh, r"        proxy\.istio\.io/config: \|")
    started = block(mesh, r"          startupProbe:").replace("            $patch: replace\n", "")
    return (
        *pods("gateway", "spendgate", metadata=False),
        environment("gateway"),
        Block(
            r"          startupProbe:", lines(f"{{{{- if {ISTIO} }}}}", started, "{{- else }}"), "{{- end }}"
        ),
        Block(
            r"  strategy:",
            "{{- if not " + PERSISTENT + " }}",
            lines(
                "{{- else }}",
                "  serviceName: spendgate-headless",
                "  podManagementPolicy: Parallel",
                "{{- end }}",
            ),
        ),
        Replace(
            r"^  template:\n    metadata:\n      labels:\n        app: spendgate$",
            "  template:\n    metadata:\n      labels:\n        app: spendgate\n"
            f"{when(ISTIO, f'{label}{chr(10)}{revision}')}\n"
            f"{more('podLabels', '.Values.gateway', 8)}\n"
            '      annotations:\n        checksum/config: {{ include "spendgate.config" . | sha256sum }}\n'
            f"{when(ISTIO, annotation)}\n"
            f"{more('podAnnotations', '.Values.gateway', 8)}",
        ),
        Replace(
            r"^kind: Deployment$",
            f"kind: {{{{ if {PERSISTENT} }}}}StatefulSet{{{{ else }}}}Deployment{{{{ end }}}}",
        ),
        Replace(
            r"^    kind: Deployment$",
            f"    kind: {{{{ if {PERSISTENT} }}}}StatefulSet{{{{ else }}}}Deployment{{{{ end }}}}",
        ),
        Replace(
            r"^  # no `replicas`.*$",
            when("not .Values.gateway.autoscaling.enabled", "  replicas: {{ .Values.gateway.replicas }}"),
        ),
        Replace(
            r"^      terminationGracePeriodSeconds: 630$",
            "      terminationGracePeriodSeconds: {{ .Values.gateway.terminationGracePeriodSeconds }}",
        ),
        scheduling("gateway", "serviceAccountName: spendgate", important=True),
        account("spendgate", "gateway"),
        *authority(),
        Replace(
            r"^              name: grpc$",
            f"              name: {{{{ if {MTLS} }}}}grpc-inside{{{{ else }}}}grpc{{{{ end }}}}",
        ),
        Replace(
            r"^              value: 0\.0\.0\.0:9002$",
            f"              value: {{{{ if {MTLS} }}}}127.0.0.1{{{{ else }}}}0.0.0.0{{{{ end }}}}:9002",
        ),
        Replace(
            r"^      volumes:$",
            when(MTLS, sidecar)
            + "\n      volumes:\n"
            + when(MTLS, lines(volume, certificate("spendgate-tls"))),
        ),
        Replace(
            r"^        - name: data\n          emptyDir: \{\}$",
            when(f"not {PERSISTENT}", "        - name: data\n          emptyDir: {}"),
        ),
        After(
            r"^        - name: tmp\n          emptyDir: \{\}$",
            when(
                PERSISTENT,
                lines(
                    "  volumeClaimTemplates:",
                    "    - metadata:",
                    "        name: data",
                    "      spec:",
                    "        accessModes: [ReadWriteOnce]",
                    storage_class("gateway.spool"),
                    "        resources:",
                    "          requests:",
                    "            storage: {{ .Values.gateway.spool.size }}",
                ),
            ),
        ),
        Replace(r"^  minReplicas: 2$", "  minReplicas: {{ .Values.gateway.autoscaling.minReplicas }}"),
        Replace(r"^  maxReplicas: 20$", "  maxReplicas: {{ .Values.gateway.autoscaling.maxReplicas }}"),
        Replace(
            r"^apiVersion: autoscaling/v1$",
            f"apiVersion: autoscaling/v{{{{ if {BY_CPU} }}}}1{{{{ else }}}}2{{{{ end }}}}",
        ),
        Replace(
            r"^  targetCPUUtilizationPercentage: 70$",
            when(BY_CPU, f"  targetCPUUtilizationPercentage: {CPU}", _by_exchanges()),
        ),
    )


def _value(name: str, old: str, new: str) -> Edit:
    return Replace(
        rf"^            - name: {name}( #.*)?\n              value: {old}( #.*)?$",
        f"            - name: {name}\n              value: {new}",
    )


CONTROLLER = (
    *pods("controller", "llm-budget-controller", affinity=True),
    environment(
        "controller",
        before=when(
            ".Values.monitoring.enabled",
            lines(
                "            - name: SPENDGATE_PROMETHEUS",
                "              value: {{ .Values.monitoring.prometheusUrl | quote }}",
            ),
        ),
    ),
    Replace(r"^  replicas: 2$", "  replicas: {{ .Values.controller.replicas }}"),
    scheduling("controller", "serviceAccountName: llm-budget-controller"),
    _value("WATCH_NAMESPACE", '""', "{{ .Values.controller.watchNamespace | quote }}"),
    _value("SPENDGATE_OWNERSHIP", "strict", "{{ .Values.controller.ownership }}"),
    _value("RECONCILE_INTERVAL", "30s", "{{ .Values.controller.reconcileInterval }}"),
    Replace(
        r"^                  name: llm-budget-secrets$",
        "                  name: {{ .Values.controller.secret }}",
        times=4,
    ),
    *authority(),
)
WEBHOOK = (
    *pods("webhook", "llm-budget-webhook", affinity=True),
    Replace(r"^  replicas: 2$", "  replicas: {{ .Values.webhook.replicas }}"),
    scheduling("webhook", "serviceAccountName: llm-budget-webhook"),
)
ENVOY = (
    *pods("envoy", "llm-envoy", metadata=False),
    Replace(
        r"^  template:\n    metadata:\n      labels:\n        app: llm-envoy$",
        "  template:\n    metadata:\n      labels:\n        app: llm-envoy\n"
        f"{more('podLabels', '.Values.envoy', 8)}\n"
        '      annotations:\n        checksum/config: {{ include "spendgate.envoy.config" . | sha256sum }}\n'
        f"{more('podAnnotations', '.Values.envoy', 8)}",
    ),
    Replace(r"^  replicas: 2$", "  replicas: {{ .Values.envoy.replicas }}"),
    scheduling("envoy", "serviceAccountName: llm-envoy"),
    After(
        r"^          volumeMounts:$",
        when(
            MTLS,
            lines(
                "            - name: certificate",
                "              mountPath: /etc/certificate",
                "              readOnly: true",
            ),
        ),
    ),
    After(
        r"^      volumes:$",
        when(MTLS, certificate("llm-envoy-tls")),
    ),
    Replace(
        r"^spec:\n  selector:\n    app: llm-envoy$",
        "spec:\n{{- with .Values.envoy.service }}\n  {{- toYaml . | nindent 2 }}\n{{- end }}\n"
        "  selector:\n    app: llm-envoy",
    ),
)


def job(values: str) -> tuple[Edit, ...]:
    """Those of a CronJob."""
    return (
        *pods(values, f"spendgate-{values}", at=10),
        environment(values, at=14),
        scheduling(values, f"serviceAccountName: spendgate-{values}", at=10),
        Replace(r"^  schedule: .*$", f"  schedule: {{{{ .Values.{values}.schedule | quote }}}}"),
        *authority(at=10),
    )


DOCTOR = (
    *job("doctor"),
    Replace(
        r"^                  value: http://llm\.llm-gateway\.svc\.cluster\.local$",
        '                  value: {{ include "spendgate.doctor.url" . }}',
    ),
)
EXPORT = (*job("export"), account("spendgate-export", "export"))


GATEWAY = _gateway()
