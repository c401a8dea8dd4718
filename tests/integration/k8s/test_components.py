"""Components that overlays do not take by themselves: what kustomize makes of each on top of one."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import K8S, OVERLAYS, kustomized, pod_templates, restricted_faults
from support.npm_schemas import faults

from spendgate.settings.config import Settings

Json = dict[str, Any]
Build = Callable[..., list[Json]]
LEVEL = "pod-security.kubernetes.io/enforce"
MONITORING = "docs/how-to/dashboards-and-alerts.md"
PAGES = ("docs/how-to/istio.md", "docs/how-to/envoy.md", "docs/how-to/envoy-gateway.md")
ON_TOP = {
    "redis-managed": ("redis-managed",),
    "redis-managed-ha": ("redis-managed",),
    "redis-managed-jobs": ("doctor", "export", "redis-managed"),
    "redis-secured": ("doctor", "export", "redis-secured"),
    "persistent-spool": ("persistent-spool", "autoscaling"),
    "autoscaling": ("autoscaling",),
    "keda": ("keda",),
    "front-door": ("front-door",),
    "priority": ("priority", "persistent-spool"),
    "all": ("redis-managed", "persistent-spool", "autoscaling", "priority"),
}


class _Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def ready() -> Iterator[int]:
    """A server that is ready; its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """An overlay of somebody's own: one of ours, and components on top."""

    def made(*components: str, overlay: str = "overlays/istio") -> list[Json]:
        folder = tmp_path.resolve()
        up = Path(*[".."] * len(folder.parts[1:])) / K8S.relative_to("/")
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [str(up / overlay)],
            "components": [str(up / "components" / c) for c in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return [d for d in yaml.safe_load_all(kustomized(folder)) if d]

    return made


@pytest.fixture
def as_the_pages_say(tmp_path: Path) -> Callable[[str, str], list[Json]]:
    """An overlay in a folder beside a checkout, of the kustomization that a page shows (and another patch)."""

    def made(page: str, overlay: str) -> list[Json]:
        [first] = [b for b in shown(page) if b.startswith("# llm/kustomization.yaml")]
        [labels] = [b for b in shown(MONITORING) if "PodMonitor|PrometheusRule" in b]
        (tmp_path / "spendgate").symlink_to(K8S.parent)
        (tmp_path / "llm").mkdir()
        text = re.sub(r"overlays/[a-z-]+", overlay, first) + labels
        (tmp_path / "llm" / "kustomization.yaml").write_text(text)
        return [d for d in yaml.safe_load_all(kustomized(tmp_path / "llm")) if d]

    return made


def shown(page: str) -> list[str]:
    """The blocks of YAML on a page."""
    text = (K8S.parent / page).read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


def one(documents: list[Json], kind: str, name: str) -> Json:
    [found] = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def ours(documents: list[Json]) -> dict[str, Json]:
    """Pods that speak to the ledger, by name."""
    return {
        name: pod
        for name, pod in pod_templates(documents)
        if any(e["name"] == "REDIS_URL" for c in pod["containers"] for e in c.get("env", ()))
    }


@pytest.mark.parametrize("name", sorted(ON_TOP))
def test_every_kind_accepts_it_and_every_pod_is_restricted(build: Build, name: str) -> None:
    documents = build(
        *ON_TOP[name], overlay="overlays/istio-ha" if name.endswith("-ha") else "overlays/istio"
    )
    strange = ("keda.sh", "ai.systemhardening.com")
    known = [
        d for d in documents
        if d["apiVersion"].partition("/")[0] not in strange and d["kind"] != "CustomResourceDefinition"
    ]  # fmt: skip
    assert faults(known) == []
    assert {n: f for n, pod in pod_templates(documents) if (f := restricted_faults(pod))} == {}


@pytest.mark.parametrize("overlay", ["overlays/istio", "overlays/istio-ha", "overlays/envoy-gateway"])
def test_a_managed_redis_takes_the_place_of_the_shipped_one(build: Build, overlay: str) -> None:
    documents = build("doctor", "export", "redis-managed", overlay=overlay)
    left = [
        (d["kind"], d["metadata"]["name"]) for d in documents if d["metadata"]["name"].startswith("redis")
    ]
    assert left == []
    pods = ours(documents)
    assert len(pods) == 4
    for pod in pods.values():
        [variable] = [e for e in pod["containers"][0]["env"] if e["name"] == "REDIS_URL"]
        assert variable == {
            "name": "REDIS_URL",
            "valueFrom": {"secretKeyRef": {"name": "spendgate-redis", "key": "url"}},
        }
        [volume] = [v for v in pod["volumes"] if v["name"] == "redis-ca"]
        assert [i["path"] for i in volume["secret"]["items"]] == ["ca.crt"], "no key of Redis in our pods"
        assert {"name": "redis-ca", "mountPath": "/etc/redis-ca", "readOnly": True} in pod["containers"][0][
            "volumeMounts"
        ]
    policy = one(documents, "NetworkPolicy", "managed-redis")["spec"]
    chosen = set(policy["podSelector"]["matchExpressions"][0]["values"])
    assert chosen == {"spendgate", "llm-budget-controller", "spendgate-doctor", "spendgate-export"}
    assert 6379 in {p["port"] for rule in policy["egress"] for p in rule["ports"]}


def test_no_password_stands_in_a_manifest(build: Build) -> None:
    for component in ("redis-managed", "redis-secured"):
        assert not [d for d in build(component) if d["kind"] == "Secret"]


def test_gateways_with_volumes_are_a_stateful_set_that_the_autoscaler_knows(build: Build) -> None:
    documents = build("persistent-spool")
    gateways = one(documents, "StatefulSet", "spendgate")["spec"]
    assert "strategy" not in gateways
    services = {d["metadata"]["name"] for d in documents if d["kind"] == "Service"}
    assert gateways["serviceName"] in services
    mounts = {
        m["name"]: m["mountPath"] for m in gateways["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    [claim] = gateways["volumeClaimTemplates"]
    assert mounts[claim["metadata"]["name"]] == "/var/lib/spendgate"
    assert claim["metadata"]["name"] not in {v["name"] for v in gateways["template"]["spec"]["volumes"]}
    assert not [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "spendgate"]
    assert (
        one(documents, "HorizontalPodAutoscaler", "spendgate")["spec"]["scaleTargetRef"]["kind"]
        == "StatefulSet"
    )


def test_the_autoscaler_counts_open_exchanges_and_goes_down_no_faster_than_a_pod_drains(build: Build) -> None:
    hpa = one(build("autoscaling"), "HorizontalPodAutoscaler", "spendgate")
    assert hpa["apiVersion"] == "autoscaling/v2"
    assert [m.get("pods", {}).get("metric", {}).get("name") for m in hpa["spec"]["metrics"]] == [
        None, "spendgate_open_exchanges"
    ]  # fmt: skip
    down = hpa["spec"]["behavior"]["scaleDown"]
    pod = one(build("autoscaling"), "Deployment", "spendgate")["spec"]["template"]["spec"]
    assert down["stabilizationWindowSeconds"] + 60 > pod["terminationGracePeriodSeconds"]


def test_keda_takes_the_autoscalers_place_and_asks_for_a_metric_that_there_is(build: Build) -> None:
    documents = build("keda")
    assert not [d for d in documents if d["kind"] == "HorizontalPodAutoscaler"]
    scaled = one(documents, "ScaledObject", "spendgate")["spec"]
    [query] = [t["metadata"]["query"] for t in scaled["triggers"] if t["type"] == "prometheus"]
    metrics = (K8S.parent / "docs/reference/metrics.md").read_text(encoding="utf-8")
    assert f"`{query.removeprefix('sum(').removesuffix(')')}`" in metrics


def test_gateways_and_redis_have_the_priority_class(build: Build) -> None:
    documents = build("priority")
    value = one(documents, "PriorityClass", "spendgate")["value"]
    assert 0 < value < 1_000_000_000
    for kind, name in (("Deployment", "spendgate"), ("StatefulSet", "redis")):
        assert one(documents, kind, name)["spec"]["template"]["spec"]["priorityClassName"] == "spendgate"


def test_the_front_door_is_budgeted_and_may_speak_for_its_callers(build: Build) -> None:
    documents = build("front-door")
    gateway = one(documents, "Gateway", "llm")
    label = {"gateway.networking.k8s.io/gateway-name": gateway["metadata"]["name"]}
    chosen = [
        d for d in documents
        if d["kind"] == "EnvoyFilter" and d["spec"].get("workloadSelector", {}).get("labels") == label
    ]  # fmt: skip
    assert [d["metadata"]["namespace"] for d in chosen] == [gateway["metadata"]["namespace"]]
    allowed = one(documents, "NetworkPolicy", "spendgate")["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": label}} in allowed
    [config] = [
        d["data"]["config.yaml"] for d in documents
        if d["kind"] == "ConfigMap" and d["metadata"]["name"].startswith("spendgate-config")
    ]  # fmt: skip
    [spiffe] = [s for s in yaml.safe_load(config)["identity"] if s["kind"] == "spiffe"]
    assert "spiffe://*/ns/llm-gateway/sa/llm-istio" in spiffe["gateways"]


def test_each_route_of_the_front_door_leads_to_a_host_that_the_mesh_knows_and_is_not_cut(
    build: Build,
) -> None:
    documents = build("front-door")
    [entry] = [d for d in documents if d["kind"] == "ServiceEntry"]
    known = {(h, p["number"]) for h in entry["spec"]["hosts"] for p in entry["spec"]["ports"]}
    routes = [d for d in documents if d["kind"] == "HTTPRoute"]
    assert len(routes) == 2
    for route in routes:
        [rule] = route["spec"]["rules"]
        [backend] = rule["backendRefs"]
        assert (backend["name"], backend["port"]) in known
        assert rule["filters"][0]["urlRewrite"]["hostname"] == backend["name"]
        assert rule["timeouts"]["request"] == "0s"


def test_a_load_balancer_before_the_front_door_may_ask_whether_it_is_ready(build: Build) -> None:
    rules = one(build("front-door"), "NetworkPolicy", "llm")["spec"]["ingress"]
    assert {443, 15021} <= {p["port"] for rule in rules if "from" not in rule for p in rule["ports"]}


def test_the_front_doors_pods_are_let_in_by_its_namespace_and_wait_for_calls(build: Build) -> None:
    """Istio's pod says all that the level `restricted` asks for but the seccomp profile (kube-gateway.yaml, 1.28); what
    the ConfigMap gives is merged into it."""
    documents = build("front-door")
    gateway = one(documents, "Gateway", "llm")
    assert one(documents, "Namespace", "llm-gateway")["metadata"]["labels"][LEVEL] == "restricted"
    reference = gateway["spec"]["infrastructure"]["parametersRef"]
    given = one(documents, reference["kind"], reference["name"])
    assert given["metadata"]["namespace"] == gateway["metadata"]["namespace"]
    template = yaml.safe_load(given["data"]["deployment"])["spec"]["template"]
    proxy = {
        "name": "istio-proxy",
        "securityContext": {
            "capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False, "privileged": False,
            "readOnlyRootFilesystem": True, "runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": True,
        },
    }  # fmt: skip
    assert restricted_faults({"containers": [proxy]}) == ["istio-proxy: seccomp profile is None"]
    assert restricted_faults({**template["spec"], "containers": [proxy]}) == []
    config = yaml.safe_load(template["metadata"]["annotations"]["proxy.istio.io/config"])
    drain = int(config["terminationDrainDuration"].removesuffix("s"))
    assert Settings().drain_timeout // 1000 <= drain < template["spec"]["terminationGracePeriodSeconds"]


def test_in_envoy_gateway_each_provider_gets_its_own_key_and_no_other_credential(build: Build) -> None:
    documents = build("envoy-gateway-keys", overlay="overlays/envoy-gateway")
    known = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
    for name in ("openai", "anthropic"):
        [rule] = one(documents, "HTTPRoute", name)["spec"]["rules"]
        [reference] = [f["extensionRef"] for f in rule["filters"] if f["type"] == "ExtensionRef"]
        injection = one(documents, reference["kind"], reference["name"])["spec"]["credentialInjection"]
        [modifier] = [
            f["requestHeaderModifier"] for f in rule["filters"] if f["type"] == "RequestHeaderModifier"
        ]
        assert injection["overwrite"] is True
        # headers are removed after the key is put in: its own must stay
        assert known - set(modifier["remove"]) == {injection.get("header", "authorization")}
    assert faults([d for d in documents if d["kind"] in ("HTTPRoute", "HTTPRouteFilter")]) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_of_ones_own_names_every_image_and_labels_what_prometheus_reads(
    as_the_pages_say: Callable[[str, str], list[Json]], overlay: str
) -> None:
    documents = as_the_pages_say(PAGES[OVERLAYS.index(overlay) % len(PAGES)], overlay)
    images = {c["image"] for _, pod in pod_templates(documents) for c in pod["containers"]}
    assert {i for i in images if "spendgate" in i} == {"REGISTRY/spendgate:0.1.0"}
    read = [d for d in documents if d["kind"] in ("PodMonitor", "PrometheusRule")]
    assert read
    for document in read:
        assert document["metadata"]["namespace"] == "llm-gateway"
        assert document["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_a_tenants_sidecar_keeps_all_services_of_the_mesh() -> None:
    [sidecar] = [d for d in yaml.safe_load_all(kustomized(K8S / "tenants/istio")) if d["kind"] == "Sidecar"]
    assert sidecar["spec"]["egress"] == [{"hosts": ["*/*"]}]
    assert sidecar["spec"]["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}


def test_a_gateways_pod_starts_only_with_its_sidecar(build: Build) -> None:
    """The probe as the kubelet runs it."""
    [container] = one(build(), "Deployment", "spendgate")["spec"]["template"]["spec"]["containers"]
    command = container["startupProbe"]["exec"]["command"]
    assert command[:2] == ["python", "-c"] and "httpGet" not in container["startupProbe"]
    nobody = command[2].replace("15021", "9")
    done = subprocess.run([sys.executable, "-c", nobody], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "no Istio sidecar is ready in this pod" in done.stderr
    with ready() as port:
        there = command[2].replace("15021", str(port)).replace("9090", str(port))
        assert subprocess.run([sys.executable, "-c", there], check=False).returncode == 0


def test_pages_let_a_meshs_own_proxies_wait_for_calls_as_long_as_an_answer_may_take() -> None:
    answer = Settings().drain_timeout // 1000
    [values] = [b for b in shown("docs/how-to/istio.md") if b.startswith("# values of Istio's chart")]
    chart = yaml.safe_load(values)
    config = yaml.safe_load(chart["podAnnotations"]["proxy.istio.io/config"])
    drain = int(config["terminationDrainDuration"].removesuffix("s"))
    assert answer <= drain < chart["terminationGracePeriodSeconds"]
    [proxy] = [yaml.safe_load(b) for b in shown("docs/how-to/envoy-gateway.md") if "kind: EnvoyProxy" in b]
    assert int(proxy["spec"]["shutdown"]["drainTimeout"].removesuffix("s")) >= answer
    assert faults([proxy]) == []
