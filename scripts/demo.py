"""`make demo`: a budget from its first cent to its last, with the official SDKs through a real Envoy.

Starts a mock provider and `spendgate up` on free ports, tells what happens at each step, and compares the
ledger with the provider's own books. Exit 0 if every step went as promised and the books are equal to the
nano-dollar; else 1, with the difference. Nothing leaves this machine, and nothing stays on it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from decimal import Decimal
from typing import Any

import anthropic
import openai
from demo_books import compare
from demo_house import DemoFailure, House
from demo_stage import BRIEF, LARGE, MINI, Stage, expect
from rich.console import Console
from rich.table import Table

from spendgate.money import nano_to_usd
from spendgate.pricing.load import table as price_table

POLICY = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: payments}
spec:
  team: payments
  monthlyBudgetUSD: 1.00
  alertThresholds:
    - {percent: 50, action: alert}
    - {percent: 80, action: alert_and_downgrade}
    - {percent: 100, action: reject, notifyChannel: "#payments-llm"}
  defaultModel: gpt-4o-mini
  downgrades:
    - {from: "claude-*", to: claude-haiku-4-5}
  modelLimits:
    - {modelPattern: "claude-opus-*", allowedApps: [fraud-review]}
---
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: search}
spec:
  team: search
  monthlyBudgetUSD: 5.00
  costRouting: {enabled: true, cheapModel: gpt-4o-mini, expensiveModel: gpt-4o, complexityThreshold: 500}
---
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: batch}
spec:
  team: batch
  monthlyBudgetUSD: 1.00
  overshootPercent: 0
  defaultModel: gpt-4o
"""
CLIENTS = 40
SONNET, OPUS = "claude-sonnet-5", "claude-opus-5"


class Demo(Stage):
    """The story. Each step sends real requests and shows the lines that the usage log got for them."""

    # -- the steps ----------------------------------------------------------------------------------------

    def half(self) -> None:
        self.step(
            "Half of the budget",
            "Team payments has $1.00 a month. Its app asks gpt-4o five times, $0.10 a time.",
        )
        client = self.openai("payments", "checkout")
        for _ in range(5):
            raw = self.ask(client, 10_000)
        lines = self.show(5)
        expect(all(line["model"] == LARGE for line in lines), "under 80 % nothing is changed")
        cost = raw.headers["x-spendgate-cost-usd"]
        self.say(f"the last answer said X-Spendgate-Cost-USD: {cost}")
        used = self.house.ledger()["payments"]["utilization"]
        expect(0.5 <= used < 0.51, "spend is in the ledger at once")

    def downgrade(self) -> None:
        self.step(
            "80 %: cheaper models", "Three more such requests, then one that asks for gpt-4o all the same."
        )
        client = self.openai("payments", "checkout")
        for _ in range(3):
            self.ask(client, 10_000)
        raw = self.ask(client, 10_000)
        self.show(4)
        downgraded, used = raw.headers.get("x-model-downgraded"), raw.headers.get("x-budget-utilization")
        self.say(f"the answer said X-Model-Downgraded: {downgraded}, X-Budget-Utilization: {used}")
        expect(downgraded == "true" and raw.parse().model == MINI, "from 80 % on the default model answers")
        raw = self.ask(client, 1_000, x_require_model=LARGE)
        self.say("an app that can not do with less says X-Require-Model: gpt-4o, and gets it:")
        self.show()
        expect(raw.parse().model == LARGE, "X-Require-Model bypasses a downgrade")

    def streams(self) -> None:
        self.step("Streams", "A stream of each SDK. Neither asks for usage; both are metered to the token.")
        stream = self.openai("payments", "checkout").chat.completions.create(
            model=LARGE, max_tokens=200, messages=BRIEF, stream=True,  # type: ignore[arg-type]
            extra_headers={"x-mock-output-tokens": "200"},
        )  # fmt: skip
        chunks = list(stream)
        client = self.anthropic("payments", "fraud-review")
        with client.messages.stream(
            model=SONNET, max_tokens=200, messages=BRIEF,  # type: ignore[arg-type]
            extra_headers={"x-mock-output-tokens": "200"},
        ) as events:  # fmt: skip
            text = "".join(events.text_stream)
        lines = self.show(2)
        expect(all(c.choices for c in chunks), "the usage chunk that we asked for is taken out again")
        self.say(f"{len(chunks)} chunks and {len(text)} characters, as the provider sent them")
        expect([line["tokens"]["output"] for line in lines] == [200, 200], "streams are metered to the token")

    def forbidden(self) -> None:
        self.step(
            "An app that is not allowed",
            "claude-opus-* is for the app fraud-review only; checkout tries it with Anthropic's SDK.",
        )
        try:
            self.anthropic("payments", "checkout").messages.create(
                model=OPUS, max_tokens=100, messages=BRIEF  # type: ignore[arg-type]
            )  # fmt: skip
        except anthropic.PermissionDeniedError as e:
            self.refused(e, e.body)
        else:
            raise DemoFailure("not kept: allowedApps is enforced")
        self.show()

    def full(self) -> None:
        self.step(
            "100 %: refused", "The rest of the dollar goes; then both SDKs raise their own RateLimitError."
        )
        client = self.openai("payments", "checkout")
        answers = 0
        while True:
            try:
                self.ask(client, 5_000, x_require_model=LARGE)
                answers += 1
                self.house.ledger()  # waits for the settlement: a hold in the way would be waited for by the SDK
            except openai.RateLimitError as e:
                self.refused(e, e.body)
                break
        try:
            self.anthropic("payments", "checkout").messages.create(
                model=SONNET, max_tokens=5_000, messages=BRIEF  # type: ignore[arg-type]
            )  # fmt: skip
        except anthropic.RateLimitError as e:
            self.refused(e, e.body)
        else:
            raise DemoFailure("not kept: at 100 % everything is refused")
        lines = self.show(answers + 2)
        refused = [line for line in lines if line["outcome"] == "refused"]
        expect(len(refused) == 2, "a refusal is not retried by the SDKs")
        self.say(f"{len(refused)} refusals for 2 calls: neither SDK retried, and the provider saw none")

    def routing(self) -> None:
        self.step(
            "Routing by size",
            "Team search routes: under 500 input tokens to gpt-4o-mini, else to gpt-4o, whatever was asked.",
        )
        client = self.openai("search", "assistant")
        long = "Compare these two contracts clause by clause. " * 100
        self.ask(client, 300)
        self.ask(client, 300, model=MINI, text=long)
        self.ask(client, 300, x_require_model=LARGE)
        lines = self.show(3)
        got = [(line["model"], line["reason"]) for line in lines]
        expect(
            got[:2] == [(MINI, "simple_query"), (LARGE, "complex_query")] and got[2][0] == LARGE,
            "simple requests go to the cheap model, complex ones to the capable one",
        )

    def aborted(self) -> None:
        self.step("A client that leaves", "It closes its stream of 1,000 tokens after twelve.")
        stream = self.openai("search", "assistant").chat.completions.create(
            model=LARGE, max_tokens=1000, messages=BRIEF, stream=True,  # type: ignore[arg-type]
            extra_headers={
                "x-mock-output-tokens": "1000", "x-mock-chunk-ms": "150", "x-require-model": LARGE,
            },
        )  # fmt: skip
        got = 0
        for chunk in stream:
            got += bool(chunk.choices and chunk.choices[0].delta.content)
            if got == 12:
                break
        stream.close()
        line = self.show()[0]
        expect(line["outcome"] == "aborted", "an aborted stream is settled as such")
        expect(12 <= line["tokens"]["output"] < 1000, "an aborted stream is billed for what was streamed")
        self.say(f"billed: {line['tokens']['output']} tokens of output")

    def last_dollar(self) -> None:
        self.step(
            f"{CLIENTS} clients and one last dollar",
            "Team batch has $1.00 and no overshoot. All ask at once, JSON and streams, until refused.",
        )
        answers, readings = asyncio.run(self._race())
        lines = self.show(answers + CLIENTS)
        row, peak = self.house.ledger()["batch"], max(readings)
        settled = [line for line in lines if line["outcome"] == "complete"]
        expect(len(settled) == answers, "every answer is settled")
        refused = [line["reason"] for line in lines if line["outcome"] == "refused"]
        final = refused.count("monthly_budget_exceeded")
        expect(
            final <= CLIENTS <= len(refused),
            "each client is refused, and only where holds pass does one retry",
        )
        used = Decimal(row["settled_usd"])
        expect(used <= 1 and peak <= 1, f"committed never passes the bound (seen: {peak:.6f}, ${used})")
        self.say(
            f"{answers} answers for ${used}; at the highest of {len(readings)} readings, committed was "
            f"{peak:.2%} of the bound"
        )
        self.say(f"usable: {used:.2%} of the dollar")
        expect(used >= Decimal("0.98"), "at least 98 % of a budget can be used")

    async def _race(self) -> tuple[int, list[float]]:
        """Answers that the clients got, and readings of the utilization meanwhile."""
        client = openai.AsyncOpenAI(
            base_url=f"{self.house.gateway}/v1",
            api_key="sk-demo",
            default_headers={"x-llm-team": "batch", "x-mock-output-tokens": "400"},
        )
        done = asyncio.Event()
        watch = asyncio.create_task(self._watch(done))
        try:
            answers = await asyncio.gather(*(self._spend(client, i) for i in range(CLIENTS)))
        finally:
            done.set()
            await client.close()
        return sum(answers), await watch

    async def _spend(self, client: openai.AsyncOpenAI, number: int) -> int:
        """Ask until refused; how many answers there were."""
        ask: dict[str, Any] = {"model": LARGE, "max_tokens": 400, "messages": BRIEF}
        ask["extra_headers"] = {"x-llm-app": "stream" if number % 4 == 0 else "json"}
        answers = 0
        try:
            while True:
                if number % 4 == 0:
                    async for _ in await client.chat.completions.create(**ask, stream=True):
                        pass
                else:
                    await client.chat.completions.create(**ask)
                answers += 1
        except openai.RateLimitError:
            return answers

    async def _watch(self, done: asyncio.Event) -> list[float]:
        readings: list[float] = []
        while not done.is_set() or not readings:
            rows = await asyncio.to_thread(self.house.budgets)
            readings.append(float(rows["batch"]["utilization"]))
            await asyncio.sleep(0.02)
        return readings

    # -- the books ----------------------------------------------------------------------------------------

    def audit(self) -> int:
        """Compare the ledger with the provider's books, model by model; the difference in nano-USD."""
        self.step(
            "The books",
            "The provider counted for itself. Its tokens at the price table's rates, against the ledger:",
        )
        lines = compare(self.house.invoice(), self.house.ledger().values(), price_table())
        shown = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
        for name in (
            "model",
            "answers",
            "tokens in",
            "tokens out",
            "provider USD",
            "ledger USD",
            "difference",
        ):
            shown.add_column(name, justify="left" if name == "model" else "right")
        for line in lines:
            counts = (line.answers, line.tokens_in, line.tokens_out)
            amounts = (line.provider_nanousd, line.ledger_nanousd, line.difference_nanousd)
            shown.add_row(line.model, *(f"{n:,}" for n in counts), *map(nano_to_usd, amounts))
        self.console.print(shown)
        return sum(abs(line.difference_nanousd) for line in lines)

    def run(self) -> int:
        """All steps; the difference of the books in nano-USD."""
        for step in (
            self.half, self.downgrade, self.streams, self.forbidden, self.full, self.routing, self.aborted,
            self.last_dollar,
        ):  # fmt: skip
            step()
        return self.audit()


def main() -> int:
    """Run the demo."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = "127.0.0.1"
    console = Console(width=max(Console().width, 112))
    began = time.monotonic()
    try:
        with House() as house:
            console.print("Starting a mock provider and spendgate up: Envoy, two gateway workers, Redis …")
            house.start(POLICY)
            console.print(f"ready: {house.gateway}")
            off = Demo(house, console).run()
    except DemoFailure as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    if off:
        print(f"demo: the ledger is off by {nano_to_usd(off)} USD", file=sys.stderr)
        return 1
    took = time.monotonic() - began
    console.print(f"\n[green]Equal to the nano-dollar.[/green] All of it took {took:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
