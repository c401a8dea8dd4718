"""`cutStreams`: a stream that outruns its money is ended politely, and its provider is stopped."""

from __future__ import annotations

from decimal import Decimal

from support.gateway import Gateway
from support.processes import until
from support.provider import Provider

CONFIG = {"default_output_tokens": 50}
POLICY = """
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: cut, namespace: test}
spec: {team: cut, monthlyBudgetUSD: 0.005, overshootPercent: 0, cutStreams: true}
---
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: long, namespace: test}
spec: {team: long, monthlyBudgetUSD: 0.005, overshootPercent: 0}
"""
HEADERS = {"x-llm-app": "app", "x-mock-output-tokens": "3000", "x-mock-chunk-ms": "1"}


def streamed(gateway: Gateway, team: str) -> tuple[int, str]:
    """Chunks with text, and the finish reason, of a stream without an output limit."""
    chunks, finish = 0, ""
    for chunk in gateway.openai.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "write a book"}], stream=True,
        extra_headers=HEADERS | {"x-llm-team": team},
    ):  # fmt: skip
        for choice in chunk.choices:
            chunks += bool(choice.delta.content)
            finish = choice.finish_reason or finish
    return chunks, finish


def test_it_ends_at_the_money_left_with_the_sdk_none_the_wiser(gateway: Gateway, provider: Provider) -> None:
    before = provider.invoice()["models"].get("gpt-4o", {}).get("aborted", 0)
    chunks, finish = streamed(gateway, "cut")
    assert finish == "length"
    assert 400 < chunks < 700  # 0.005 USD are 500 tokens of output
    line = gateway.line("cut")
    assert line["reason"] == "stream_cut"
    assert line["tokens"]["output"] in range(chunks, chunks + 40)
    assert Decimal(line["cost_usd"]) < Decimal("0.0056")
    until(
        lambda: provider.invoice()["models"]["gpt-4o"]["aborted"],
        lambda n: n == before + 1,
        "the provider's own note of the stop",
    )


def test_without_it_the_stream_runs_to_its_end_and_is_charged_in_full(gateway: Gateway) -> None:
    chunks, _ = streamed(gateway, "long")
    assert chunks == 3000
    assert gateway.line("long")["tokens"]["output"] == 3000
