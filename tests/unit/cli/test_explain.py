"""`spendgate explain`: the decision on given spend, and why."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spendgate.cli.explain import command

BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
spec:
  team: ml
  monthlyBudgetUSD: 8000
  modelLimits: [{modelPattern: "gpt-4o", allowedApps: [chat]}]
  defaultModel: gpt-4o-mini
"""
CHAT = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
CLAUDE = {"model": "claude-sonnet", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "b.yaml"
    path.write_text(BUDGET)
    return path


def explain(policy: Path, body: dict[str, Any], *more: str) -> dict[str, Any]:
    args = ["--policy", str(policy), "--team", "ml", "--app", "chat", "-o", "json", *more]
    result = CliRunner().invoke(command, args, input=json.dumps(body), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_within_budget_the_request_stays_as_it_is(policy: Path) -> None:
    found = explain(policy, CHAT)
    assert (found["decision"], found["model"], found["dialect"]) == ("allow", "gpt-4o", "openai-chat")
    assert found["output_cap"] == 100


def test_spend_past_the_threshold_shows_the_downgrade(policy: Path) -> None:
    found = explain(policy, CHAT, "--spent", "6400")
    assert (found["decision"], found["reason"], found["model"]) == (
        "downgrade", "budget_pressure", "gpt-4o-mini",
    )  # fmt: skip
    assert found["candidates"][0]["from_usd"] == "6400.00"
    assert explain(policy, CHAT, "--spent", "6399.99")["decision"] == "allow"


def test_a_spent_budget_shows_the_refusal_with_its_message(policy: Path) -> None:
    found = explain(policy, CHAT, "--spent", "8000")
    assert (found["decision"], found["reason"]) == ("reject", "monthly_budget_exceeded")
    assert "Team ml has used $8,000.00 of its $8,000.00" in found["message"]


def test_an_app_that_is_not_allowed_is_refused_with_403(policy: Path) -> None:
    found = explain(policy, CHAT, "--app", "other")
    assert (found["status"], found["reason"]) == (403, "app_not_allowed_for_model")


def test_the_dialect_is_guessed_by_shape_or_told_by_path(policy: Path) -> None:
    assert explain(policy, CLAUDE)["dialect"] == "anthropic-messages"
    assert explain(policy, CLAUDE, "--path", "/v1/chat/completions")["dialect"] == "openai-chat"


def test_a_downgrade_that_the_dialect_can_not_serve_is_explained(policy: Path) -> None:
    found = explain(policy, CLAUDE, "--spent", "7000")
    assert (found["decision"], found["model"]) == ("allow", "claude-sonnet")
    assert found["kept_because"] == "dialect"


def test_text_output_names_candidates_and_decision(policy: Path) -> None:
    args = ["--policy", str(policy), "--team", "ml", "--app", "chat", "--spent", "7000"]
    text = CliRunner().invoke(command, args, input=json.dumps(CHAT)).stdout
    assert "candidate  1. gpt-4o-mini" in text
    assert "decision   downgrade: budget_pressure" in text


@pytest.mark.parametrize("spent", ["-1", "much"])
def test_an_amount_that_is_none_is_wrong_usage(policy: Path, spent: str) -> None:
    args = ["--policy", str(policy), "--team", "ml", "--spent", spent]
    result = CliRunner().invoke(command, args, input="{}")
    assert result.exit_code == 2
    assert "--spent" in result.output


def test_help_has_an_example() -> None:
    assert "spendgate explain --policy" in CliRunner().invoke(command, ["--help"]).stdout


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/responses", "openai-responses"),
        ("/v2/chat", "cohere-chat"),
        ("/api/chat", "ollama"),
        ("/v1beta/models/gpt-4o:generateContent", "gemini"),
        ("/model/gpt-4o/converse", "bedrock-converse"),
    ],
)
def test_a_refusal_is_told_whatever_the_dialects_shape(policy: Path, path: str, dialect: str) -> None:
    found = explain(policy, {"model": "gpt-4o"}, "--path", path, "--spent", "8000")
    assert (found["decision"], found["dialect"]) == ("reject", dialect)
    assert "Team ml has used $8,000.00" in found["message"]
