"""The doctor as a Job: what kustomize makes of its component, and that its command is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import K8S, kustomized, pod_templates, restricted_faults
from support.npm_schemas import faults

from spendgate.cli.doctor import command

Json = dict[str, Any]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """The base with the component, as an overlay of somebody's own would have it."""
    folder = tmp_path_factory.mktemp("overlay").resolve()
    up = Path(*[".."] * len(folder.parts[1:])) / K8S.relative_to("/")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(up / "base")],
        "components": [str(up / "components/doctor")],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return [d for d in yaml.safe_load_all(kustomized(folder)) if d]


def named(documents: list[Json], kind: str) -> Json:
    [found] = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == "spendgate-doctor"]
    return found


def container(documents: list[Json]) -> Json:
    job = named(documents, "CronJob")
    [found] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    out: Json = found
    return out


def test_its_schema_and_its_security_are_in_order(documents: list[Json]) -> None:
    ours = [d for d in documents if d["metadata"]["name"] == "spendgate-doctor"]
    assert {d["kind"] for d in ours} == {"ServiceAccount", "CronJob", "NetworkPolicy"}
    assert faults(ours) == []
    pods = {name: pod for name, pod in pod_templates(documents) if "spendgate-doctor" in name}
    assert pods and {n: restricted_faults(p) for n, p in pods.items()} == {n: [] for n in pods}


def config_maps(pod: Json) -> dict[str, str]:
    return {v["name"]: v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}


def test_it_runs_the_image_and_reads_the_configuration_of_the_gateway(documents: list[Json]) -> None:
    [gateway] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "spendgate"]
    pod = gateway["spec"]["template"]["spec"]
    mine = named(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert container(documents)["image"] == pod["containers"][0]["image"]
    kept = {"policy": "spendgate-policy"}  # for a gateway without Redis; the doctor asks the gateway
    assert config_maps(mine) | kept == config_maps(pod)
    theirs = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    for variable in container(documents)["env"]:
        if variable["name"] in theirs:
            assert variable["value"] == theirs[variable["name"]], variable


def test_its_command_and_variables_are_known_to_the_command(documents: list[Json]) -> None:
    [name, *argv] = container(documents)["args"]
    assert name == "doctor"
    with command.make_context("doctor", list(argv)) as context:
        assert context.params["output"] == "json"
    known = {v for p in command.params for v in ([p.envvar] if isinstance(p.envvar, str) else p.envvar or [])}
    assert {e["name"] for e in container(documents)["env"]} <= known
