"""Alerts of a running `spendgate up`: real Envoy, real workers, a Slack with its limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from support.calls import chat
from support.fake_slack import FakeSlack
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import SPENDGATE
from support.provider import Provider

PRICES = "models:\n  gpt-4o: {input: 0, output: 100000}\n"
"""An output token costs $0.10, so ten cost a dollar."""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path / "provider") as running:
        yield running


async def output(*argv: str) -> bytes:
    process = await asyncio.create_subprocess_exec(SPENDGATE, *argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def test_up_posts_each_crossing_once_in_order_and_a_restart_nothing(
    provider: Provider, tmp_path: Path
) -> None:
    async with FakeSlack(second=1.0) as slack:
        env = {"SLACK_WEBHOOK_URL": slack.webhook, "SPENDGATE_RUNBOOK_URL": "https://wiki/llm"}

        def start() -> Gateway:
            return Gateway(
                tmp_path / "gateway", provider.url, policy(budget("red", 10)), prices=PRICES, env=env
            )

        def spend(gateway: Gateway, calls: int) -> None:
            for _ in range(calls):
                chat(gateway, "red", app="assistant")

        gateway = await asyncio.to_thread(start)
        try:
            for calls, posts in ((5, 1), (3, 2), (2, 3)):
                await asyncio.to_thread(spend, gateway, calls)
                await slack.until(posts)
            with pytest.raises(openai.RateLimitError):
                await asyncio.to_thread(spend, gateway, 1)
            [row] = json.loads(await output("budgets", "--data-dir", str(gateway.data_dir), "-o", "json"))
        finally:
            await asyncio.to_thread(gateway.__exit__, None, None, None)
        gateway = await asyncio.to_thread(start)
        try:
            await asyncio.sleep(2)  # four looks of the loop
        finally:
            await asyncio.to_thread(gateway.__exit__, None, None, None)

    heads = [text.split("\n")[0] for text in slack.texts]
    assert heads == [
        f"LLM budget of team red: 50 % reached in {_month(heads)}, $5.00 spent of $10.00.",
        f"LLM budget of team red: 80 % reached in {_month(heads)}, $8.00 spent of $10.00.",
        f"LLM budget of team red: 100 % reached in {_month(heads)}, $10.00 spent of $10.00. "
        "The budget is exhausted.",
    ]
    assert all(
        "assistant $" in text and "gpt-4o $" in text and "https://wiki/llm" in text for text in slack.texts
    )
    assert (row["phase"], row["settled_usd"], row["utilization"]) == ("Exhausted", "10.00", 1.0)


def _month(heads: list[str]) -> str:
    return heads[0].split(" reached in ")[1][:7]
