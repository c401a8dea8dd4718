"""Many requests at once hold more than a budget has and spend little of it: who waits gets its answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.gateway import KEY, Gateway
from support.policy import budget, policy, thresholds
from support.processes import until
from support.provider import Provider

from spendgate.cli.main import main

AGENTS = 12
TURN_MS = 2_000
TURN_USD = Decimal("0.055085")
"""95,000 tokens from the cache, 10 that are new and 300 of an answer by claude-opus-5."""
PRESSED = thresholds((50, "alert"), (80, "alert_and_downgrade"), (100, "reject"))
POLICY = policy(
    budget("five-minutes", 25, alertThresholds=PRESSED, defaultModel="claude-haiku-4-5"),
    budget("one-hour", 25, alertThresholds=PRESSED, defaultModel="claude-haiku-4-5"),
    budget("run", 1000, maxUSDPerRun=6),
    budget("gateway-waits", 1),
    budget("told", 0.25),
    budget("spent", 1),
    budget("tiny", 0.1),
    budget("asks", 1),
    budget("shell", 1),
)
CONFIG = {"hold_wait": "800ms"}


def turn(gateway: Gateway, team: str, cache: dict[str, str], run: str = "") -> Any:
    """One turn of a coding agent, by the official SDK as it comes: two retries."""
    client = anthropic.Anthropic(base_url=gateway.url, api_key=KEY, timeout=60)
    headers = {"x-llm-team": team, "x-mock-cached": "95000", "x-mock-delay-ms": str(TURN_MS)}
    headers |= {"x-mock-output-tokens": "300"} | ({"x-llm-run": run} if run else {})
    with client.messages.stream(
        model="claude-opus-5",
        max_tokens=32_000,
        system=[{"type": "text", "text": "The house rules. " * 24_000, "cache_control": cache}],
        messages=[{"role": "user", "content": "go on"}],
        extra_headers=headers,
    ) as stream:
        return stream.get_final_message()


def at_once(gateway: Gateway, count: int, team: str, cache: dict[str, str], run: str = "") -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: turn(gateway, team, cache, run), range(count)))


@pytest.mark.parametrize(
    ("team", "cache", "waits"),
    [
        ("five-minutes", {"type": "ephemeral"}, False),
        ("one-hour", {"type": "ephemeral", "ttl": "1h"}, True),
    ],
)
def test_twelve_turns_at_once_all_get_the_model_they_asked_for(
    gateway: Gateway, team: str, cache: dict[str, str], waits: bool
) -> None:
    answers = at_once(gateway, AGENTS, team, cache)
    assert {a.model for a in answers} == {"claude-opus-5"}
    settled = Decimal(gateway.settled(team, AGENTS)["settled_usd"])
    assert settled < 2, settled
    lines = gateway.usage(team)
    assert {(x["decision"], x["reason"]) for x in lines} <= {
        ("allow", "within_budget"),
        ("reject", "budget_held"),
    }
    assert (len(lines) > AGENTS) == waits, len(lines)


def test_a_run_with_less_than_two_holds_takes_its_turns_one_after_the_other(gateway: Gateway) -> None:
    answers = at_once(gateway, 3, "run", {"type": "ephemeral", "ttl": "1h"}, run="task-1")
    assert len(answers) == 3
    assert {x["reason"] for x in gateway.usage("run")} == {"within_budget", "budget_held"}


def test_the_gateway_itself_waits_for_room(gateway: Gateway) -> None:
    def ask(_: int) -> str:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, timeout=60, max_retries=0)
        headers = {"x-llm-team": "gateway-waits", "x-mock-delay-ms": "150", "x-mock-output-tokens": "5"}
        found = client.chat.completions.create(
            model="gpt-4o",
            max_tokens=16_000,
            messages=[{"role": "user", "content": "hello"}],
            extra_headers=headers,
        )
        return str(found.choices[0].finish_reason)

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(ask, range(8)))) == 8  # of which six fit at once
    assert {x["reason"] for x in gateway.usage("gateway-waits")} == {"within_budget"}


def chat(gateway: Gateway, team: str, max_tokens: int, **headers: str) -> httpx.Response:
    body = {"model": "gpt-4o", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hello"}]}
    sent = {"x-llm-team": team, "x-mock-output-tokens": "5", **headers}
    return httpx.post(
        f"{gateway.url}/v1/chat/completions", json=body, headers=sent, timeout=60, trust_env=False
    )


def test_a_refusal_says_apart_what_is_used_and_held_and_when_to_ask_again(gateway: Gateway) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(chat, gateway, "told", 16_000, **{"x-mock-delay-ms": "4000"})
        until(lambda: gateway.row("told")["reserved_usd"], lambda usd: usd != "0.00", "the other's hold")
        held = chat(gateway, "told", 16_000)
        alone = chat(gateway, "tiny", 16_000)
        assert other.result().status_code == 200
    error = held.json()["error"]
    assert (held.status_code, error["code"], held.headers["x-spendgate-reason"]) == (
        429,
        "budget_held",
        "budget_held",
    )
    assert held.headers["x-should-retry"] == "true"
    assert 1 <= int(held.headers["retry-after"]) <= 30
    assert "x-spendgate-reset" not in held.headers
    details = error["details"]
    assert float(held.headers["x-budget-utilization"]) == round(float(details["estimated_usd"]) / 0.25, 4)
    assert (details["bound"], details["spent_usd"], details["budget_usd"]) == ("month", "0.00", "0.25")
    assert Decimal(details["held_usd"]) > Decimal("0.15")
    assert Decimal(held.headers["x-budget-remaining-usd"]) == Decimal("0.25") - Decimal(details["held_usd"])
    assert "has used $0.00 of its $0.25" in error["message"] and "is held for requests" in error["message"]
    assert (alone.status_code, alone.json()["error"]["code"]) == (429, "monthly_budget_exceeded")
    assert (alone.headers["x-should-retry"], "retry-after" in alone.headers) == ("false", False)


def test_an_answer_tells_what_the_tightest_bound_has_left_beside_its_hold(gateway: Gateway) -> None:
    answer = chat(gateway, "spent", 1_000)
    held = Decimal(answer.headers["x-spendgate-estimated-cost-usd"])
    assert Decimal(answer.headers["x-budget-remaining-usd"]) == 1 - held
    assert answer.headers["x-budget-utilization"] == str(round(float(held), 4))


def left(gateway: Gateway, query: str = "", **headers: str) -> httpx.Response:
    return httpx.get(
        f"{gateway.url}/spendgate/v1/budget{query}", headers=headers, timeout=60, trust_env=False
    )


def test_the_gateway_tells_callers_what_they_have_left_and_asks_no_provider(
    gateway: Gateway, provider: Provider
) -> None:
    chat(gateway, "asks", 1_000)
    used = Decimal(gateway.settled("asks", 1)["settled_usd"])
    before = provider.last()
    answer = left(gateway, "?model=gpt-4o", **{"x-llm-team": "asks", "x-llm-app": "chat"})
    found = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (found["team"], found["app"], Decimal(found["settled_usd"])) == ("asks", "chat", used)
    assert (found["limit_usd"], Decimal(found["remaining_usd"])) == ("1.00", 1 - used)
    assert found["model"]["affordable_output_tokens"] == int((1 - used) * 100_000)
    assert left(gateway, **{"x-llm-team": "never-heard-of"}).json()["limit_usd"] is None
    for method, path in (("POST", ""), ("GET", "/more"), ("DELETE", "/../../spendgate/v1/budget")):
        refused = httpx.request(
            method,
            f"{gateway.url}/spendgate/v1/budget{path}",
            headers={"x-llm-team": "asks"},
            trust_env=False,
        )
        assert refused.status_code in (404, 405), (method, path)
    assert provider.last() == before


def test_the_command_prints_it_as_a_table_as_json_and_as_one_line(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(["budget", "--team", "shell", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    code, out, _ = run("--url", f"{gateway.url}/v1", "-o", "line", "--model", "gpt-4o")
    assert (code, out) == (0, "$1.00 of $1.00 left (month), 100,000 tokens\n")
    assert json.loads(run("--url", gateway.url, "-o", "json")[1])["remaining_usd"] == "1.00"
    _, table, _ = run("--url", gateway.url, "--header", "X-LLM-App: bash")
    assert "shell / bash" in table and "$1.00" in table and "month" in table
    code, _, err = run("--url", f"http://127.0.0.1:{gateway.admin_port}")
    assert code == 1 and "spendgate gateway" in err
    code, _, err = run("--url", "http://127.0.0.1:1")
    assert code == 1 and "--url" in err
