"""`holds: learned`: streams hold what their app's answers cost lately, grow with what flows, and end with the money."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until

from spendgate.cli import holds

AGENTS = 12
SAMPLES = 50
PROMPT = "The house rules. " * 24_000
INPUT_USD = Decimal("0.475")
"""95,000 tokens of it at claude-opus-5's plain rate."""
LEARNED = {"holds": "learned"}
FEW = {"holds": "learned", "holdMinSamples": 5, "overshootPercent": 0}
POLICY = policy(
    budget("agents", 25, **LEARNED),
    budget("small-calls", 25, **LEARNED),
    budget("grows", 1, **FEW),
    budget("cut", 0.02, cutStreams=True, **FEW),
    budget("goes-on", 0.02, **FEW),
)
CONFIG = {"reservation_ttl": "1500ms"}
"""Holds are renewed, and grow, twice a second."""


@pytest.fixture(scope="module")
def client() -> httpx.Client:
    return httpx.Client(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=40))


def turn(
    client: httpx.Client, gateway: Gateway, team: str, text: str = PROMPT, **mock: str
) -> httpx.Response:
    """One turn of a coding agent, read to its end."""
    headers = {"x-llm-team": team, "anthropic-version": "2023-06-01", "x-api-key": "none"}
    headers |= {f"x-mock-{k.replace('_', '-')}": v for k, v in mock.items()}
    body = {
        "model": "claude-opus-5",
        "max_tokens": 32_000,
        "stream": True,
        "system": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "go on"}],
    }
    return client.post(f"{gateway.url}/v1/messages", json=body, headers=headers)


def chat(client: httpx.Client, gateway: Gateway, team: str, tokens: int, **mock: str) -> httpx.Response:
    """A stream of so many tokens."""
    headers = {"x-llm-team": team, "x-mock-output-tokens": str(tokens)}
    headers |= {f"x-mock-{k.replace('_', '-')}": v for k, v in mock.items()}
    body = {
        "model": "gpt-4o",
        "max_tokens": 16_000 if tokens > 100 else 200,
        "stream": True,
        "messages": [{"role": "user", "content": "write"}],
    }
    return client.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers)


def in_flight(gateway: Gateway, team: str) -> list[dict[str, Any]]:
    """The team's holds, by `spendgate holds`."""
    arguments = ["--team", team, "--data-dir", str(gateway.data_dir), "-o", "json"]
    found: list[dict[str, Any]] = json.loads(CliRunner().invoke(holds.command, arguments).stdout)
    return found


def held(gateway: Gateway, team: str) -> Decimal:
    return Decimal(gateway.row(team)["reserved_usd"])


def test_with_four_fifths_of_a_budget_spent_twelve_agents_still_work_at_once(
    gateway: Gateway, client: httpx.Client
) -> None:
    for _ in range(SAMPLES):
        assert turn(client, gateway, "agents", cached="95000", output_tokens="300").status_code == 200
    spent = Decimal(gateway.settled("agents", SAMPLES)["settled_usd"])
    rest = int((Decimal("20.1") - spent) / Decimal("0.0000005"))  # tokens from the cache
    assert turn(client, gateway, "agents", cached=str(rest), output_tokens="5").status_code == 200
    assert Decimal(gateway.settled("agents", SAMPLES + 1)["settled_usd"]) > 20
    with ThreadPoolExecutor(AGENTS) as pool:
        running = [
            pool.submit(turn, client, gateway, "agents", cached="95000", output_tokens="300", delay_ms="4000")
            for _ in range(AGENTS)
        ]
        until(lambda: len(in_flight(gateway, "agents")), lambda n: n == AGENTS, "twelve at once")
        assert held(gateway, "agents") < Decimal("2"), "of twelve times two dollars in the worst case"
        assert [r.result().status_code for r in running] == [200] * AGENTS
    assert {x["reason"] for x in gateway.usage("agents")} == {"within_budget"}
    assert 0 < gateway.metric("spendgate_holds_learned_ratio", team="agents") < 0.1


def test_small_calls_say_nothing_of_a_large_prompt(gateway: Gateway, client: httpx.Client) -> None:
    for _ in range(SAMPLES):
        turn(client, gateway, "small-calls", "Hi.", output_tokens="5")
    gateway.settled("small-calls", SAMPLES)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(turn, client, gateway, "small-calls", output_tokens="5", delay_ms="3000")
        until(lambda: held(gateway, "small-calls"), lambda usd: usd > 0, "its hold")
        assert held(gateway, "small-calls") > INPUT_USD
        large.result()


def learn(client: httpx.Client, gateway: Gateway, team: str) -> Decimal:
    """Five short answers; what they cost."""
    for _ in range(5):
        assert chat(client, gateway, team, 10).status_code == 200
    return Decimal(gateway.settled(team, 5)["settled_usd"])


def begin(
    pool: ThreadPoolExecutor, client: httpx.Client, gateway: Gateway, team: str
) -> Future[httpx.Response]:
    """A long stream of $0.04, that the five short ones did not make expect."""
    return pool.submit(chat, client, gateway, team, 4_000, chunk_ms="1")


def test_a_hold_grows_with_what_flows(gateway: Gateway, client: httpx.Client) -> None:
    learn(client, gateway, "grows")
    with ThreadPoolExecutor(1) as pool:
        stream = begin(pool, client, gateway, "grows")
        first = until(lambda: held(gateway, "grows"), lambda usd: usd > 0, "its hold")
        assert first < Decimal("0.01"), "of $0.16 in the worst case"
        until(lambda: held(gateway, "grows"), lambda usd: usd > Decimal("0.02"), "a hold of what flowed")
        stream.result()
    assert gateway.lines("grows", 6)[-1]["tokens"]["output"] == 4_000


def test_a_stream_that_outgrew_its_hold_ends_with_the_money_where_it_may_be_cut(
    gateway: Gateway, client: httpx.Client
) -> None:
    learn(client, gateway, "cut")
    with ThreadPoolExecutor(1) as pool:
        answer = begin(pool, client, gateway, "cut").result()
    assert '"finish_reason":"length"' in answer.text.replace(" ", "")
    line = gateway.lines("cut", 6)[-1]
    assert line["reason"] == "stream_cut"
    assert Decimal(gateway.settled("cut", 6)["settled_usd"]) < Decimal("0.022")


def test_else_it_goes_on_is_charged_and_keeps_others_out_meanwhile(
    gateway: Gateway, client: httpx.Client
) -> None:
    learn(client, gateway, "goes-on")
    with ThreadPoolExecutor(1) as pool:
        stream = begin(pool, client, gateway, "goes-on")
        until(lambda: held(gateway, "goes-on"), lambda usd: usd > Decimal("0.02"), "more than there is")
        assert chat(client, gateway, "goes-on", 10).status_code == 429
        assert stream.result().status_code == 200
    assert gateway.lines("goes-on", 7)[-1]["tokens"]["output"] == 4_000
