"""The export as a CronJob: what kustomize makes of its component, and that its command is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import K8S, kustomized, pod_templates, restricted_faults
from support.npm_schemas import faults

from spendgate.cli.export import command

Json = dict[str, Any]
NAME = "spendgate-export"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """The base with the component, as an overlay of somebody's own would have it."""
    folder = tmp_path_factory.mktemp("overlay").resolve()
    up = Path(*[".."] * len(folder.parts[1:])) / K8S.relative_to("/")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(up / "base")],
        "components": [str(up / f"components/{c}") for c in ("export", "network-policies")],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return [d for d in yaml.safe_load_all(kustomized(folder)) if d]


def pod(documents: list[Json]) -> Json:
    [job] = [d for d in documents if d["kind"] == "CronJob" and d["metadata"]["name"] == NAME]
    found: Json = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def test_its_schema_and_its_security_are_in_order(documents: list[Json]) -> None:
    ours = [d for d in documents if d["metadata"]["name"] == NAME]
    assert {d["kind"] for d in ours} == {"ServiceAccount", "CronJob", "NetworkPolicy"}
    assert faults(ours) == []
    pods = {name: p for name, p in pod_templates(documents) if NAME in name}
    assert pods and {n: restricted_faults(p) for n, p in pods.items()} == {n: [] for n in pods}


def test_it_runs_the_image_and_prices_as_the_gateway_does(documents: list[Json]) -> None:
    [gateway] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "spendgate"]
    theirs = gateway["spec"]["template"]["spec"]
    [mine] = pod(documents)["containers"]
    assert mine["image"] == theirs["containers"][0]["image"]
    values = {e["name"]: e.get("value") for e in theirs["containers"][0]["env"]}
    assert {e["name"]: e["value"] for e in mine["env"]} == {
        name: values[name] for name in ("REDIS_URL", "SPENDGATE_PRICES")
    }
    [prices] = [v["configMap"]["name"] for v in pod(documents)["volumes"] if "configMap" in v]
    assert prices in {v["configMap"]["name"] for v in theirs["volumes"] if "configMap" in v}


def test_its_command_is_known_and_where_to_comes_from_the_secret(
    documents: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    [container] = pod(documents)["containers"]
    [name, *argv] = container["args"]
    assert name == "export"
    assert container["envFrom"] == [{"secretRef": {"name": NAME}}]
    monkeypatch.setenv("SPENDGATE_EXPORT_TO", "s3://bucket/books")
    with command.make_context("export", list(argv)) as context:
        assert (context.params["form"], context.params["url"]) == ("focus-1.4", "s3://bucket/books")


def test_redis_lets_it_in(documents: list[Json]) -> None:
    [redis] = [
        d
        for d in documents
        if d["kind"] == "NetworkPolicy" and d["spec"]["podSelector"].get("matchLabels") == {"app": "redis"}
    ]
    sources = redis["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert NAME in sources
