"""`spendgate simulate` on written logs."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from support.usage_lines import record, write_log

from spendgate.cli.main import main
from spendgate.records.outcome import Outcome

POLICY = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: red}
spec:
  team: red
  monthlyBudgetUSD: 1
  overshootPercent: 0
  alertThresholds: [{percent: 100, action: reject}]
"""
ROUTING = "  costRouting: {enabled: true, cheapModel: gpt-4o-mini, complexityThreshold: 500}\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    policy = tmp_path / "proposed.yaml"
    policy.write_text(POLICY)
    records = [
        record(i, app="a|b" if i % 2 else "chat", tokens={"input": 600 + i, "output": 50}) for i in range(400)
    ]
    refused = record(999, outcome=Outcome.REFUSED, tokens={}, cost_nanousd=0, estimate_nanousd=4_000_000)
    other = record(1000, team="blue")
    log = write_log(tmp_path / "usage.jsonl", [*records, refused, other])
    return str(policy), str(log)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["simulate", *arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_json_tells_by_team_and_app_and_adds_up(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    policy, log = files
    code, text, err = run(capsys, "--policy", policy, log, "-o", "json")
    out = json.loads(text)
    assert (code, err) == (0, "")
    blue, red = out["teams"]
    assert (blue["refused"], blue["simulated_usd"], out["refused_in_log"]) == (0, "0.0035", 1)
    assert out["refused_in_log_estimate_usd"] == "0.004"
    assert red["refused"] == red["refusals"]["monthly_budget_exceeded"] > 100
    assert red["first_refused"].startswith("2026-11-24T06:0")
    assert sum(a["refused"] for a in red["apps"]) == red["refused"]
    total = {k: Decimal(v) for k, v in out["total"].items() if k.endswith("_usd")}
    assert total["logged_usd"] == total["simulated_usd"] + total["refused_usd"] + total["saved_usd"]
    assert total["logged_usd"] == Decimal("0.0035") * 401


def test_markdown_and_table_say_the_same(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    policy, log = files
    _, text, _ = run(capsys, "--policy", policy, log, "-o", "json")
    red = json.loads(text)["teams"][1]
    for output in ("md", "table"):
        _, text, _ = run(capsys, "--policy", policy, log, "-o", output)
        assert f"monthly_budget_exceeded {red['refused']}" in text
        assert "1 requests that the log itself refused are left out" in text
        assert "401 exchanges were logged at another price list" in text
        assert "1.40" in text and "1.4035" not in text
    _, text, _ = run(capsys, "--policy", policy, log, "-o", "md")
    assert "| red | a\\|b | 200 |" in text


def test_only_one_team_can_be_asked_for(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    policy, log = files
    _, text, err = run(capsys, "--policy", policy, "--team", "blue", log, "-o", "json")
    assert [t["team"] for t in json.loads(text)["teams"]] == ["blue"]
    assert "nothing of these budgets' teams: red" in err


def test_a_sweep_shows_the_share_routed_against_the_saving(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    policy, log = files
    code, _, err = run(capsys, "--policy", policy, "--sweep", "complexityThreshold=0..1200", log)
    assert (code, "costRouting" in err) == (2, True)
    Path(policy).write_text(POLICY.replace("USD: 1\n", "USD: 1000\n") + ROUTING)
    sweep = ("--sweep", "complexityThreshold=600..1000:200")
    _, text, _ = run(capsys, "--policy", policy, *sweep, log, "-o", "json")
    tried = json.loads(text)
    assert [(t["value"], t["to_cheap_model"]) for t in tried] == [(600, 0), (800, 200), (1000, 400)]
    saved = [Decimal(t["saved_usd"]) for t in tried]
    assert saved[0] == 0 < saved[1] < saved[2]
    for output in ("md", "table"):
        _, text, _ = run(capsys, "--policy", policy, *sweep, log, "-o", output)
        assert "99.8 %" in text


def test_new_prices_show_what_the_same_tokens_would_cost(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    policy, log = files
    prices = tmp_path / "prices.yaml"
    prices.write_text("models:\n  gpt-4o: {input: 1, output: 1}\n")
    _, text, _ = run(capsys, "--policy", policy, "--team", "blue", "--prices", str(prices), log, "-o", "json")
    assert json.loads(text)["total"]["simulated_usd"] == "0.0011"


def test_a_bad_line_stops_with_its_place_or_is_told_and_left_out(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    policy, log = files
    with Path(log).open("a") as file:
        file.write("{}\n{")
    code, text, err = run(capsys, "--policy", policy, log)
    assert (code, text) == (1, "")
    assert f"{log}:403: exchange_id: is missing" in err
    code, text, err = run(capsys, "--policy", policy, "--skip-bad", log, "-o", "json")
    assert (code, json.loads(text)["total"]["requests"]) == (0, 401)
    assert f"left out: {log}:403" in err
    assert "last line was cut off" in err
