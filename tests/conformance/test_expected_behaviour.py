"""The source's "Expected Behaviour", black box: official SDKs, a real Envoy, a real Redis."""

from __future__ import annotations

from decimal import Decimal

import anthropic
import openai
import pytest
from support.calls import chat, message, who
from support.gateway import Gateway
from support.invoice import cost, total
from support.meshes import HOUSES as MESHES
from support.policy import budget, policy, thresholds
from support.processes import until
from support.provider import Provider

HOUSES = ("up", *MESHES)
"""Everywhere the gateway can stand: the promises are the same."""
CHANNEL = "#llm-costs"
USUAL = thresholds((50, "alert"), (80, "alert_and_downgrade"), (100, "reject"), channel=CHANNEL)
ROUTING = {
    "enabled": True, "cheapModel": "gpt-4o-mini", "expensiveModel": "gpt-4o", "complexityThreshold": 500,
}  # fmt: skip

POLICY = policy(
    budget("metered", 10),
    budget("metered-claude", 10),
    budget("staged", 0.01, alertThresholds=USUAL, defaultModel="gpt-4o-mini"),
    budget("staged-claude", 0.1, alertThresholds=USUAL, defaultModel="claude-haiku"),
    budget("exhausted", 0, alertThresholds=USUAL),
    budget("opus-bound", 8, modelLimits=[{"modelPattern": "claude-opus*", "maxMonthlyUSD": 0.014}]),
    budget("opus-apps", 8, modelLimits=[{"modelPattern": "claude-opus*", "allowedApps": ["research"]}]),
    budget("gpt-apps", 8, modelLimits=[{"modelPattern": "gpt-4o", "allowedApps": ["chatbot"]}]),
    budget("routed", 10, costRouting=ROUTING),
    budget("routed-required", 0.01, costRouting=ROUTING),
    budget("routed-pressed", 0.01, costRouting=ROUTING),
    budget("buffered", 0.01, apps=[{"name": "pager", "essential": True}]),
    budget("overshooting", 0.01),
)

TEN_PERCENT = 100
"""Output tokens of gpt-4o that cost a tenth of a cent: 10 % of a budget of $0.01."""


def test_spend_is_converted_in_real_time_and_equals_the_invoice_to_the_nano_dollar(
    gateway: Gateway, provider: Provider
) -> None:
    bill = provider.billed()
    seen = Decimal(0)
    for n, model in enumerate(("gpt-4o", "gpt-4o-mini", "gpt-4o", "gpt-4o-mini"), start=1):
        reply = chat(gateway, "metered", model=model, max_tokens=7 * n, cached=2 * n, reasoning=n)
        seen += Decimal(reply.headers["x-spendgate-cost-usd"])
        assert gateway.spent("metered", n) == total(bill.now()) == seen
    row = gateway.row("metered")
    assert {m: Decimal(usd) for m, usd in row["models"].items()} == {
        m: cost(m, bill.tokens(m)) for m in ("gpt-4o", "gpt-4o-mini")
    }
    assert row["apps"] == {"app": row["settled_usd"]}


def test_every_kind_of_claude_token_is_billed_at_its_own_price(gateway: Gateway, provider: Provider) -> None:
    bill = provider.billed()
    message(
        gateway, "metered-claude", text="word " * 3000, max_tokens=50,
        cached=1000, cache_write=500, cache_write_1h=300, reasoning=7, output_tokens=11,
    )  # fmt: skip
    assert gateway.spent("metered-claude", 1) == total(bill.now())
    assert gateway.row("metered-claude")["tokens"] == bill.tokens("claude-opus-4-1")


def test_a_stream_is_billed_as_the_same_answer_in_one_piece(gateway: Gateway, provider: Provider) -> None:
    bill = provider.billed()
    before = gateway.row("metered")["requests"]
    at_first = Decimal(gateway.row("metered")["settled_usd"])
    stream = gateway.openai.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=33,
        stream=True,
        extra_headers=who("metered", output_tokens=33),
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text
    with gateway.anthropic.messages.stream(
        model="claude-sonnet",
        max_tokens=21,
        messages=[{"role": "user", "content": "Say hello."}],
        extra_headers=who("metered", output_tokens=21),
    ) as events:
        assert events.get_final_message().usage.output_tokens == 21
    assert gateway.spent("metered", before + 2) - at_first == total(bill.now())


def test_from_80_percent_on_requests_are_downgraded_and_the_headers_say_so(
    gateway: Gateway, provider: Provider
) -> None:
    for n in range(1, 8):
        reply = chat(gateway, "staged", max_tokens=TEN_PERCENT)
        assert reply.answer.model == "gpt-4o"
        assert "x-model-downgraded" not in reply.headers
        assert n * 0.1 <= float(reply.headers["x-budget-utilization"]) < n * 0.1 + 0.05
        gateway.settled("staged", n)
    downgraded = chat(
        gateway, "staged", max_tokens=TEN_PERCENT
    )  # with its own estimate the eighth reaches 80 %
    assert downgraded.answer.model == provider.last()["json"]["model"] == "gpt-4o-mini"
    assert downgraded.headers["x-model-downgraded"] == "true"
    assert (
        0.7 <= float(downgraded.headers["x-budget-utilization"]) < 0.8
    )  # with what the cheaper model may cost
    assert downgraded.headers["x-spendgate-reason"] == "budget_pressure"
    line = gateway.lines("staged", 8)[-1]
    assert (line["model_requested"], line["model"], line["decision"]) == (
        "gpt-4o",
        "gpt-4o-mini",
        "downgrade",
    )
    # a header may demand the model, but no money
    required = chat(gateway, "staged", max_tokens=TEN_PERCENT, headers={"X-Require-Model": "gpt-4o"})
    assert required.answer.model == "gpt-4o"
    assert "x-model-downgraded" not in required.headers


def test_claude_is_downgraded_to_a_cheaper_claude(gateway: Gateway) -> None:
    while float(gateway.row("staged-claude")["utilization"]) < 0.8:
        n = gateway.row("staged-claude")["requests"]
        message(gateway, "staged-claude", max_tokens=200)
        gateway.settled("staged-claude", n + 1)
    reply = message(gateway, "staged-claude", max_tokens=100)
    assert reply.answer.model == "claude-haiku"
    assert reply.headers["x-model-downgraded"] == "true"


def refusals(gateway: Gateway, at_least: float) -> float:
    """The refusals of the exhausted team, once those are counted (a few milliseconds after the answer)."""
    return until(
        lambda: gateway.metric(
            "llm_requests_rejected_budget_total", team="exhausted", reason="monthly_budget_exceeded"
        ),
        lambda n: n >= at_least,
        "the count of the refusal",
    )


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_at_100_percent_the_openai_sdk_raises_its_own_error_and_does_not_retry(
    gateway: Gateway, provider: Provider, stream: bool
) -> None:
    bill = provider.billed()
    refused = gateway.metric("llm_requests_rejected_budget_total", team="exhausted")
    with pytest.raises(openai.RateLimitError) as caught:
        chat(gateway, "exhausted", more={"stream": stream})
    error = caught.value.response.json()["error"]
    assert error["type"] == "budget_exceeded"
    assert error["code"] == "monthly_budget_exceeded"
    assert "exhausted" in error["message"] and "$0.00" in error["message"]
    assert CHANNEL in error["message"] and "UTC" in error["message"]
    assert {"team", "app", "model", "spent_usd", "budget_usd", "resets_at", "contact"} <= set(
        error["details"]
    )
    headers = caught.value.response.headers
    assert headers["x-should-retry"] == "false"
    assert headers["content-type"] == "application/json"
    assert headers["x-spendgate-reason"] == "monthly_budget_exceeded"
    assert bill.requests() == 0
    assert refusals(gateway, refused + 1) == refused + 1, "the SDK retried into the refusal"


def test_at_100_percent_the_anthropic_sdk_raises_its_own_error_and_does_not_retry(gateway: Gateway) -> None:
    refused = gateway.metric("llm_requests_rejected_budget_total", team="exhausted")
    with pytest.raises(anthropic.RateLimitError) as caught:
        message(gateway, "exhausted")
    body = caught.value.response.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "budget_exceeded"
    assert body["error"]["code"] == "monthly_budget_exceeded"
    assert "exhausted" in body["error"]["message"]
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert refusals(gateway, refused + 1) == refused + 1


def test_a_spent_budget_refuses_and_says_how_much_of_what_was_spent(gateway: Gateway) -> None:
    for n in range(1, 12):
        try:
            chat(gateway, "overshooting", max_tokens=TEN_PERCENT)
        except openai.RateLimitError as refusal:
            details = refusal.response.json()["error"]["details"]
            break
        gateway.settled("overshooting", n)
    spent = gateway.spent("overshooting", 10)
    assert Decimal("0.01") <= spent <= Decimal("0.0105"), "the last request may reach 5 % above the limit"
    assert Decimal(details["spent_usd"]) == spent
    assert Decimal(details["budget_usd"]) == Decimal("0.01")


def test_a_models_limit_counts_all_models_of_its_pattern_together(gateway: Gateway) -> None:
    message(gateway, "opus-bound", model="claude-opus-4-1", max_tokens=60)
    message(gateway, "opus-bound", model="claude-opus-4-0", max_tokens=60)
    gateway.settled("opus-bound", 2)
    for model in ("claude-opus-4-1", "claude-opus-4-0", "claude-opus"):
        with pytest.raises(anthropic.RateLimitError) as caught:
            message(gateway, "opus-bound", model=model, max_tokens=60)
        error = caught.value.response.json()["error"]
        assert error["code"] == "model_budget_exceeded"
        assert "claude-opus*" in error["message"]
    assert (
        message(gateway, "opus-bound", model="claude-sonnet", max_tokens=60).answer.usage.output_tokens == 60
    )


def test_an_app_that_is_not_allowed_gets_403_as_the_sdks_own_error(
    gateway: Gateway, provider: Provider
) -> None:
    bill = provider.billed()
    with pytest.raises(anthropic.PermissionDeniedError) as caught:
        message(gateway, "opus-apps", app="batch")
    assert caught.value.response.json()["error"]["code"] == "app_not_allowed_for_model"
    assert "research" in caught.value.response.json()["error"]["message"]
    with pytest.raises(openai.PermissionDeniedError) as refused:
        chat(gateway, "gpt-apps", app="batch")
    assert refused.value.response.json()["error"]["details"]["allowed_apps"] == ["chatbot"]
    assert bill.requests() == 0
    assert message(gateway, "opus-apps", app="research").answer.content
    assert chat(gateway, "gpt-apps", app="batch", model="gpt-4o-mini").answer.choices


def test_under_500_input_tokens_the_cheap_model_answers_else_the_expensive_one(
    gateway: Gateway, provider: Provider
) -> None:
    simple = chat(gateway, "routed", model="gpt-4o")
    assert simple.answer.model == provider.last()["json"]["model"] == "gpt-4o-mini"
    assert simple.headers["x-spendgate-reason"] == "simple_query"
    assert simple.headers["x-spendgate-model"] == "gpt-4o-mini"
    assert "x-model-downgraded" not in simple.headers
    complex_one = chat(gateway, "routed", model="gpt-4o-mini", text="word " * 600)
    assert complex_one.answer.model == "gpt-4o"
    assert complex_one.headers["x-spendgate-reason"] == "complex_query"
    below = chat(gateway, "routed", model="gpt-4o-mini", text="word " * 400)
    assert below.answer.model == "gpt-4o-mini"


def test_x_require_model_bypasses_routing_and_never_a_limit(gateway: Gateway, provider: Provider) -> None:
    demand = {"X-Require-Model": "gpt-4o"}
    reply = chat(gateway, "routed-required", model="gpt-4o-mini", headers=demand, max_tokens=900)
    assert reply.answer.model == provider.last()["json"]["model"] == "gpt-4o"
    gateway.settled("routed-required", 1)
    with pytest.raises(openai.RateLimitError):
        chat(gateway, "routed-required", model="gpt-4o-mini", headers=demand, max_tokens=900)


def test_above_80_percent_routing_chooses_the_cheap_model_for_complex_queries_too(gateway: Gateway) -> None:
    text = "word " * 600
    chat(gateway, "routed-pressed", text=text, max_tokens=650, headers={"X-Require-Model": "gpt-4o"})
    gateway.settled("routed-pressed", 1)
    assert float(gateway.row("routed-pressed")["utilization"]) > 0.8
    reply = chat(gateway, "routed-pressed", text=text, max_tokens=50)
    assert reply.answer.model == "gpt-4o-mini"
    assert reply.headers["x-spendgate-reason"] == "budget_pressure"
    assert reply.headers["x-model-downgraded"] == "true"


def test_an_essential_app_has_ten_percent_more_when_all_others_are_refused(gateway: Gateway) -> None:
    n = 0
    while Decimal(gateway.row("buffered")["settled_usd"]) < Decimal("0.01"):
        chat(gateway, "buffered", max_tokens=TEN_PERCENT)
        n += 1
        gateway.settled("buffered", n)
    with pytest.raises(openai.RateLimitError):
        chat(gateway, "buffered", max_tokens=10)
    with pytest.raises(openai.RateLimitError):
        for _ in range(20):
            chat(gateway, "buffered", app="pager", max_tokens=20)
            n += 1
            gateway.settled("buffered", n)
    spent = gateway.spent("buffered", n)
    assert Decimal("0.011") <= spent <= Decimal("0.01155"), "10 % above the budget, and the overshoot of that"
