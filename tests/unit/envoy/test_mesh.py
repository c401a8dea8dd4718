"""What attaches spendgate to Istio and to Envoy Gateway."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.istio import patched, proxy

from spendgate.cli.render import command
from spendgate.envoy import bootstrap as b
from spendgate.envoy.envoy_gateway import Target, extension_policies
from spendgate.envoy.istio import cluster_name, envoy_filter
from spendgate.envoy.parts import plain
from spendgate.envoy.processor import ext_proc_filter, spendgate_cluster
from spendgate.errors import ConfigurationError
from spendgate.settings.config import Settings
from spendgate.supervisor.front import envoy_binary

GOLDEN = Path(__file__).parent / "golden"
SERVICE = "spendgate.spendgate.svc.cluster.local"
RENDERED = {
    "envoyfilter-gateway.yaml": ["envoyfilter"],
    "envoyfilter-sidecar.yaml": ["envoyfilter", "--attach", "sidecar", "--namespace", "ml-platform"],
    "extension-policy.yaml": ["extension-policy", "--gateway", "llm", "--namespace", "gateways"],
}


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_the_command_prints_what_was_reviewed(name: str) -> None:
    result = CliRunner().invoke(command, RENDERED[name])
    assert result.exit_code == 0, result.output
    assert result.output == (GOLDEN / name).read_text(encoding="utf-8"), (
        f"if this change is meant: spendgate render {' '.join(RENDERED[name])} > {GOLDEN / name}"
    )


@pytest.mark.parametrize("attach", ["gateway", "sidecar"])
@pytest.mark.parametrize("failure_mode", ["open", "closed"])
def test_a_real_envoy_accepts_the_patches_merged_as_istio_does(
    attach: Any, failure_mode: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"failure_mode": failure_mode})
    rendered = envoy_filter(SERVICE, 9002, "ml", attach, {"app": "x"}, settings)
    base = proxy("127.0.0.1:0", "127.0.0.1:9900", "127.0.0.1:9002", cluster_name(SERVICE, 9002))
    config = patched(base, yaml.safe_load(b.as_yaml(rendered)))
    assert "spendgate.ext_proc" in json.dumps(config)
    path = tmp_path / "envoy.yaml"
    path.write_text(b.as_yaml(config))
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_with_hosts_the_filter_is_off_but_for_them() -> None:
    document = envoy_filter(
        SERVICE, 9002, "ml", "gateway", {"a": "b"}, Settings(), llm_hosts=["x.example", "y.example"]
    )
    patches = document["spec"]["configPatches"]
    [inserted] = [p["patch"]["value"] for p in patches if p["applyTo"] == "HTTP_FILTER"]
    assert inserted["disabled"] is True
    on = {p["match"]["routeConfiguration"]["vhost"]["domainName"]: p["patch"]["value"]["typed_per_filter_config"]
          for p in patches if p["applyTo"] == "VIRTUAL_HOST"}  # fmt: skip
    assert {name: list(value) for name, value in on.items()} == {
        "x.example": [inserted["name"]], "y.example": [inserted["name"]]
    }  # fmt: skip


def test_the_filter_names_the_service_that_it_needs_a_cluster_of() -> None:
    document = envoy_filter(SERVICE, 9002, "ml", "gateway", {"a": "b"}, Settings())
    assert document["metadata"]["annotations"] == {"envoyfilter.istio.io/referenced-services": SERVICE}


def test_istios_cluster_is_checked_and_pinged_as_ours_is() -> None:
    document = envoy_filter(SERVICE, 9002, "ml", "gateway", {"a": "b"}, Settings())
    [value] = [p["patch"]["value"] for p in document["spec"]["configPatches"] if p["applyTo"] == "CLUSTER"]
    ours = plain(spendgate_cluster(["unix:/none"], Settings().message_timeout))
    [check], [own] = value["health_checks"], ours["health_checks"]
    assert check == {**own, "grpc_health_check": {"authority": SERVICE}}
    assert value["typed_extension_protocol_options"] == ours["typed_extension_protocol_options"]
    assert "connection_keepalive" in json.dumps(value)


def test_a_sidecar_is_patched_where_its_application_sends() -> None:
    document = envoy_filter(SERVICE, 9002, "ml", "sidecar", {}, Settings())
    contexts = {p["match"]["context"] for p in document["spec"]["configPatches"]}
    assert contexts == {"SIDECAR_OUTBOUND"}
    assert "workloadSelector" not in document["spec"]


@pytest.mark.parametrize(
    ("attach", "last", "told"),
    [
        ("gateway", True, {}),
        ("sidecar", True, {"x-spendgate-attached": "sidecar"}),
        ("sidecar", False, {"x-spendgate-attached": "sidecar", "x-spendgate-place": "not-last"}),
        ("gateway", False, {"x-spendgate-place": "not-last"}),
    ],
)
def test_a_filter_tells_its_place(attach: Any, last: bool, told: dict[str, str]) -> None:
    document = envoy_filter(SERVICE, 9002, "ml", attach, {"a": "b"}, Settings(), last=last)
    [value] = [
        p["patch"]["value"] for p in document["spec"]["configPatches"] if p["applyTo"] == "HTTP_FILTER"
    ]
    metadata = value["typed_config"]["grpc_service"].get("initial_metadata", [])
    assert {m["key"]: m["value"] for m in metadata} == told


def test_spendgate_is_never_put_before_every_sidecar_of_a_mesh() -> None:
    result = CliRunner().invoke(command, ["envoyfilter", "--attach", "sidecar"])
    assert isinstance(result.exception, ConfigurationError)
    assert "--namespace" in str(result.exception)


@pytest.mark.parametrize("service", ["spendgate", "spendgate.ns", "Spend gate.a.b", ""])
def test_a_short_service_name_is_named(service: str) -> None:
    with pytest.raises(ConfigurationError, match="full name"):
        envoy_filter(service, 9002, "ml", "gateway", {"istio": "egressgateway"}, Settings())


def test_a_selector_that_is_no_label_is_named() -> None:
    result = CliRunner().invoke(command, ["envoyfilter", "--selector", "egress"])
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.output


def test_envoy_gateway_gets_the_same_promises_as_a_plain_envoy() -> None:
    settings = Settings.model_validate({"failure_mode": "closed", "message_timeout": "3s"})
    policy = extension_policies(
        Target("Gateway", "llm"), "gateways", "spendgate", "spendgate", 9002, settings
    )[0]
    [ext_proc] = policy["spec"]["extProc"]
    ours = plain(ext_proc_filter(settings))["typed_config"]
    assert ext_proc["failOpen"] is ours.get("failure_mode_allow", False) is False
    assert ext_proc["messageTimeout"] == ours["message_timeout"] == "3s"
    assert ext_proc["processingMode"]["request"] == {
        "body": "Buffered",
        "attributes": [name for name in ours["request_attributes"] if not name.startswith("filter_state")],
    }
    assert ext_proc["processingMode"]["allowModeOverride"] is True
    assert "body" not in ext_proc["processingMode"]["response"]
    assert ext_proc["backendSettings"]["circuitBreaker"]["maxParallelRequests"] >= 100_000


@pytest.mark.parametrize(("namespace", "granted"), [("spendgate", False), ("gateways", True)])
def test_a_service_of_another_namespace_is_granted(namespace: str, granted: bool) -> None:
    documents = extension_policies(
        Target("Gateway", "llm"), namespace, "spendgate", "spendgate", 9002, Settings()
    )
    grants = [d for d in documents if d["kind"] == "ReferenceGrant"]
    assert bool(grants) is granted
    for grant in grants:
        assert grant["metadata"]["namespace"] == "spendgate"
        assert grant["spec"]["from"][0]["namespace"] == namespace


def test_bodies_up_to_the_setting_pass_an_envoy_gateway() -> None:
    settings = Settings.model_validate({"max_body_bytes": 5_000_000})
    documents = {d["kind"]: d for d in extension_policies(Target("Gateway", "g"), "n", "s", "n", 1, settings)}
    assert documents["ClientTrafficPolicy"]["spec"]["connection"]["bufferLimit"] == "5000000"
    assert documents["BackendTrafficPolicy"]["spec"]["connection"]["bufferLimit"] == "5000000"


def test_a_route_with_a_policy_of_its_own_gets_ours_beside_the_gateways() -> None:
    documents = extension_policies(
        Target("HTTPRoute", "chat"), "apps", "spendgate", "spendgate", 9002, Settings()
    )
    assert [d["kind"] for d in documents] == [
        "EnvoyExtensionPolicy",
        "BackendTrafficPolicy",
        "ReferenceGrant",
    ]
    for document in documents[:2]:
        assert document["metadata"]["name"] == "spendgate-chat"
        assert document["spec"]["targetRefs"] == [
            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat"}
        ]


def test_kinds_that_the_target_has_already_are_left_out_on_demand() -> None:
    argv = ["extension-policy", "--gateway", "llm", "--namespace", "spendgate"]
    result = CliRunner().invoke(command, [*argv, "--without", "ClientTrafficPolicy"])
    assert [d["kind"] for d in yaml.safe_load_all(result.output)] == [
        "EnvoyExtensionPolicy", "BackendTrafficPolicy"
    ]  # fmt: skip
    assert CliRunner().invoke(command, ["extension-policy"]).exit_code == 2
    assert CliRunner().invoke(command, [*argv, "--route", "x"]).exit_code == 2


def test_a_dead_processor_of_envoy_gateway_is_tried_again_and_left() -> None:
    documents = extension_policies(Target("Gateway", "g"), "n", "s", "n", 1, Settings())
    settings = documents[0]["spec"]["extProc"][0]["backendSettings"]
    assert settings["retry"]["numRetries"] == 3
    assert settings["healthCheck"]["passive"]["consecutiveLocalOriginFailures"] == 1
