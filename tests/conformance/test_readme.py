"""README's own blocks, from `up` over an SDK and Claude Code to the refusal and a green doctor; only the ports are this
test's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.ports import free_port
from support.scripts import load_script

from spendgate.budget.load import parse_documents

ROOT = Path(__file__).resolve().parents[2]
README = load_script("readme")


def test_readme_does_what_it_says_in_less_than_ten_minutes(tmp_path: Path) -> None:
    assert README.CLAUDE.exists(), f"no {README.CLAUDE}; run scripts/setup_tests.sh"
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    began = time.monotonic()
    assert README.run(tmp_path, {port: str(free_port()) for port in README.PORTS}) == []
    assert time.monotonic() - began < README.LONGEST_S


def test_the_way_from_nothing_to_a_green_doctor_is_in_it() -> None:
    text = "\n".join(block.commands for block in README.blocks())
    steps = ("mock-provider &", "up --upstream", "openai.OpenAI(", "claude -p", "spendgate spend", "kind: LLMBudget",
             "up --policy", "claude -p", "budget --team", "doctor")  # fmt: skip
    at = 0
    for step in steps:
        at = text.find(step, at) + 1
        assert at, step
    budget = text.partition("<<'YAML'\n")[2].partition("YAML\n")[0]
    assert len(budget.splitlines()) == 5 and parse_documents(budget)


@pytest.mark.parametrize(
    ("shown", "output", "lost"),
    [
        ("a  b\n", "x\na b\n", []),
        ("spent 0.0… of …\n", "spent 0.044 of 1\n", []),
        ("spent\nheld\n", "spent\n", ["held"]),
    ],
)
def test_what_readme_shows_and_does_not_come_out_is_found(shown: str, output: str, lost: list[str]) -> None:
    assert README.missing(shown, output) == lost
