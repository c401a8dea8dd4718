"""The optional bounds of a budget, and changing it while it is in force."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import openai
import pytest
from support.calls import chat, who
from support.gateway import Gateway
from support.policy import budget, policy, thresholds
from support.processes import until
from support.provider import Provider

CONFIG = {"unbudgeted": "reject", "reload_interval": "50ms"}
RAISED = ("raised", 0.002)
BUDGETS: dict[str, dict[str, Any]] = {
    "audited": {"usd": 0, "mode": "audit"},
    "clamped": {"usd": 0.002, "clampOutput": True},
    "capped": {"usd": 1, "outputTokenCap": 77},
    "per-request": {"usd": 10, "maxUSDPerRequest": 0.01},
    "daily": {"usd": 10, "dailyBudgetUSD": 0.002},
    "hourly": {"usd": 10, "maxUSDPerHour": 0.002},
    "per-run": {"usd": 10, "maxUSDPerRun": 0.002},
    "per-app": {"usd": 10, "apps": [{"name": "batch", "maxMonthlyUSD": 0.002}]},
    "priced-only": {"usd": 10, "unpricedModels": "reject"},
    "unpriced": {"usd": 10},
    "soft": {"usd": 0.0001, "alertThresholds": thresholds((50, "alert"))},
    "no-overshoot": {"usd": 0.002, "overshootPercent": 0},
    "contradicted": {"usd": 0.5},
    "looping": {"usd": 10, "repeats": {"max": 3, "window": "10m"}},
}


def budgets(**changed: dict[str, Any]) -> str:
    """The policy of this module, with changes."""
    specs = {**BUDGETS, "raised": {"usd": 0.002}, **changed}
    return policy(*(budget(team, **spec) for team, spec in specs.items()))


POLICY = budgets()


def refusal(gateway: Gateway, team: str, **call: Any) -> dict[str, Any]:
    """The error of a call that must be refused with 429."""
    with pytest.raises(openai.RateLimitError) as caught:
        chat(gateway, team, **call)
    error: dict[str, Any] = caught.value.response.json()["error"]
    return error


def test_audit_decides_and_reports_but_lets_all_pass_unchanged(gateway: Gateway, provider: Provider) -> None:
    reply = chat(gateway, "audited", headers={"x-llm-user": "u"})
    assert reply.answer.choices and reply.answer.model == "gpt-4o"
    assert reply.headers["x-spendgate-reason"] == "audit:would_refuse"
    sent = provider.last()["json"]
    assert sent == {
        "messages": [{"role": "user", "content": "Say hello."}],
        "model": "gpt-4o",
        "max_tokens": 10,
    }
    line = gateway.line("audited")
    assert line["decision"] == "allow" and line["reason"] == "audit:would_refuse"
    assert Decimal(line["cost_usd"]) > 0


def test_clamp_output_lowers_the_cap_to_the_money_left_and_never_overspends(
    gateway: Gateway, provider: Provider
) -> None:
    reply = chat(gateway, "clamped", max_tokens=5000)
    lowered = int(reply.headers["x-spendgate-output-cap"])
    assert provider.last()["json"]["max_tokens"] == lowered < 200
    assert reply.answer.usage.completion_tokens == lowered
    n = 1
    while Decimal(gateway.settled("clamped", n)["settled_usd"]) < Decimal("0.0018"):
        try:
            chat(gateway, "clamped", max_tokens=5000)
        except openai.RateLimitError:
            break
        n += 1
    assert Decimal("0.0016") < gateway.spent("clamped", n) <= Decimal("0.002")


def test_the_output_cap_is_written_only_where_the_client_gave_none(
    gateway: Gateway, provider: Provider
) -> None:
    reply = chat(gateway, "capped", max_tokens=None, output_tokens=500)
    sent = provider.last()["json"]
    assert 77 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert reply.answer.usage.completion_tokens == 77
    assert chat(gateway, "capped", max_tokens=99).answer.usage.completion_tokens == 99


def test_one_request_may_not_cost_more_than_the_policy_allows(gateway: Gateway) -> None:
    assert refusal(gateway, "per-request", max_tokens=5000)["code"] == "request_cost_exceeded"
    assert chat(gateway, "per-request", max_tokens=500).answer.choices


@pytest.mark.parametrize(
    ("team", "reason", "headers", "other"),
    [
        ("daily", "daily_budget_exceeded", {}, None),
        ("hourly", "spend_rate_exceeded", {}, None),
        ("per-run", "run_budget_exceeded", {"x-llm-run": "r-1"}, {"x-llm-run": "r-2"}),
        ("per-app", "app_budget_exceeded", {"x-llm-app": "batch"}, {"x-llm-app": "web"}),
        ("no-overshoot", "monthly_budget_exceeded", {}, None),
    ],
)
def test_each_bound_refuses_by_its_own_name_and_bounds_nothing_else(
    gateway: Gateway, team: str, reason: str, headers: dict[str, str], other: dict[str, str] | None
) -> None:
    for _ in range(20):
        try:
            chat(gateway, team, max_tokens=50, headers=headers)
        except openai.RateLimitError as caught:
            assert caught.response.json()["error"]["code"] == reason
            break
    else:
        pytest.fail("never refused")
    settled = Decimal(gateway.quiet(team)["settled_usd"])
    assert Decimal("0.001") < settled <= Decimal("0.0021")
    if other is not None:
        assert chat(gateway, team, max_tokens=50, headers=other).answer.choices


def test_a_trace_is_a_run(gateway: Gateway) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    chat(gateway, "per-run", max_tokens=100, headers=trace)
    assert refusal(gateway, "per-run", max_tokens=150, headers=trace)["code"] == "run_budget_exceeded"


def test_where_teams_need_a_budget_those_without_are_refused(gateway: Gateway, provider: Provider) -> None:
    bill = provider.billed()
    assert refusal(gateway, "nobody")["code"] == "unbudgeted"
    with pytest.raises(openai.RateLimitError) as caught:
        gateway.openai.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.response.json()["error"]["details"]["team"] == "unattributed"
    assert bill.requests() == 0


def test_a_model_without_a_price_is_refused_or_estimated_and_never_free(gateway: Gateway) -> None:
    assert refusal(gateway, "priced-only", model="gpt-unknown-9")["code"] == "unpriced_model"
    before = gateway.metric("spendgate_unpriced_requests_total")
    assert chat(gateway, "unpriced", model="gpt-unknown-9").answer.choices
    assert gateway.spent("unpriced", 1) > 0
    assert until(
        lambda: gateway.metric("spendgate_unpriced_requests_total"), lambda n: n > before, "the count"
    )


def test_a_budget_without_a_reject_threshold_never_refuses(gateway: Gateway) -> None:
    for n in range(1, 4):
        assert chat(gateway, "soft", max_tokens=50).answer.choices
        gateway.settled("soft", n)
    assert float(gateway.row("soft")["utilization"]) > 1


def test_a_raised_budget_takes_effect_without_a_restart(gateway: Gateway) -> None:
    assert refusal(gateway, "raised", max_tokens=1000)["code"] == "monthly_budget_exceeded"
    gateway.policy_path.write_text(budgets(raised={"usd": 2}))

    def admitted() -> bool:
        try:
            return bool(chat(gateway, "raised", max_tokens=1000, output_tokens=1).answer.choices)
        except openai.RateLimitError:
            return False

    until(admitted, bool, "the raise")
    until(lambda: gateway.row("raised")["budget_usd"], lambda usd: usd == "2.00", "the admin's view")


def test_a_broken_policy_file_leaves_the_last_valid_one_in_force_and_is_counted(gateway: Gateway) -> None:
    valid = gateway.policy_path.read_text()
    before = gateway.metric("spendgate_policy_reload_errors_total")
    gateway.policy_path.write_text(valid.replace('"monthlyBudgetUSD": 0.5', '"monthlyBudgetUsd": 0'))
    until(
        lambda: gateway.metric("spendgate_policy_reload_errors_total"),
        lambda n: n > before,
        "the refused reload",
    )
    assert chat(gateway, "contradicted").answer.choices
    gateway.policy_path.write_text(valid)


def test_a_refused_stream_is_an_error_and_no_stream(gateway: Gateway) -> None:
    with pytest.raises(openai.RateLimitError):
        gateway.openai.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            max_tokens=5000,
            stream=True,
            extra_headers=who("per-request"),
        )


def test_a_run_that_sends_the_same_again_and_again_is_stopped_alone(gateway: Gateway) -> None:
    run = {"x-llm-run": "task-1"}
    for n in range(3):
        assert chat(gateway, "looping", headers=run, max_tokens=n + 5).answer.choices
    error = refusal(gateway, "looping", headers=run)
    assert (error["code"], error["details"]["run"], error["details"]["passed"]) == (
        "loop_detected",
        "task-1",
        3,
    )
    assert "Run task-1 of team looping has sent this very request 3 times" in error["message"]
    for others in ({"x-llm-run": "task-2"}, {}, {}, {}, {}):
        assert chat(gateway, "looping", headers=others).answer.choices
    assert chat(gateway, "looping", text="And now something else.", headers=run).answer.choices
    lines = [x for x in gateway.lines("looping", 10) if x["outcome"] == "refused"]
    assert [(x["reason"], x["run"]) for x in lines] == [("loop_detected", "task-1")]
    assert gateway.metric("llm_requests_rejected_budget_total", team="looping", reason="loop_detected") == 1
