"""What the operators see: metrics, pages, the usage log, the commands."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
import redis
from support.calls import chat
from support.gateway import Gateway
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.provider import Provider

POLICY = policy(
    budget("silent", 123),
    budget("counted", 0.01, defaultModel="gpt-4o-mini"),
    budget("logged", 5),
    budget("broke", 0),
)
FIELDS = {
    "exchange_id", "request_id", "time", "team", "app", "user", "run", "dialect", "model_requested", "model",
    "upstream", "tokens", "cost_usd", "estimate_usd", "price_version", "decision", "reason", "outcome",
    "model_answered", "attempts", "charged_by", "flags",
}  # fmt: skip


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end."""
    return subprocess.run(
        [SPENDGATE, *argv], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_gauges_of_a_team_stand_before_its_first_request(gateway: Gateway) -> None:
    metrics = gateway.metrics()
    team = (("team", "silent"),)
    assert metrics["llm_budget_remaining_usd"][team] == 123
    assert metrics["llm_budget_utilization_ratio"][team] == 0
    assert metrics["spendgate_budget_usd"][team] == 123
    assert metrics["spendgate_reserved_usd"][team] == 0
    assert metrics["llm_budget_utilization_ratio"][(("team", "broke"),)] == 1


def test_counters_and_gauges_equal_the_ledger(gateway: Gateway) -> None:
    requests = refused = 0
    for _ in range(30):
        try:
            chat(gateway, "counted", app=f"app-{requests % 2}", max_tokens=80)
            requests += 1
        except openai.RateLimitError:
            refused += 1
            if refused == 3:
                break
    row = gateway.settled("counted", requests)
    lines = gateway.lines("counted", requests + refused)
    until(
        lambda: gateway.metric("llm_requests_rejected_budget_total", team="counted"),
        lambda n: n == refused,
        "it",
    )
    settled = Decimal(row["settled_usd"])

    def close(value: float, exact: Decimal) -> bool:
        return abs(value - float(exact)) < 1e-9

    for name in ("llm_cost_usd_total", "spendgate_spend_usd"):
        assert close(gateway.metric(name, team="counted"), settled)
        for model, usd in row["models"].items():
            assert close(gateway.metric(name, team="counted", model=model), Decimal(usd))
        for app, usd in row["apps"].items():
            assert close(gateway.metric(name, team="counted", app=app), Decimal(usd))
    estimates = sum((Decimal(x["estimate_usd"]) for x in lines if x["outcome"] == "complete"), Decimal())
    assert close(gateway.metric("llm_cost_estimate_usd_total", team="counted"), estimates)
    for kind, n in row["tokens"].items():
        assert gateway.metric("spendgate_tokens_total", team="counted", kind=kind) == n
    downgraded = [x for x in lines if x["decision"] == "downgrade"]
    assert downgraded
    assert gateway.metric("llm_model_routing_total", reason="budget_pressure") == len(downgraded)
    assert close(gateway.metric("llm_budget_remaining_usd", team="counted"), Decimal("0.01") - settled)
    assert abs(gateway.metric("llm_budget_utilization_ratio", team="counted") - float(settled) / 0.01) < 1e-6
    assert abs(float(row["utilization"]) - float(settled) / 0.01) < 1e-5
    assert gateway.metric("spendgate_open_reservations") == 0
    assert gateway.metric("spendgate_internal_errors_total") == 0


def test_a_usage_line_has_every_field_and_no_word_of_the_prompt(gateway: Gateway) -> None:
    secret = "Xyzzy-plugh"
    headers = {
        "x-llm-user": "ann",
        "x-llm-run": "run-7",
        "x-request-id": "3f1c0e9a-7c1b-4c53-9b8e-0123456789ab",
    }
    chat(gateway, "logged", app="web", text=secret, headers=headers)
    line = gateway.line("logged")
    assert set(line) == FIELDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    wanted = {
        "app": "web", "user": "ann", "run": "run-7", "request_id": headers["x-request-id"], "dialect": "openai-chat",
        "model_requested": "gpt-4o", "model": "gpt-4o", "decision": "allow", "outcome": "complete",
    }  # fmt: skip
    assert {k: line[k] for k in wanted} == wanted
    for path in gateway.data_dir.rglob("*"):
        if path.is_file() and path.suffix in (".jsonl", ".log", ".json"):
            assert secret not in path.read_text(errors="replace"), path


def test_the_admin_pages_answer(gateway: Gateway) -> None:
    assert gateway.admin.get("/readyz").status_code == 200
    assert gateway.admin.get("/healthz").status_code == 200
    page = gateway.admin.get("/")
    assert page.status_code == 200 and "silent" in page.text


def test_a_month_that_is_over_is_shown_by_its_own_budgets_and_a_running_one_is_written_down(
    gateway: Gateway,
) -> None:
    now = datetime.now(UTC)
    past = now.replace(day=1) - timedelta(days=3)
    with redis.Redis.from_url(json.loads((gateway.data_dir / "up.json").read_text())["redis"]) as client:
        until(lambda: client.hlen(f"sg1:budgets:{now:%Y%m}"), lambda n: n == 4, "the budgets of this month")
        document = json.loads(client.hget(f"sg1:budgets:{now:%Y%m}", "logged"))
        document["spec"]["monthlyBudgetUSD"] = 77
        client.hset(f"sg1:budgets:{past:%Y%m}", "logged", json.dumps(document))
    (row,) = gateway.admin.get("/v1/budgets", params={"month": f"{past:%Y-%m}"}).json()
    assert (row["team"], row["month"], row["budget_usd"]) == ("logged", f"{past:%Y-%m}", "77.00")
    running = gateway.admin.get("/v1/budgets", params={"month": f"{now:%Y-%m}"}).json()
    assert {r["team"] for r in running} >= {"silent", "counted", "logged", "broke"}
    assert gateway.admin.get("/v1/budgets", params={"month": "last"}).status_code == 400


def test_the_console_knows_the_users_of_the_gateways_own_log_and_their_numbers_are_the_ledgers(
    gateway: Gateway,
) -> None:
    chat(gateway, "looked-at", app="web", headers={"x-llm-user": "zoe@example"})
    row = gateway.settled("looked-at", 1)
    gateway.line("looked-at")
    down = "/spend?team=looked-at&app=web"
    page = until(
        lambda: gateway.admin.get(f"{down}&user=zoe%40example").text,
        lambda text: f'title="{row["settled_usd"]} USD"' in text,
        "the user's page",
    )
    assert "From usage logs" in page
    assert "zoe@example" in gateway.admin.get(down).text
    assert (gateway.data_dir / "console.sqlite").is_file()
    file = csv.DictReader(io.StringIO(gateway.admin.get(f"/spend.csv?{down.partition('?')[2]}").text))
    assert [Decimal(r["spent_usd"]) for r in file] == [Decimal(row["settled_usd"])]


def test_spend_shows_the_ledgers_numbers_in_every_form(gateway: Gateway) -> None:
    chat(gateway, "tabled")
    row = gateway.settled("tabled", 1)
    where = ("--data-dir", str(gateway.data_dir))
    found = json.loads(run("spend", *where, "-o", "json").stdout)
    assert {r["team"] for r in found} >= {"silent", "counted", "tabled"}
    assert [r for r in found if r["team"] == "tabled"] == [row]
    assert row["budget_usd"] is None
    one = json.loads(run("spend", *where, "--team", "tabled", "-o", "json").stdout)
    assert one == [row]
    table = run("spend", *where, "-o", "table")
    assert table.returncode == 0 and "tabled" in table.stdout
    rows = list(csv.DictReader(io.StringIO(run("spend", *where, "--team", "tabled", "-o", "csv").stdout)))
    assert rows and {r["team"] for r in rows} == {"tabled"}


def explain(gateway: Gateway, *argv: str, **request: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **request}
    done = run("explain", "--policy", str(gateway.policy_path), *argv, "-o", "json", stdin=json.dumps(body))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_explain_says_what_the_gateway_then_does(gateway: Gateway) -> None:
    dry = explain(gateway, "--team", "silent", "--app", "a")
    reply = chat(gateway, "silent", app="a", text="hi", max_tokens=100)
    assert dry["decision"] == "allow"
    assert dry["estimate_usd"] == reply.headers["x-spendgate-estimated-cost-usd"]
    assert dry["model"] == reply.headers["x-spendgate-model"]
    pressed = explain(gateway, "--team", "counted", "--app", "a", "--spent", "0.0085")
    assert (pressed["decision"], pressed["model"]) == ("downgrade", "gpt-4o-mini")
    spent = explain(gateway, "--team", "counted", "--app", "a", "--spent", "0.02")
    assert (spent["decision"], spent["reason"], spent["status"]) == ("reject", "monthly_budget_exceeded", 429)


def test_validate_names_file_line_field_and_remedy(gateway: Gateway, tmp_path: Path) -> None:
    assert run("validate", str(gateway.policy_path)).returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: a}\n"
        "spec:\n  team: a\n  monthlyBudgetUsd: 5\n---\n"
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: b}\n"
        "spec:\n  team: b\n  monthlyBudgetUSD: 5\n  costRouting: {enabled: true}\n"
    )
    done = run("validate", str(bad))
    assert done.returncode == 1
    out = done.stdout + done.stderr
    assert f"{bad}:6" in out and "monthlyBudgetUSD" in out and "cheapModel" in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["up"], 2),
        (["up", "--upstream", "http://127.0.0.1:9", "--policy", "/nowhere/p.yaml"], 1),
        (["up", "--upstream", "http://127.0.0.1:9", "--workers", "0"], 2),
        (["up", "--nonsense"], 2),
        (["spend", "--data-dir", "/nowhere"], 1),
        (["validate", "/nowhere.yaml"], 1),
        (["nonsense"], 2),
    ],
)
def test_errors_are_told_in_plain_lines_with_the_right_exit_status(
    argv: list[str], status: int, tmp_path: Path
) -> None:
    if argv[0] == "up":
        argv = [*argv, "--data-dir", str(tmp_path / "d")]
    done = run(*argv)
    assert done.returncode == status, done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_up_streams_its_decisions_as_lines_and_as_json(provider: Provider, tmp_path: Path) -> None:
    port = free_port()
    argv = ["up", "--upstream", provider.url, "--listen", f"127.0.0.1:{port}", "--workers", "1"]
    argv += ["--admin", f"127.0.0.1:{free_port()}", "--data-dir", str(tmp_path / "data"), "-o", "json"]
    command = Command(tmp_path, argv)
    try:
        client = openai.OpenAI(base_url=f"{command.ready()}/v1", api_key="k")
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            extra_headers={"x-llm-team": "shown"},
        )
        lines = until(
            lambda: [x for x in command.stdout.splitlines() if x.startswith("{")], bool, "a decision"
        )
        assert json.loads(lines[0])["team"] == "shown"
    finally:
        assert command.stop() == 0, command.stderr
