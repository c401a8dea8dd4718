"""What Prometheus' operator reads of the manifests: where it belongs, labelled for any installation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import K8S, OVERLAYS, ROOT, documents, kustomized

Json = dict[str, Any]
OF_THE_CLUSTER = {
    "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "ValidatingWebhookConfiguration",
}  # fmt: skip


@pytest.mark.parametrize("name", ("base", *OVERLAYS))
def test_what_belongs_to_a_namespace_names_it(name: str) -> None:
    homeless = [
        f"{d['kind']} {d['metadata']['name']}"
        for d in documents(name)
        if "namespace" not in d["metadata"] and d["kind"] not in OF_THE_CLUSTER
    ]
    assert homeless == []


def test_the_label_of_an_operators_release_is_one_patch(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/dashboards-and-alerts.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```yaml\n# kustomization\.yaml\n(.*?)```", page, re.DOTALL)
    up = Path(*[".."] * len(tmp_path.resolve().parts[1:])) / K8S.relative_to("/")
    own = {"resources": [str(up / "overlays/envoy")], **yaml.safe_load(shown)}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    made = [d for d in yaml.safe_load_all(kustomized(tmp_path.resolve())) if d]
    read = [d for d in made if d["kind"] in ("PodMonitor", "PrometheusRule")]
    assert len(read) == 3
    assert {d["metadata"]["labels"]["release"] for d in read} == {"kube-prometheus-stack"}
