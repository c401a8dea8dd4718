"""The Helm chart, rendered by Helm's own code: the same installation as kustomize makes, in any namespace."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import helm
from support.manifests import K8S, OVERLAYS, ROOT, kustomized, pod_templates, rendered, restricted_faults
from support.npm_schemas import faults
from support.scripts import load_script

Json = dict[str, Any]
GENERATED: dict[str, str] = load_script("build_chart").files()
EXAMPLES = sorted(p.stem for p in helm.EXAMPLES.glob("*.yaml"))
HASHED = re.compile(r"\b((?:spendgate|redis|llm)[a-z-]*)-[bcdfghkmt2456789]{10}\b")
"""A ConfigMap's name as kustomize writes it, with a hash of its content (its alphabet has no vowels)."""
BY_NAME = ("volumes", "volumeMounts", "containers", "initContainers")
OURS = ("checksum/config", "helm.sh/resource-policy")


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_what_is_made_of_the_manifests_is_up_to_date(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")
    assert committed == GENERATED[name], "run .venv/bin/python scripts/build_chart.py and commit"


def test_no_template_is_left_of_a_manifest_that_is_gone() -> None:
    by_hand = {"_helpers.tpl", "config.yaml", "monitoring.yaml", "console.yaml", "NOTES.txt"}
    templates = {p.name for p in (helm.CHART / "templates").iterdir()}
    assert templates - by_hand == {n.rpartition("/")[2] for n in GENERATED if "/templates/" in n}


def unordered(key: str, value: Any) -> bool:
    """Whether it is a list of which the order means nothing: variables name those before them by `$(NAME)`."""
    return key in BY_NAME or (key == "env" and "$(" not in json.dumps(value))


def sorted_lists(node: Any) -> Any:
    """Such lists by name."""
    if isinstance(node, dict):
        return {
            k: sorted(map(sorted_lists, v), key=lambda x: x["name"]) if unordered(k, v) else sorted_lists(v)
            for k, v in node.items()
        }
    return [sorted_lists(x) for x in node] if isinstance(node, list) else node


def comparable(documents: list[Json], namespace: str) -> dict[tuple[str, ...], Json]:
    """Documents by kind, namespace and name; what only one of the two tools has taken out."""
    out: dict[tuple[str, ...], Json] = {}
    for document in sorted_lists(documents):
        if document["kind"] == "Namespace":  # helm's --create-namespace
            continue
        meta = document["metadata"]
        if document["kind"] == "PrometheusRule":
            meta.setdefault("namespace", namespace)
        template = document.get("spec", {}).get("template", {}).get("metadata", {})
        for of in (meta, template):
            for annotation in OURS:
                of.get("annotations", {}).pop(annotation, None)
            if of.get("annotations") == {}:
                del of["annotations"]
        if document["kind"] == "ConfigMap":
            document["data"] = {
                k: yaml.safe_load(v) if k.endswith((".yaml", ".json")) else v
                for k, v in document["data"].items()
            }
        key = (document["kind"], meta.get("namespace", ""), meta["name"])
        assert key not in out
        out[key] = document
    return out


def of_kustomize(text: str, namespace: str) -> dict[tuple[str, ...], Json]:
    """An overlay in another namespace: the name stands nowhere but where it means the namespace."""
    text = HASHED.sub(r"\1", text).replace("image: llm-gateway/", "image: IMAGES/")
    text = text.replace("llm-gateway", namespace).replace("image: IMAGES/", "image: llm-gateway/")
    return comparable([d for d in yaml.safe_load_all(text) if d], namespace)


@pytest.mark.parametrize("namespace", ["llm-gateway", "platform-llm"])
@pytest.mark.parametrize("name", OVERLAYS)
def test_it_installs_what_the_overlay_installs(name: str, namespace: str) -> None:
    values = helm.example(name.removeprefix("overlays/"))
    same(helm.documents(values, namespace), rendered(name), namespace)


def same(chart: list[Json], kustomized: str, namespace: str) -> None:
    """Both install the same, document by document."""
    ours, theirs = comparable(chart, namespace), of_kustomize(kustomized, namespace)
    assert ours.keys() == theirs.keys()
    for key, document in theirs.items():
        assert ours[key] == document, key


COMPONENTS: dict[str, tuple[list[str], Json]] = {
    "a front door": (["front-door"], {**helm.example("istio"), "istio": {"frontDoor": {"enabled": True}}}),
    "providers' keys": (
        ["envoy-gateway-keys"],
        {**helm.example("envoy-gateway"), "envoyGateway": {"keys": True}},
    ),
    "a managed Redis": (["redis-managed"], {"redis": {"mode": "external"}}),
    "a secured Redis": (["redis-secured"], {"redis": {"secured": True}}),
    "spools on volumes": (["persistent-spool"], {"gateway": {"spool": {"persistent": True}}}),
    "a priority class": (["priority"], {"priorityClass": {"create": True}}),
    "open exchanges": (["autoscaling"], {"gateway": {"autoscaling": {"by": "open-exchanges"}}}),
    "KEDA": (["keda"], {"gateway": {"autoscaling": {"by": "keda"}}}),
    "books to a bucket": (["export"], {"export": {"enabled": True}}),
    "a webhook": (["webhook"], {"webhook": {"enabled": True}}),
    "volumes, KEDA and a managed Redis": (
        ["redis-managed", "persistent-spool", "keda"],
        {
            "redis": {"mode": "external"},
            "gateway": {"spool": {"persistent": True}, "autoscaling": {"by": "keda"}},
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(COMPONENTS))
def test_each_component_is_a_switch(what: str, tmp_path: Path) -> None:
    components, values = COMPONENTS[what]
    up = Path(*[".."] * len(tmp_path.resolve().parts[1:])) / K8S.relative_to("/")
    kustomization = {
        "resources": [str(up / "overlays" / values.get("proxy", "envoy"))],
        "components": [str(up / "components" / c) for c in components],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    text = kustomized(tmp_path.resolve())
    if (
        components[-1] == "keda" and "persistent-spool" in components
    ):  # its file says to change the kind by hand
        text = re.sub(r"(?s)(kind: ScaledObject.*?kind: )Deployment", r"\1StatefulSet", text)
    same(helm.documents(values), text, "llm-gateway")


def test_every_component_of_the_manifests_is_known_to_the_chart() -> None:
    tried = {c for components, _ in COMPONENTS.values() for c in components}
    part_of_overlays = {
        "disruption-budgets", "doctor", "monitoring", "mtls-sidecar", "network-policies", "redis", "redis-ha",
        "redis-url", "spire", "tls",
    }  # fmt: skip
    kustomize_alone = {
        "front-door",
        "envoy-gateway-keys",
    }  # somebody's own names and hosts: docs/how-to/helm.md
    known = tried | part_of_overlays | kustomize_alone
    assert {p.parent.name for p in K8S.glob("components/*/kustomization.yaml")} == known


def test_with_all_off_it_is_the_base() -> None:
    off = {"enabled": False}
    values = {
        "proxy": "none", "monitoring": off, "networkPolicies": off, "disruptionBudgets": off, "doctor": off,
        "redis": {
            "mode": "external", "caSecret": "",
            "url": "redis://redis-master.llm-gateway.svc.cluster.local:6379",
        },
    }  # fmt: skip
    same(helm.documents(values), rendered("base"), "llm-gateway")


@pytest.mark.parametrize("namespace", ["platform-llm", "on", "123"])
def test_no_other_namespace_is_named(namespace: str) -> None:
    for name in EXAMPLES:
        documents = helm.documents(helm.example(name), namespace)
        assert {d["metadata"].get("namespace", namespace) for d in documents} <= {namespace, "istio-system"}
        text = json.dumps(documents).replace("llm-gateway/spendgate", "")
        assert "llm-gateway" not in text, name


@pytest.mark.parametrize("name", EXAMPLES)
def test_helm_finds_no_fault_and_the_schemas_of_all_kinds_none(name: str) -> None:
    report = helm.lint(helm.example(name))
    assert (report["errors"], [m for m in report["messages"] if m["severity"] > 1]) == ([], [])
    known = [d for d in helm.documents(helm.example(name)) if d["kind"] not in ("CustomResourceDefinition",)]
    assert faults(known) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_is_at_the_restricted_level(name: str) -> None:
    pods = dict(pod_templates(helm.documents(helm.example(name))))
    assert len(pods) >= 2
    assert {who: restricted_faults(pod) for who, pod in pods.items()} == {who: [] for who in pods}


def test_on_openshift_no_pod_asks_for_a_user_or_group() -> None:
    for who, pod in pod_templates(helm.documents(helm.example("openshift"))):
        own = [pod["securityContext"], *(c["securityContext"] for c in pod["containers"])]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & {k for x in own for k in x}, who
        assert pod["securityContext"]["runAsNonRoot"] is True


def pod(values: Json, who: str) -> Json:
    return dict(pod_templates(helm.documents(values)))[who]


def test_the_way_to_a_managed_redis_can_be_narrowed() -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"protocol": "TCP", "port": 6379}]}
    documents = helm.documents({"redis": {"mode": "external", "egress": [rule]}})
    [policy] = [d for d in documents if d["metadata"]["name"] == "managed-redis"]
    assert policy["spec"]["egress"] == [rule]


def test_a_spool_that_outlives_its_pod_is_a_volume_of_a_stateful_set() -> None:
    documents = helm.documents({"gateway": {"spool": {"persistent": True, "size": "3Gi"}}})
    kinds = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    assert ("Deployment", "spendgate") not in kinds
    own = kinds["StatefulSet", "spendgate"]["spec"]
    [claim] = own["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"]["resources"]["requests"]["storage"] == "3Gi"
    assert own["serviceName"] == "spendgate-headless"
    template = own["template"]["spec"]
    assert "data" not in {v["name"] for v in template["volumes"]}
    [container] = template["containers"]
    assert {"name": "data", "mountPath": "/var/lib/spendgate"} in container["volumeMounts"]
    target = kinds["HorizontalPodAutoscaler", "spendgate"]["spec"]["scaleTargetRef"]
    assert target["kind"] == "StatefulSet"
    assert faults([kinds["StatefulSet", "spendgate"]]) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replica": 2}}, "replica"),
        ({"proxy": "nginx"}, "proxy"),
        ({"redis": {"mode": "sentinel", "secured": True}}, "redis.secured is for redis.mode standalone"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
        ({"controller": {"ownership": "none"}}, "ownership"),
        ({"gateway": {"replicas": "two"}}, "replicas"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(values: Json, said: str) -> None:
    assert said in helm.refusal(values)


def test_a_digest_names_the_image_and_a_version_otherwise() -> None:
    digest = "sha256:" + "a" * 64
    named = {"image": {"repository": "r.example/spendgate", "digest": digest}}
    assert pod(named, "Deployment spendgate")["containers"][0]["image"] == f"r.example/spendgate@{digest}"
    version = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())["appVersion"]
    assert pod({}, "Deployment spendgate")["containers"][0]["image"] == f"llm-gateway/spendgate:{version}"


def test_the_pull_policy_is_that_of_every_container_of_ours() -> None:
    documents = helm.documents({"mtls": "cert-manager", "image": {"pullPolicy": "Always"}})
    ours = [
        c
        for _, pod in pod_templates(documents)
        for c in pod["containers"]
        if c["image"].startswith("llm-gateway/spendgate")
    ]
    assert len(ours) == 5  # gateway and its Envoy, controller, Envoy, doctor
    assert {c.get("imagePullPolicy") for c in ours} == {"Always"}


WORKLOADS = {
    "gateway": "Deployment spendgate", "controller": "Deployment llm-budget-controller",
    "envoy": "Deployment llm-envoy", "webhook": "Deployment llm-budget-webhook", "redis": "StatefulSet redis",
    "doctor": "CronJob spendgate-doctor", "export": "CronJob spendgate-export",
}  # fmt: skip


def test_what_pods_may_be_given_reaches_each_workload() -> None:
    toleration = {"key": "llm", "operator": "Exists"}
    affinity: Json = {"nodeAffinity": {"x": {}}}
    given = {
        "podLabels": {"team": "platform"}, "podAnnotations": {"a": "b"}, "nodeSelector": {"pool": "llm"},
        "tolerations": [toleration], "affinity": affinity, "priorityClassName": "high",
        "resources": {"requests": {"cpu": "7m"}},
    }  # fmt: skip
    env = {"name": "SPENDGATE_WORKERS", "value": "2"}
    programs = ("gateway", "controller", "doctor", "export")
    values: Json = {w: {**given, **({"env": [env]} if w in programs else {})} for w in WORKLOADS}
    values["webhook"]["enabled"] = values["export"]["enabled"] = True
    values["imagePullSecrets"] = [{"name": "pull"}]
    made = helm.documents(values)
    metadata = {
        f"{d['kind']} {d['metadata']['name']}": (
            d["spec"].get("jobTemplate", d)["spec"]["template"]["metadata"]
        )
        for d in made
        if d["kind"] in ("Deployment", "StatefulSet", "CronJob")
    }
    for workload, who in WORKLOADS.items():
        found = dict(pod_templates(made))[who]
        assert metadata[who]["labels"]["team"] == "platform"
        assert metadata[who]["annotations"]["a"] == "b"
        assert found["nodeSelector"] == {"pool": "llm"}
        assert found["tolerations"] == [toleration]
        assert found["affinity"] == affinity
        assert found["priorityClassName"] == "high"
        assert found["imagePullSecrets"] == [{"name": "pull"}]
        assert found["containers"][0]["resources"]["requests"]["cpu"] == "7m"
        if workload in programs:
            assert env in found["containers"][0]["env"]


def test_labels_for_an_operator_that_chooses_by_release_are_on_all_that_it_reads() -> None:
    documents = helm.documents({"monitoring": {"labels": {"release": "kps"}}})
    read = [d for d in documents if d["kind"] in ("PodMonitor", "PrometheusRule")]
    assert len(read) == 3
    assert all(d["metadata"]["labels"]["release"] == "kps" for d in read)


def test_the_console_is_a_service_that_its_namespace_reaches() -> None:
    documents = helm.documents({"console": {"enabled": True}})
    [service] = [
        d for d in documents if d["kind"] == "Service" and d["metadata"]["name"] == "spendgate-console"
    ]
    controller = pod({}, "Deployment llm-budget-controller")["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in controller["ports"]}
    assert ports[service["spec"]["ports"][0]["targetPort"]] == 8080
    assert faults([d for d in documents if d["metadata"]["name"] == "spendgate-console"]) == []


def test_without_autoscaling_the_number_of_gateways_is_a_value() -> None:
    documents = helm.documents({"gateway": {"replicas": 5, "autoscaling": {"enabled": False}}})
    assert "HorizontalPodAutoscaler" not in {d["kind"] for d in documents}
    [gateway] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "spendgate"]
    assert gateway["spec"]["replicas"] == 5


def test_a_mesh_with_revisions_injects_the_gateways() -> None:
    documents = helm.documents({"proxy": "istio", "istio": {"revision": "1-28"}})
    [gateway] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "spendgate"]
    assert gateway["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] == "1-28"


def of_envoy(documents: list[Json]) -> list[Json]:
    """What Envoy is told."""
    kinds = ("EnvoyFilter", "EnvoyExtensionPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy")
    bootstraps = [
        yaml.safe_load(d["data"]["envoy.yaml"])
        for d in documents
        if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "llm-envoy"
    ]
    return [*bootstraps, *(d for d in documents if d["kind"] in kinds)]


@pytest.mark.parametrize("setting", [{"failure_mode": "closed"}, {"max_body_bytes": 1048576}], ids=str)
@pytest.mark.parametrize(
    ("example", "paths"),
    [
        ("envoy", ["overlays/envoy/bootstrap.yaml"]),
        ("envoy-tls", ["overlays/envoy-tls/bootstrap.yaml"]),
        ("istio", ["overlays/istio/envoyfilter-gateway.yaml", "overlays/istio/envoyfilter-sidecars.yaml"]),
        ("envoy-gateway", ["overlays/envoy-gateway/policies.yaml"]),
    ],
)
def test_a_setting_that_envoy_must_know_too_reaches_it(
    setting: Json, example: str, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = helm.example(example)
    documents = helm.documents({**values, "config": setting})
    build = load_script("build_k8s")

    def settings(overlay: str) -> Any:
        own = K8S / "overlays" / overlay / "config.yaml"
        text = (own if own.exists() else K8S / "base/config/config.yaml").read_text(encoding="utf-8")
        path = tmp_path / f"{overlay}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(text), **setting}))
        return build.load_config(path)

    monkeypatch.setattr(build, "settings", settings)
    rendered_anew = build.files()
    told = [d for path in paths for d in yaml.safe_load_all(rendered_anew[f"k8s/{path}"]) if d]
    assert sorted(map(json.dumps, map(in_order, of_envoy(documents)))) == sorted(
        map(json.dumps, map(in_order, told))
    )


def in_order(node: Any) -> Any:
    """With keys in order, to compare as text."""
    if isinstance(node, dict):
        return {k: in_order(node[k]) for k in sorted(node, key=str)}
    return [in_order(x) for x in node] if isinstance(node, list) else node


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": {"message_timeout": "3s"}}, "config.message_timeout is a setting that Envoy must know"),
        ({"config": {"identity": []}}, "envoy.bootstrap"),
        ({"config": {"upstreams": []}}, "envoy.bootstrap"),
        ({**helm.example("istio"), "config": {"message_timeout": "3s"}}, "proxy: none"),
    ],
)
def test_a_setting_that_envoy_would_not_know_is_refused(values: Json, said: str) -> None:
    assert said in helm.refusal(values)


def test_with_a_bootstrap_of_ones_own_every_setting_can_be_given() -> None:
    documents = helm.documents({"config": {"message_timeout": "3s"}, "envoy": {"bootstrap": "admin: {}\n"}})
    assert of_envoy(documents) == [{"admin": {}}]


def test_pages_set_only_values_that_there_are() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = {m for page in pages for m in re.findall(r"--set '?([\w.]+)=", page.read_text(encoding="utf-8"))}
    assert len(named) >= 3
    values = yaml.safe_load((helm.CHART / "values.yaml").read_text(encoding="utf-8"))
    for path in named:
        inside = values
        *parents, last = path.split(".")
        for key in parents:
            inside = inside[key]
        assert last in inside or inside == {}, path


def test_the_application_for_argo_cd_gives_values_that_the_chart_takes() -> None:
    application = yaml.safe_load((ROOT / "deploy/argocd/application.yaml").read_text(encoding="utf-8"))
    source = application["spec"]["source"]
    assert helm.documents(source["helm"]["valuesObject"], application["spec"]["destination"]["namespace"])
    assert source["targetRevision"] == yaml.safe_load((helm.CHART / "Chart.yaml").read_text())["version"]
