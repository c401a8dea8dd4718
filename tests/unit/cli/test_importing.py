"""`spendgate import`: documents on stdout, the rest on stderr, in one line each."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from support.processes import SPENDGATE

from spendgate.budget.load import load_policy

TEAMS = [
    {"team_id": "t", "team_alias": "payments", "max_budget": 12.5, "budget_duration": "30d", "rpm_limit": 7}
]


def test_documents_are_on_stdout_and_validate_and_what_is_lost_is_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "teams.json").write_text(json.dumps(TEAMS))
    argv = [SPENDGATE, "import", "litellm", str(tmp_path / "teams.json")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    (tmp_path / "budgets.yaml").write_text(done.stdout)
    assert list(load_policy([tmp_path / "budgets.yaml"]).teams) == ["payments"]
    assert "no equal: " in done.stderr and "rpm_limit" in done.stderr
    assert done.stderr.splitlines()[-1] == "1 LLMBudget, 1 notes"


def test_a_file_of_something_else_is_one_line_that_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n")
    for product in ("litellm", "portkey"):
        argv = [SPENDGATE, "import", product, str(tmp_path / "x.yaml")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1 and "x.yaml" in done.stderr and "give /" in done.stderr
