"""`spendgate validate`: every fault one line on stderr and exit 1; else what each file holds."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spendgate.cli.validate import command

BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
spec:
  team: ml
  monthlyBudgetUSD: 8000
"""


def validate(*paths: Path) -> Result:
    return CliRunner().invoke(command, [str(p) for p in paths])


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_what_a_file_is_its_content_tells(tmp_path: Path) -> None:
    budgets = write(tmp_path, "b.yaml", BUDGET)
    prices = write(tmp_path, "p.yaml", "models:\n  gpt-4o: {input: 2.5, output: 10}\n")
    settings = write(tmp_path, "s.yaml", "reservation_ttl: 5s\n")
    keys = write(tmp_path, "k.yaml", f"keys: [{{sha256: {'ab' * 32}, team: ml}}]\n")
    result = validate(prices, settings, budgets, keys)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{prices}: prices of 1 models, valid",
        f"{settings}: 1 settings, valid",
        f"{keys}: 1 API keys, valid",
        f"{budgets}: 1 budget (ml), valid",
    ]
    assert result.stderr == ""


def test_deployments_belong_to_prices_alone_and_to_settings_beside_others(tmp_path: Path) -> None:
    prices = write(tmp_path, "p.yaml", "deployments: {chat-prod: gpt-4o}\n")
    settings = write(tmp_path, "s.yaml", "failure_mode: open\ndeployments: {chat-prod: gpt-4o}\n")
    assert validate(prices, settings).stdout.splitlines() == [
        f"{prices}: prices of 0 models, 1 other names, valid",
        f"{settings}: 2 settings, valid",
    ]


def test_every_fault_of_every_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    budgets = write(tmp_path, "b.yaml", BUDGET + "  x: 1\n  dailyBudgetUSD: -1\n")
    prices = write(tmp_path, "p.yaml", "models:\n  gpt-4o: {input: -2.5, output: 10}\n")
    settings = write(tmp_path, "s.yaml", "reservation_tl: 5s\n")
    result = validate(budgets, prices, settings)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    for start in (
        f"{budgets}:6: spec.x:",
        f"{budgets}:7: spec.dailyBudgetUSD:",
        f"{prices}:2",
        f"{settings}:1",
    ):
        assert any(line.startswith(start) for line in lines), start


def test_two_budgets_for_a_team_in_two_paths_are_found(tmp_path: Path) -> None:
    a, b = write(tmp_path, "a.yaml", BUDGET), write(tmp_path, "b.yaml", BUDGET)
    result = validate(a, b)
    assert result.exit_code == 1
    assert f"already has a budget in {a}:4" in result.stderr


def test_what_is_probably_not_meant_is_noted_and_valid(tmp_path: Path) -> None:
    soft = write(tmp_path, "b.yaml", BUDGET + "  alertThresholds: [{percent: 80, action: alert}]\n")
    result = validate(soft)
    assert result.exit_code == 0
    assert "note: team ml: no threshold rejects: the monthly budget is soft" in result.stdout


@pytest.mark.parametrize("name", ["gone.yaml", "gone/"])
def test_a_path_that_does_not_exist_is_a_fault(tmp_path: Path, name: str) -> None:
    result = validate(tmp_path / name)
    assert result.exit_code == 1
    assert "does not exist; check the path" in result.stderr


def test_help_has_an_example() -> None:
    assert "Example: spendgate validate" in CliRunner().invoke(command, ["--help"]).stdout


def test_no_path_is_wrong_usage() -> None:
    assert CliRunner().invoke(command, []).exit_code == 2
