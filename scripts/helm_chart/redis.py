"""The edits of the shipped Redis: alone, with sentinels, secured."""

from __future__ import annotations

from helm_chart.text import After, Edit, Replace, block, when
from helm_chart.workloads import lines, pods, read, scheduling, storage_class

SENTINELS = "components/redis-ha/three-with-sentinels.yaml"
SECURED = "components/redis-secured/redis.yaml"
SENTINEL = 'eq .Values.redis.mode "sentinel"'


def _redis() -> tuple[Edit, ...]:
    three, secured = read(SENTINELS), read(SECURED)
    command, *probes = (
        block(secured, first)
        for first in (r"          command:", r"          startupProbe:.*", r"          readinessProbe:")
    )
    [ping] = {line for probe in probes for line in probe.splitlines() if "command:" in line}
    mounts = block(secured, r"          volumeMounts:").partition("\n")[2]
    secrets = block(secured, r"      volumes:").partition("\n")[2]
    run = "            - name: run\n              mountPath: /run/redis"
    volumes = lines(
        "        - name: start",
        "          configMap:",
        "            name: redis-ha",
        "        - name: run",
        "          emptyDir: {}",
    )
    spread, init, sentinel = (
        block(three, first)
        for first in (r"      affinity:", r"      initContainers:", r"        - name: sentinel")
    )
    return (
        *pods("redis", "redis"),
        After(r"^          volumeMounts:$", when(".Values.redis.secured", mounts)),
        Replace(r"^  replicas: 1$", f"  replicas: {{{{ if {SENTINEL} }}}}3{{{{ else }}}}1{{{{ end }}}}"),
        scheduling("redis", "automountServiceAccountToken: false", important=True),
        Replace(
            r"^      containers:$",
            lines(
                when(SENTINEL, lines(when("not .Values.redis.affinity", spread), init)), "      containers:"
            ),
        ),
        Replace(
            r"^          command: \[redis-server, /etc/redis/redis\.conf\]$",
            when(
                ".Values.redis.secured",
                command,
                f"          command: [redis-server, {{{{ if {SENTINEL} }}}}/run{{{{ else }}}}/etc{{{{ end }}}}"
                "/redis/redis.conf]",
            ),
        ),
        Replace(
            r"^              command: \[redis-cli, -e, ping\]$",
            when(".Values.redis.secured", ping, "              command: [redis-cli, -e, ping]"),
            times=2,
        ),
        Replace(
            r"^      volumes:$",
            lines(
                when(SENTINEL, lines(run, sentinel)),
                "      volumes:",
                when(SENTINEL, volumes),
                when(".Values.redis.secured", secrets),
            ),
        ),
        Replace(
            r"^            storage: 10Gi$",
            "            storage: {{ .Values.redis.storage }}",
        ),
        Replace(
            r"^        accessModes: \[ReadWriteOnce\]$",
            lines("        accessModes: [ReadWriteOnce]", storage_class("redis")),
        ),
    )


REDIS = _redis()
