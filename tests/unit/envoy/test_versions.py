"""The stated minimum versions are true: each release knows every field that is used, from the minimum
on, and not before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.scripts import load_script

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = load_script("build_mesh_versions")
FACTS: dict[str, Any] = json.loads(SCRIPT.OUT.read_text(encoding="utf-8"))
KEEPS_TO_BODY_LIMIT = (1, 29)
"""The first Istio whose proxy, Envoy 1.37, keeps to `request_body_buffer_limit`: 1.36 takes the field, and 3 MB get 413
(SPENDGATE_ENVOY=… pytest tests/integration/supervisor/test_istio.py -k three_megabytes)."""
STATED = {
    "istio": (
        r"Istio (\d+)\.(\d+) or later",
        ["docs/how-to/istio.md", "k8s/overlays/istio/kustomization.yaml"],
    ),
    "envoy_gateway": (
        r"Envoy Gateway (\d+)\.(\d+) or later",
        ["docs/how-to/envoy-gateway.md", "k8s/overlays/envoy-gateway/kustomization.yaml"],
    ),
}


def minor(release: str) -> tuple[int, int]:
    major, second, _ = release.removeprefix("v").split(".")
    return int(major), int(second)


def minimum(mesh: str) -> tuple[int, int]:
    pattern, pages = STATED[mesh]
    found = [re.search(pattern, (ROOT / p).read_text(encoding="utf-8")) for p in pages]
    [said] = {tuple(map(int, f.groups())) for f in found if f}
    return said[0], said[1]


@pytest.mark.parametrize("mesh", sorted(STATED))
def test_every_field_that_is_used_was_looked_for(mesh: str) -> None:
    found = [d for d in SCRIPT.documents(mesh) if d["kind"] != "ReferenceGrant"]
    wanted = SCRIPT.used(found) | (SCRIPT.patched(found) if mesh == "istio" else set())
    assert sorted(wanted) == FACTS[mesh]["checked"], "run scripts/build_mesh_versions.py, it says how"


@pytest.mark.parametrize(("mesh", "release"), [(m, r) for m in sorted(STATED) for r in FACTS[m]["releases"]])
def test_a_release_knows_all_of_it_from_the_stated_minimum_on_and_not_before(mesh: str, release: str) -> None:
    unknown = list(FACTS[mesh]["releases"][release]["unknown"])
    if mesh == "istio" and minor(release) < KEEPS_TO_BODY_LIMIT:
        unknown.append("envoy.config.route.v3.VirtualHost.request_body_buffer_limit")
    if minor(release) >= minimum(mesh):
        assert unknown == []
    else:
        assert unknown != []


@pytest.mark.parametrize("mesh", sorted(STATED))
def test_the_minimum_and_what_came_before_and_after_it_are_in_the_matrix(mesh: str) -> None:
    seen = {minor(r) for r in FACTS[mesh]["releases"]}
    major, second = minimum(mesh)
    assert {(major, second - 1), (major, second), (major, second + 1)} <= seen
