"""A budget is a bound, not a wish: many clients at once on the last dollar, two workers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Iterator
from decimal import Decimal

import anthropic
import openai
import pytest
from support.calls import chat, who
from support.gateway import KEY, Gateway
from support.invoice import total
from support.policy import budget, policy
from support.provider import Provider

POLICY = policy(
    budget("strict", 1, overshootPercent=0, alertThresholds=[{"percent": 100, "action": "reject"}]),
    budget("usual", 0.2, alertThresholds=[{"percent": 100, "action": "reject"}]),
)
PROMPT = [{"role": "user", "content": "Tell me a story of a budget."}]


class Watch:
    """Polls the admin for a team's committed amount from a thread of its own."""

    def __init__(self, gateway: Gateway, team: str) -> None:
        self.seen: list[Decimal] = []
        self._gateway, self._team, self._stop = gateway, team, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            row = self._gateway.row(self._team)
            self.seen.append(Decimal(row["settled_usd"]) + Decimal(row["reserved_usd"]))
            time.sleep(0.03)


async def storm(gateway: Gateway, team: str, requests: int, at_once: int) -> list[str]:
    """Send OpenAI and Anthropic requests, JSON and streams mixed; what became of each."""
    dice = random.Random(4)
    gpt = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, timeout=120)
    claude = anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY, timeout=120)
    gate = asyncio.Semaphore(at_once)

    async def one(n: int, length: int) -> str:
        cap, headers = 300, who(team, f"app-{n % 5}", output_tokens=length)
        async with gate:
            try:
                if n % 4 == 0:
                    await gpt.chat.completions.create(
                        model="gpt-4o", messages=PROMPT, max_tokens=cap, extra_headers=headers
                    )
                elif n % 4 == 1:
                    stream = await gpt.chat.completions.create(
                        model="gpt-4o", messages=PROMPT, max_tokens=cap, stream=True, extra_headers=headers
                    )
                    async for _ in stream:
                        pass
                elif n % 4 == 2:
                    await claude.messages.create(
                        model="claude-sonnet", messages=PROMPT, max_tokens=cap, extra_headers=headers
                    )
                else:
                    async with claude.messages.stream(
                        model="claude-sonnet", messages=PROMPT, max_tokens=cap, extra_headers=headers
                    ) as events:
                        await events.until_done()
            except (openai.RateLimitError, anthropic.RateLimitError):
                return "refused"
            return "answered"

    async with gpt, claude:
        return await asyncio.gather(*(one(n, dice.randint(220, 300)) for n in range(requests)))


@pytest.fixture(scope="module")
def stormy(gateway: Gateway, provider: Provider) -> Iterator[tuple[list[str], Watch, Decimal]]:
    """400 requests, 40 at a time, on a dollar."""
    bill = provider.billed()
    with Watch(gateway, "strict") as watch:
        became = asyncio.run(storm(gateway, "strict", 400, 40))
        while True:  # then use up what is left
            try:
                chat(gateway, "strict", max_tokens=20)
            except openai.RateLimitError:
                break
        gateway.quiet("strict")
    yield became, watch, total(bill.now())


Stormy = tuple[list[str], Watch, Decimal]


def test_forty_at_once_on_a_dollar_never_pass_the_bound(stormy: Stormy) -> None:
    became, watch, _ = stormy
    assert set(became) == {"answered", "refused"}
    assert len(watch.seen) > 10
    assert max(watch.seen) <= 1


def test_the_ledger_equals_the_invoice_to_the_nano_dollar(gateway: Gateway, stormy: Stormy) -> None:
    became, _, invoice = stormy
    row = gateway.quiet("strict")
    assert Decimal(row["settled_usd"]) == invoice
    assert row["reserved_usd"] == "0.00"
    lines = [x for x in gateway.lines("strict", len(became)) if x["outcome"] != "refused"]
    assert {x["outcome"] for x in lines} == {"complete"}
    assert row["requests"] == len(lines) == len({x["exchange_id"] for x in lines})
    assert sum(Decimal(x["cost_usd"]) for x in lines) == invoice


def test_at_least_98_percent_of_the_budget_were_usable(gateway: Gateway, stormy: Stormy) -> None:
    assert Decimal("0.98") <= Decimal(gateway.quiet("strict")["settled_usd"]) <= 1


def test_with_the_usual_overshoot_settled_stays_within_five_percent(
    gateway: Gateway, provider: Provider
) -> None:
    bill = provider.billed()
    with Watch(gateway, "usual") as watch, contextlib.suppress(openai.RateLimitError):
        assert "refused" in asyncio.run(storm(gateway, "usual", 120, 40))
        for _ in range(100):
            chat(gateway, "usual", max_tokens=20)
    settled = Decimal(gateway.quiet("usual")["settled_usd"])
    assert settled == total(bill.now())
    assert max(watch.seen) <= Decimal("0.21")
    assert Decimal("0.196") <= settled <= Decimal("0.21")
