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
from spendgate.envoy.envoy_gateway import extension_policies
from spendgate.envoy.istio import cluster_name, envoy_filter
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
    policy = extension_policies("llm", "gateways", "spendgate", "spendgate", 9002, settings)[0]
    [ext_proc] = policy["spec"]["extProc"]
    plain = b.ext_proc_filter(settings)["typed_config"]
    assert ext_proc["failOpen"] is plain["failure_mode_allow"] is False
    assert ext_proc["messageTimeout"] == plain["message_timeout"] == "3s"
    assert ext_proc["processingMode"]["request"] == {
        "body": "Buffered",
        "attributes": [name for name in plain["request_attributes"] if not name.startswith("filter_state")],
    }
    assert ext_proc["processingMode"]["allowModeOverride"] is True
    assert "body" not in ext_proc["processingMode"]["response"]
    assert ext_proc["backendSettings"]["circuitBreaker"]["maxParallelRequests"] >= 100_000


@pytest.mark.parametrize(("namespace", "granted"), [("spendgate", False), ("gateways", True)])
def test_a_service_of_another_namespace_is_granted(namespace: str, granted: bool) -> None:
    documents = extension_policies("llm", namespace, "spendgate", "spendgate", 9002, Settings())
    grants = [d for d in documents if d["kind"] == "ReferenceGrant"]
    assert bool(grants) is granted
    for grant in grants:
        assert grant["metadata"]["namespace"] == "spendgate"
        assert grant["spec"]["from"][0]["namespace"] == namespace


def test_bodies_up_to_the_setting_pass_an_envoy_gateway() -> None:
    settings = Settings.model_validate({"max_body_bytes": 5_000_000})
    documents = {d["kind"]: d for d in extension_policies("g", "n", "s", "n", 1, settings)}
    assert documents["ClientTrafficPolicy"]["spec"]["connection"]["bufferLimit"] == "5000000"
    assert documents["BackendTrafficPolicy"]["spec"]["connection"]["bufferLimit"] == "5000000"
