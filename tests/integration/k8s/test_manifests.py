"""The manifests as `kubectl kustomize` makes them: reviewed, restricted, probed, drained, and like the code."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.service.ext_proc.v3 import external_processor_pb2
from support.manifests import (
    K8S,
    OVERLAYS,
    ROOT,
    TENANTS,
    documents,
    golden,
    pod_templates,
    restricted_faults,
)
from support.npm_schemas import faults
from support.scripts import load_script

from spendgate.envoy.routes import removed_headers
from spendgate.pricing.load import table
from spendgate.settings.config import load_config

Json = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"
ALL = ("base", *OVERLAYS, *TENANTS)
GENERATED: dict[str, str] = load_script("build_k8s").files()


def of_kind(name: str, kind: str) -> dict[str, Json]:
    return {d["metadata"]["name"]: d for d in documents(name) if d["kind"] == kind}


def test_the_overlays_are_there() -> None:
    assert {"overlays/istio", "overlays/envoy-gateway", "overlays/envoy"} <= set(OVERLAYS)


@pytest.mark.parametrize("name", ALL)
def test_kustomize_makes_what_was_reviewed(name: str) -> None:
    path = GOLDEN / f"{name.replace('/', '-')}.yaml"
    assert path.read_text(encoding="utf-8") == golden(name), (
        "if this change is meant: .venv/bin/python scripts/build_k8s.py --golden, and look at the difference"
    )


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_controller_may_ask_the_prometheus_that_it_is_told_of(name: str) -> None:
    [container] = of_kind(name, "Deployment")["llm-budget-controller"]["spec"]["template"]["spec"][
        "containers"
    ]
    [told] = [e["value"] for e in container["env"] if e["name"] == "SPENDGATE_PROMETHEUS"]
    host, port = told.removeprefix("http://").split(":")
    rules = of_kind(name, "NetworkPolicy")["llm-budget-controller"]["spec"]["egress"]
    allowed = {
        (to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], open_port["port"])
        for rule in rules
        for to in rule.get("to", ())
        if "namespaceSelector" in to
        for open_port in rule["ports"]
    }
    assert (host.split(".")[1], int(port)) in allowed


@pytest.mark.parametrize("name", OVERLAYS)
def test_who_is_told_of_a_redis_may_reach_it(name: str) -> None:
    policies = of_kind(name, "NetworkPolicy")
    told = 0
    for who, workload in of_kind(name, "Deployment").items():
        for container in workload["spec"]["template"]["spec"]["containers"]:
            [*urls] = [e["value"] for e in container.get("env", ()) if e["name"] == "REDIS_URL"]
            for port in {int(port) for url in urls for port in re.findall(r":(\d+)", url)}:
                allowed = {
                    p["port"]
                    for rule in policies[who]["spec"]["egress"]
                    if {"podSelector": {"matchLabels": {"app": "redis"}}} in rule.get("to", ())
                    for p in rule["ports"]
                }
                assert port in allowed, (who, port)
                told += 1
    assert told >= 2


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("overlays/istio", {"principals": ["*"]}),
        ("overlays/istio-ha", {"principals": ["*"]}),
        ("overlays/istio-egress", {"namespaces": ["istio-system"]}),
    ],
)
def test_on_the_port_of_ext_proc_the_mesh_lets_exchanges_pass_and_nothing_else(
    name: str, source: Json
) -> None:
    [policy] = of_kind(name, "AuthorizationPolicy").values()  # a second one that allows would widen it
    ext_proc = external_processor_pb2.DESCRIPTOR.services_by_name["ExternalProcessor"]
    [port] = of_kind(name, "Service")["spendgate"]["spec"]["ports"]
    assert policy["metadata"]["namespace"] == "llm-gateway"
    assert policy["spec"] == {
        "selector": {"matchLabels": {"app": "spendgate"}},
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": source}],
                "to": [
                    {
                        "operation": {
                            "ports": [str(port["port"])],
                            "paths": [f"/{ext_proc.full_name}/Process", "/grpc.health.v1.Health/Check"],
                        }
                    }
                ],
            },
            {"to": [{"operation": {"ports": ["9090"]}}]},
        ],
    }
    mutual = of_kind(name, "PeerAuthentication")["spendgate"]["spec"]
    assert mutual["mtls"] == {"mode": "STRICT"}  # else a caller has no principal


def peers(name: str) -> list[Json]:
    """Who may reach the gateways' gRPC port, by the network policies."""
    [rule] = [
        rule
        for policy in of_kind(name, "NetworkPolicy").values()
        if policy["spec"]["podSelector"].get("matchLabels") == {"app": "spendgate"}
        for rule in policy["spec"].get("ingress", ())
        if {"protocol": "TCP", "port": "grpc"} in rule["ports"]
    ]
    found: list[Json] = rule["from"]
    return found


@pytest.mark.parametrize(
    ("name", "attached"),
    [
        ("overlays/istio", {"spendgate", "spendgate-sidecars"}),
        ("overlays/istio-ha", {"spendgate", "spendgate-sidecars"}),
        ("overlays/istio-egress", {"spendgate"}),
    ],
)
def test_envoys_reach_the_gateways_by_the_label_that_their_filter_is_chosen_by(
    name: str, attached: set[str]
) -> None:
    filters = of_kind(name, "EnvoyFilter")
    assert filters.keys() == attached
    chosen = [f["spec"]["workloadSelector"]["labels"] for f in filters.values()]
    allowed = [p["podSelector"]["matchLabels"] for p in peers(name) if "namespaceSelector" in p]
    of_istio = [x for x in allowed if "gateway.envoyproxy.io/owning-gateway-namespace" not in x]
    assert sorted(map(str, of_istio)) == sorted(map(str, chosen))


def test_of_envoy_gateways_proxies_those_of_its_namespaces_gateways_reach_the_gateways() -> None:
    name = "overlays/envoy-gateway"
    [gateway] = of_kind(name, "Gateway").values()
    assert {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "envoy-gateway-system"}},
        "podSelector": {
            "matchLabels": {
                "gateway.envoyproxy.io/owning-gateway-namespace": gateway["metadata"]["namespace"]
            }
        },
    } in peers(name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_whole_namespace_reaches_the_gateways(name: str) -> None:
    assert peers(name)
    assert all(p.keys() <= {"podSelector", "namespaceSelector"} for p in peers(name))
    assert all(p["podSelector"]["matchLabels"] for p in peers(name))


def test_only_routes_of_its_own_namespace_lead_out_of_the_egress_gateway() -> None:
    [gateway] = of_kind("overlays/istio", "Gateway").values()
    [service] = of_kind("overlays/istio", "VirtualService").values()
    assert gateway["metadata"]["namespace"] == service["metadata"]["namespace"]
    for server in gateway["spec"]["servers"]:
        assert server["hosts"] == [f"./{host}" for host in service["spec"]["hosts"]]


def test_without_monitoring_no_prometheus_is_asked() -> None:
    [container] = of_kind("base", "Deployment")["llm-budget-controller"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert "SPENDGATE_PROMETHEUS" not in {e["name"] for e in container["env"]}


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_what_is_read_off_the_code_is_up_to_date(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")
    assert committed == GENERATED[name], "run .venv/bin/python scripts/build_k8s.py and commit"


@pytest.mark.parametrize("name", ALL)
def test_the_schemas_of_all_kinds_accept_every_document(name: str) -> None:
    ours = ("ai.systemhardening.com",)
    known = [
        d for d in documents(name)
        if d["apiVersion"].partition("/")[0] not in ours and d["kind"] != "CustomResourceDefinition"
    ]  # fmt: skip
    assert faults(known) == []


@pytest.mark.parametrize("name", ("base", *OVERLAYS))
def test_every_pod_is_at_the_restricted_level(name: str) -> None:
    pods = dict(pod_templates(documents(name)))
    assert len(pods) >= 2
    assert {who: restricted_faults(pod) for who, pod in pods.items()} == {who: [] for who in pods}
    labels = of_kind(name, "Namespace")["llm-gateway"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilege"),
        (lambda p: p["containers"][0]["securityContext"].pop("capabilities"), "capabilities"),
        (lambda p: p["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (lambda p: p["securityContext"].pop("seccompProfile"), "seccomp"),
        (lambda p: p["securityContext"].update(runAsUser=0), "user 0"),
        (lambda p: p.update(hostNetwork=True), "hostNetwork"),
        (lambda p: p["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "hostPath"),
        (lambda p: p["containers"][0]["ports"][0].update(hostPort=1), "host port"),
    ],
)
def test_the_check_of_the_restricted_level_sees_a_fault(change: Any, said: str) -> None:
    pod = copy.deepcopy(dict(pod_templates(documents("base")))["Deployment spendgate"])
    change(pod)
    [fault] = restricted_faults(pod)
    assert said in fault


@pytest.mark.parametrize("name", ("base", *OVERLAYS))
def test_every_container_has_probes_requests_a_memory_limit_and_a_pinned_image(name: str) -> None:
    for who, pod in pod_templates(documents(name)):
        if who.startswith(("Job", "CronJob")):
            continue
        for c in pod["containers"]:
            assert c.keys() >= {"readinessProbe", "livenessProbe"}, (who, c["name"])
            assert c["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in c["resources"]["limits"]
            assert c["image"].rpartition(":")[2] not in ("", "latest"), c["image"]
            assert c["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_gateways_memory_is_what_its_workers_and_their_supervisor_take_at_most() -> None:
    [container] = of_kind("base", "Deployment")["spendgate"]["spec"]["template"]["spec"]["containers"]
    env = {x["name"]: x.get("value") for x in container["env"]}
    workers = int(env.get("SPENDGATE_WORKERS", 1))
    assert container["resources"]["limits"]["memory"] == f"{(workers * 768 + 256) // 1024}Gi"


def test_the_gateway_is_spread_scaled_and_never_fewer_while_rolled() -> None:
    spec = of_kind("base", "Deployment")["spendgate"]["spec"]
    keys = [c["topologyKey"] for c in spec["template"]["spec"]["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in spec  # the autoscaler's
    scaler = of_kind("base", "HorizontalPodAutoscaler")["spendgate"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "spendgate"
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_has_several_replicas_survives_a_node_drain(name: str) -> None:
    several = {
        d["metadata"]["name"] for d in documents(name)
        if d["kind"] in ("Deployment", "StatefulSet") and d["spec"].get("replicas", 2) > 1
    }  # fmt: skip
    budgets = of_kind(name, "PodDisruptionBudget")
    assert several <= {d["spec"]["selector"]["matchLabels"]["app"] for d in budgets.values()}


def test_a_pod_has_time_to_leave_the_lists_drain_and_settle() -> None:
    pod = of_kind("base", "Deployment")["spendgate"]["spec"]["template"]["spec"]
    leaves = float(
        pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1].split("(")[1].rstrip(")")
    )
    drains = load_config(K8S / "base/config/config.yaml").drain_timeout / 1000
    settles = 15.0  # House.stop waits so long for a worker after its drain
    assert pod["terminationGracePeriodSeconds"] >= leaves + drains + settles


def test_the_grpc_port_is_named_as_istio_wants_it_and_there_is_a_service_with_an_address_a_pod() -> None:
    services = of_kind("base", "Service")
    for name in ("spendgate", "spendgate-headless"):
        assert [(p["name"], p["port"]) for p in services[name]["spec"]["ports"]] == [("grpc", 9002)]
    assert services["spendgate-headless"]["spec"]["clusterIP"] == "None"
    assert services["spendgate"]["spec"].get("clusterIP") is None


@pytest.mark.parametrize("name", ("base", *OVERLAYS))
def test_settings_and_prices_in_the_configmaps_are_valid(name: str, tmp_path: Path) -> None:
    maps = of_kind(name, "ConfigMap")
    [config] = [m for n, m in maps.items() if n.startswith("spendgate-config-")]
    (tmp_path / "config.yaml").write_text(config["data"]["config.yaml"])
    (tmp_path / "prices.yaml").write_text(maps["spendgate-prices"]["data"]["prices.yaml"])
    settings = load_config(tmp_path / "config.yaml")
    assert settings.log_to == "output"
    assert "llama-3-70b" in table([tmp_path / "prices.yaml"]).prices


def test_envoy_gateways_routes_take_off_what_no_provider_may_see() -> None:
    build = load_script("build_k8s")
    wanted = removed_headers(build.settings("envoy-gateway"))
    for route in of_kind("overlays/envoy-gateway", "HTTPRoute").values():
        for rule in route["spec"]["rules"]:
            [f] = [f["requestHeaderModifier"] for f in rule["filters"] if "requestHeaderModifier" in f]
            assert f["remove"] == wanted


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_monitoring_component_scrapes_every_port_named_metrics(name: str) -> None:
    monitor = of_kind(name, "PodMonitor")["spendgate"]
    [wanted] = monitor["spec"]["selector"]["matchExpressions"]
    ports = {
        d["metadata"]["name"]: [p["name"] for c in d["spec"]["template"]["spec"]["containers"] for p in c["ports"]]
        for d in documents(name) if d["kind"] == "Deployment"
    }  # fmt: skip
    assert set(wanted["values"]) == {n for n, names in ports.items() if "metrics" in names}
    assert [e["port"] for e in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]


@pytest.mark.parametrize("name", ["overlays/envoy", "overlays/envoy-tls", "overlays/envoy-spire"])
def test_prometheus_reaches_the_counters_of_an_envoy_of_ours_and_nothing_else_of_its_admin(name: str) -> None:
    [endpoint] = of_kind(name, "PodMonitor")["llm-envoy"]["spec"]["podMetricsEndpoints"]
    [envoy] = of_kind(name, "Deployment")["llm-envoy"]["spec"]["template"]["spec"]["containers"]
    [port] = [p["containerPort"] for p in envoy["ports"] if p["name"] == endpoint["port"]]
    [config] = [d for n, d in of_kind(name, "ConfigMap").items() if n.startswith("llm-envoy-")]
    bootstrap = yaml.safe_load(config["data"]["envoy.yaml"])
    listener = next(x for x in bootstrap["static_resources"]["listeners"] if x["name"] == "stats")
    assert listener["address"]["socket_address"]["port_value"] == port
    [chain] = listener["filter_chains"]
    [host] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert [r["match"]["path"] for r in host["routes"]] == [endpoint["path"]]
    assert bootstrap["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    rules = of_kind(name, "NetworkPolicy")["llm-envoy"]["spec"]["ingress"]
    assert [r for r in rules if r.get("from") and {p["port"] for p in r["ports"]} == {port}]


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_the_envoy_of_ours_and_the_controller_may_leave_the_cluster(name: str) -> None:
    outside = set()
    for policy in of_kind(name, "NetworkPolicy").values():
        for rule in policy["spec"].get("egress", ()):
            ports = {p["port"] for p in rule.get("ports", ())}
            if "to" not in rule and ports != {53}:
                outside.add(policy["spec"]["podSelector"]["matchLabels"]["app"])
                assert ports <= {443, 6443}
    ours = of_kind(name, "Deployment").keys() & {"llm-envoy"}
    assert outside == {"llm-budget-controller", "llm-budget-webhook"} | ours  # to the API server
    assert of_kind(name, "NetworkPolicy")["default-deny"]["spec"] == {
        "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
    }  # fmt: skip


def test_applications_reach_no_address_outside_the_cluster() -> None:
    [policy] = of_kind("tenants/network-policy", "NetworkPolicy").values()
    assert policy["spec"]["podSelector"] == {}
    for rule in policy["spec"]["egress"]:
        for peer in rule["to"]:
            assert "namespaceSelector" in peer or peer["ipBlock"]["cidr"].startswith("169.254.20.10")


def test_the_mesh_knows_providers_on_the_port_of_the_egress_gateway_only() -> None:
    [sidecar] = of_kind("tenants/istio", "Sidecar").values()
    assert sidecar["spec"]["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    [entry] = of_kind("overlays/istio", "ServiceEntry").values()
    assert [(p["number"], p["protocol"]) for p in entry["spec"]["ports"]] == [(80, "HTTP")]
    rules = of_kind("overlays/istio", "DestinationRule")
    for host in entry["spec"]["hosts"]:
        [port] = rules[host]["spec"]["trafficPolicy"]["portLevelSettings"]
        assert port["tls"] == {"mode": "SIMPLE", "sni": host, "subjectAltNames": [host]}
    [service] = of_kind("overlays/istio", "VirtualService").values()
    for route in service["spec"]["http"]:
        assert route["timeout"] == "0s"
        assert route["retries"] == {"attempts": 0}  # a repeated call is a paid call


def test_samples_are_valid_budgets() -> None:
    from spendgate.budget.load import load_policy

    assert "ml-team" in load_policy([K8S / "samples"]).teams


def test_yaml_files_name_no_alias() -> None:
    for path in K8S.rglob("*.yaml"):
        assert not any(isinstance(t, yaml.AliasToken) for t in yaml.scan(path.read_text(encoding="utf-8")))
