"""The plan of the house names every package, and the index of helpers every helper of the tests."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SRC = ROOT / "src" / "spendgate"
SUPPORT = ROOT / "tests" / "support"


def parts(folder: Path) -> set[str]:
    """The packages and modules directly in a folder."""
    modules = {p.stem for p in folder.glob("*.py")} - {"__init__"}
    return modules | {p.parent.name for p in folder.glob("*/__init__.py")}


def test_the_plan_names_every_package_and_module_of_the_top() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\[`(\w+)`\]\(\.\./\.\./src/spendgate/(?:\w+|\w+\.py)\)", page))
    assert named == parts(SRC)


def test_no_package_can_stand_outside_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [layers] = [c for c in contracts if c.get("containers") == ["spendgate"]]
    assert layers["exhaustive"] is True
    assert {name for row in layers["layers"] for name in re.findall(r"\w+", row)} == parts(SRC)


@pytest.mark.parametrize("name", ["dialects", "gateway"])
def test_a_folder_of_these_packages_can_be_taken_in_at_a_glance(name: str) -> None:
    for folder in {p.parent for p in (SRC / name).rglob("*.py")}:
        assert len(parts(folder)) < 16, folder


def test_the_index_of_helpers_names_each() -> None:
    index = (SUPPORT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`(\w+)`\]", index, re.MULTILINE)) == parts(SUPPORT)


@pytest.mark.parametrize("name", sorted(p.parent.name for p in SRC.glob("*/__init__.py")))
def test_every_package_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse((SRC / name / "__init__.py").read_text(encoding="utf-8")))


def test_the_hooks_before_a_commit_fetch_nothing() -> None:
    document = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {r["repo"] for r in document["repos"]} == {"local"}
    assert {hook["language"] for r in document["repos"] for hook in r["hooks"]} == {"system"}
