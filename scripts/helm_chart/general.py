"""The edits that every manifest gets: names of the installation that are literals in k8s/ become values."""

from __future__ import annotations

import re

from helm_chart.text import when

NAMESPACE = "llm-gateway"
_WHOLE = r"(?P<before>[:\[,-] ?)(?P<q>[\"']?){}(?P=q)(?P<after>\s*(#.*)?$|[\],])"
LITERALS = (
    (NAMESPACE, ".Release.Namespace"),
    ("istio-system", ".Values.istio.namespace"),
    ("envoy-gateway-system", ".Values.envoyGateway.namespace"),
)
EMBEDDED = (
    (r"svc\.cluster\.local", "svc.{{ .Values.clusterDomain }}"),
    (r"(?<=spiffe://)cluster\.local", "{{ .Values.trustDomain }}"),
    (r"(?<=kubernetes\.io/metadata\.name: )monitoring\b", "{{ .Values.monitoring.namespace | quote }}"),
    (r"\bimage: redis:\S+", 'image: {{ include "spendgate.redis.image" . }}'),
)
FAILS_OPEN = 'ne (.Values.config.failure_mode | default "open") "closed"'
BODY = "{{ .Values.config.max_body_bytes | default 33554432 | int64 }}"
SETTINGS = (
    (re.compile(r"^( +)failure_mode_allow: true$", re.MULTILINE), lambda m: when(FAILS_OPEN, m[0])),
    (re.compile(r"(?<=failOpen: )true$", re.MULTILINE), lambda _: f"{{{{ {FAILS_OPEN} }}}}"),
    (re.compile(r"(?<=request_body_buffer_limit: )33554432$", re.MULTILINE), lambda _: BODY),
    (re.compile(r"(?<=bufferLimit: ')33554432(?='$)", re.MULTILINE), lambda _: BODY),
)
"""Settings of the gateways that Envoy must know, too, where it is a line of its own; of others see _helpers.tpl."""
USERS = re.compile(r"^( +)(runAsUser|runAsGroup|fsGroup): \d+.*$", re.MULTILINE)
IMAGE = re.compile(r"^( +)image: spendgate(?=\s|$)(.*)$", re.MULTILINE)
REDIS_URL = re.compile(r"^( +)- name: REDIS_URL\n +value: redis://redis-master\.\S+$", re.MULTILINE)
CONDITIONS = {
    "PodDisruptionBudget": ".Values.disruptionBudgets.enabled",
    "NetworkPolicy": ".Values.networkPolicies.enabled",
    "PodMonitor": ".Values.monitoring.enabled",
    "NetworkPolicy redis": 'and .Values.networkPolicies.enabled (ne .Values.redis.mode "external")',
    "HorizontalPodAutoscaler spendgate": (
        'and .Values.gateway.autoscaling.enabled (ne .Values.gateway.autoscaling.by "keda")'
    ),
    "ScaledObject spendgate": (
        'and .Values.gateway.autoscaling.enabled (eq .Values.gateway.autoscaling.by "keda")'
    ),
}
"""What is asked for by a switch of its own, wherever it stands: a kind, or one document."""


def general(text: str) -> str:
    """The edits, in an order that does not matter."""
    text = REDIS_URL.sub(lambda m: f'{{{{- include "spendgate.redis.env" . | nindent {len(m[1])} }}}}', text)
    text = IMAGE.sub(
        lambda m: (
            f'{m[1]}image: {{{{ include "spendgate.image" . }}}}{m[2]}\n'
            + when("$.Values.image.pullPolicy", f"{m[1]}imagePullPolicy: {{{{ $.Values.image.pullPolicy }}}}")
        ),
        text,
    )
    for pattern, put in EMBEDDED:
        text = re.sub(pattern, lambda _, put=put: put, text, flags=re.MULTILINE)
    for literal, value in LITERALS:
        # a whole value is quoted: a namespace may be called `on` or `123`
        text = re.sub(
            _WHOLE.format(re.escape(literal)),
            lambda m, value=value: f"{m['before']}{{{{ {value} | quote }}}}{m['after']}",
            text,
            flags=re.MULTILINE,
        )
        text = re.sub(
            rf"(?<![\w-]){re.escape(literal)}(?![\w-])", lambda _, value=value: f"{{{{ {value} }}}}", text
        )
    for found, put_setting in SETTINGS:
        text = found.sub(put_setting, text)
    return USERS.sub(lambda m: when("not .Values.openshift", m[0]), text)


def conditional(text: str, condition: str) -> str:
    """Each document where its condition holds: that of the file, and that of its kind."""
    out = []
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        named = re.search(r"^kind: (\w+)\nmetadata:\n  name: ([\w.-]+)", document, re.MULTILINE)
        kind, name = named.groups() if named else ("", "")
        own = CONDITIONS.get(f"{kind} {name}", CONDITIONS.get(kind, ""))
        both = [c for c in (condition, own) if c]
        test = both[0] if len(both) == 1 else f"and {' '.join(f'({c})' for c in both)}" if both else ""
        body = f"---\n{document.rstrip()}\n"
        out.append(f"{{{{- if {test} }}}}\n{body}{{{{- end }}}}\n" if test else body)
    return "".join(out)
