"""The reference is what the code says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from support.scripts import load_script

from spendgate.budget.model import Part
from spendgate.cli.main import COMMANDS
from spendgate.identity import headers
from spendgate.records.outcome import Outcome
from spendgate.settings.config import Settings

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PAGES: dict[str, str] = load_script("build_docs").pages()

REFUSALS = (
    "monthly_budget_exceeded", "model_budget_exceeded", "app_not_allowed_for_model", "app_budget_exceeded",
    "spend_rate_exceeded", "request_cost_exceeded", "run_budget_exceeded", "daily_budget_exceeded",
    "unbudgeted", "unpriced_model", "ledger_unavailable",
)  # fmt: skip
"""The reasons of the first release; clients rely on them."""


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_committed_page_is_what_the_code_says(name: str) -> None:
    committed = (REFERENCE / name).read_text(encoding="utf-8")
    assert committed == PAGES[name], "run .venv/bin/python scripts/build_docs.py and commit"


def test_the_states_are_drawn_from_their_table() -> None:
    script = load_script("build_states")
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run scripts/build_states.py and commit"


def test_every_setting_is_documented_with_a_meaning() -> None:
    rows = {line.split("|")[1].strip(): line for line in PAGES["settings.md"].splitlines() if "|" in line}
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no docstring in settings/config.py"
        assert field.description in rows[f"`{name}`"]


@pytest.mark.parametrize(
    "metric",
    [
        "llm_cost_usd_total",
        "llm_cost_estimate_usd_total",
        "llm_budget_remaining_usd",
        "llm_budget_utilization_ratio",
        "llm_requests_rejected_budget_total",
        "llm_model_routing_total",
        "spendgate_spend_usd",
    ],
)
def test_every_metric_of_the_contract_is_documented(metric: str) -> None:
    assert f"| `{metric}` |" in PAGES["metrics.md"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented_with_an_example(command: str) -> None:
    section = PAGES["cli.md"].partition(f"## spendgate {command}\n")[2].partition("\n## ")[0]
    assert f"spendgate {command}" in section, f"{command} --help has no example"


@pytest.mark.parametrize("name", [k for k, v in vars(headers).items() if k.isupper() and isinstance(v, str)])
def test_every_header_is_documented(name: str) -> None:
    assert f"`{getattr(headers, name)}`" in PAGES["headers-and-reasons.md"]


@pytest.mark.parametrize("part", Part.__subclasses__(), ids=lambda p: p.__name__)
def test_every_part_of_a_budget_has_its_section(part: type[Part]) -> None:
    sections = PAGES["llmbudget.md"].split("\n## ")[1:]
    (section,) = [s for s in sections if f"\n\n{inspect.cleandoc(part.__doc__ or '')}\n" in s]
    for field in part.model_fields.values():
        assert f"\n| `{field.alias}` |" in section


@pytest.mark.parametrize("word", [*REFUSALS, *(o.value for o in Outcome)])
def test_every_reason_and_outcome_is_documented(word: str) -> None:
    assert f"| `{word}` |" in PAGES["headers-and-reasons.md"]
