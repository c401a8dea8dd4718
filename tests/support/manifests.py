"""What `kubectl kustomize` makes of k8s/, and what is checked on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.processes import program

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = tuple(
    sorted(p.parent.relative_to(K8S).as_posix() for p in K8S.glob("overlays/*/kustomization.yaml"))
)
TENANTS = tuple(
    sorted(p.parent.relative_to(K8S).as_posix() for p in K8S.glob("tenants/*/kustomization.yaml"))
)
GENERATED = ("CustomResourceDefinition", "EnvoyFilter", "PrometheusRule")
"""Kinds that a script writes and another test compares: a golden file only names them."""


def _is_generated(document: Json) -> bool:
    """So it is with dashboards and Envoy's configurations."""
    return (
        document["kind"] in GENERATED
        or "grafana_dashboard" in document["metadata"].get("labels", {})
        or "envoy.yaml" in document.get("data", {})
    )


@cache
def rendered(name: str) -> str:
    """The output of `kubectl kustomize k8s/NAME`; its complaint fails the test."""
    return kustomized(K8S / name)


def kustomized(folder: Path) -> str:
    """The output of `kubectl kustomize FOLDER`; its complaint fails the test."""
    done = subprocess.run(
        [program("kubectl"), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@cache
def _parsed(name: str) -> str:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return json.dumps([d for d in yaml.load_all(rendered(name), Loader=loader) if d])


def documents(name: str) -> list[Json]:
    """The same as data, the caller's own."""
    found: list[Json] = json.loads(_parsed(name))
    return found


def golden(name: str) -> str:
    """What is reviewed and checked in: all of it but what other tests compare."""
    out = []
    for document in documents(name):
        if _is_generated(document):
            document = {k: v for k, v in document.items() if k not in ("spec", "data")}
        out.append(yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True))
    return "---\n".join(out)


def pod_templates(docs: list[Json]) -> Iterator[tuple[str, Json]]:
    """Every pod that the documents would make, with the name of its maker."""
    for document in docs:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "CronJob":
            yield name, document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield name, document["spec"]["template"]["spec"]


VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
HOST = ("hostNetwork", "hostPID", "hostIPC")


def restricted_faults(pod: Mapping[str, Any]) -> list[str]:
    """What breaks the restricted level of the Pod Security Standards (with baseline, on which it builds).

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    out = [f"{field} is on" for field in HOST if pod.get(field)]
    context = pod.get("securityContext", {})
    if context.get("sysctls"):
        out.append("sysctls are set")
    for volume in pod.get("volumes", ()):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            out.append(f"volume {volume['name']} is of kind {kinds}")
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in pod.get(kind, ()):
            out += [f"{container['name']}: {x}" for x in _container(context, container)]
    return out


def _container(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield "not all capabilities are dropped"
    if not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"}:
        yield f"adds capabilities {capabilities['add']}"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield "runs as user 0"
    seccomp = own.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
    if seccomp not in ("RuntimeDefault", "Localhost"):
        yield f"seccomp profile is {seccomp}"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is set"
    if any("hostPort" in p for p in container.get("ports", ())):
        yield "a host port"
