from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from spendgate.budget.model import BudgetSpec
from spendgate.cli.render import command
from spendgate.controller.crd import crd_yaml, custom_resource_definition, spec_schema

ROOT = Path(__file__).resolve().parents[3]


def nodes(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node below one."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


def test_the_committed_crd_is_what_the_model_says() -> None:
    committed = (ROOT / "k8s" / "base" / "crd.yaml").read_text()
    assert committed == crd_yaml(), "run: spendgate render crd > k8s/base/crd.yaml"


def test_render_crd_prints_the_crd() -> None:
    result = CliRunner().invoke(command, ["crd"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.output) == custom_resource_definition()


def test_the_schema_is_structural() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    allowed = {
        "type", "properties", "items", "required", "enum", "default", "format", "description",
        "minimum", "maximum", "minLength", "maxLength",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    }  # fmt: skip
    for path, node in nodes(version["schema"]["openAPIV3Schema"]):
        assert set(node) <= allowed, path
        assert node["type"] in ("object", "array", "string", "number", "integer", "boolean"), path


def test_every_field_of_the_model_is_there_and_described() -> None:
    schema = spec_schema()
    assert set(schema["properties"]) == {f.alias for f in BudgetSpec.model_fields.values()}
    for path, node in nodes(schema):
        if path and not path.endswith("[]"):
            assert node.get("description"), path


def test_no_field_of_the_first_release_is_required_or_bounded_as_text() -> None:
    schema = spec_schema()
    assert "required" not in schema
    for name in ("alertThresholds", "modelLimits"):
        assert "required" not in schema["properties"][name]["items"]
    assert "maxLength" not in schema["properties"]["team"]
    assert "minLength" not in schema["properties"]["modelLimits"]["items"]["properties"]["modelPattern"]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (".monthlyBudgetUSD", {"type": "number", "minimum": 0, "maximum": 9_000_000}),
        (".alertThresholds[].percent", {"type": "integer", "minimum": 1, "maximum": 1000}),
        (".costRouting.complexityThreshold", {"default": 500}),
        (".mode", {"enum": ["enforce", "audit"], "default": "enforce"}),
        (".emergencyBufferPercent", {"default": 10}),
        (".increase[].until", {"type": "string", "format": "date-time"}),
    ],
)
def test_bounds_enums_and_defaults_come_from_the_model(path: str, wanted: dict[str, Any]) -> None:
    node = dict(nodes(spec_schema()))[path]
    assert {k: node[k] for k in wanted} == wanted


def test_the_columns_are_those_of_the_contract() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    assert [c["name"] for c in columns if not c.get("priority")] == [
        "Team", "Budget", "Spent", "Utilization", "Ready", "Reason"
    ]  # fmt: skip
    assert [c["name"] for c in columns if c.get("priority")] == ["Held", "Forecast", "Phase", "Age"]
