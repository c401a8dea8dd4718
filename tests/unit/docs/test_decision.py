"""The page of the decision's rules: a comment that cites a rule leads to it, and each rule to tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "decision.md").read_text(encoding="utf-8")
RULES = {int(n): text for n, text in re.findall(r"^## Rule (\d+)\n(.*?)(?=^## )", PAGE, re.M | re.S)}
TESTS = ROOT / "tests" / "unit" / "budget" / "test_rules.py"
NAMES = {n.name for n in ast.parse(TESTS.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)}
_CITED = re.compile(r"\b[Rr]ules? (\d+)(?:(?:, (\d+))* (?:and|to) (\d+))?")


def test_the_rules_are_numbered_without_a_gap() -> None:
    assert list(RULES) == list(range(1, 15))


@pytest.mark.parametrize("number", RULES)
def test_each_rule_names_tests_that_exist(number: int) -> None:
    named = set(re.findall(r"`(test_\w+)`", RULES[number]))
    assert named
    assert named <= NAMES


def test_each_numbered_test_is_named_by_its_rules() -> None:
    for name in NAMES:
        numbered = re.match(r"test_(\d+)(?:_and_(\d+))?_", name)
        for number in numbered.groups() if numbered else ():
            assert number is None or f"`{name}`" in RULES[int(number)], name


def test_a_comment_that_cites_a_rule_cites_one_of_the_page() -> None:
    cited = {
        int(n)
        for file in (ROOT / "src").rglob("*.py")
        for found in _CITED.findall(file.read_text(encoding="utf-8"))
        for n in found
        if n
    }
    assert len(cited) > 5
    assert cited <= set(RULES)


def test_no_comment_cites_a_contract_that_is_not_in_the_repository() -> None:
    citing = [
        f"{file.relative_to(ROOT)}:{i}"
        for folder in ("src", "tests", "scripts")
        for file in (ROOT / folder).rglob("*.py")
        if file != Path(__file__) and "node_modules" not in file.parts
        for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b(?:[Tt]he|[Oo]f the) contract\b|the design, ", line)
    ]
    assert citing == []
