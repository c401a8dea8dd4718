"""The fourteen rules of docs/reference/decision.md, which names the tests of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.ask import Ask, DecisionSettings, Plan, Quote
from spendgate.budget.bounds import UNLIMITED, Bound, Clamp
from spendgate.budget.decide import audit_fallback, fail_open_allowance, plan
from spendgate.budget.evaluate import Verdict, evaluate
from spendgate.budget.load import policy_from_documents
from spendgate.budget.policy import Policy, TeamBudget

USD = 1_000_000_000
NOW = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
# estimate in USD, rank: dearer is higher
MODELS = {
    "gpt-4o": (100, 12),
    "gpt-4o-mini": (10, 1),
    "claude-opus": (500, 90),
    "claude-opus-2": (500, 91),
    "claude-haiku": (20, 2),
}


def budget(**spec: object) -> TeamBudget:
    document = {
        "apiVersion": "ai.systemhardening.com/v1",
        "kind": "LLMBudget",
        "metadata": {"name": "b", "namespace": "n"},
        "spec": {"team": "ml", "monthlyBudgetUSD": 8000} | spec,
    }
    found = policy_from_documents([document]).budget("ml")
    assert found is not None
    return found


def quote(model: str, cap: int | None) -> Quote:
    """100 output tokens by default; an output token costs a hundredth of the estimate."""
    usd, rank = MODELS.get(model, (700, None))
    cap = 100 if cap is None else cap
    per_token = usd * USD // 100
    return Quote(per_token * cap, rank, cap, Clamp(0, per_token * 1000, 10), "" if rank else "claude-opus")


def ask(**more: object) -> Ask:
    values = {"team": "ml", "app": "chat", "model": "gpt-4o", "dialect": "openai-chat", "input_tokens": 1000}
    return Ask(**(values | more))  # type: ignore[arg-type]


def decide(
    b: TeamBudget | None,
    servable: Callable[[str], str] = lambda _: "",
    settings: DecisionSettings | None = None,
    **more: object,
) -> Plan:
    return plan(ask(**more), b, NOW, quote, servable, settings or DecisionSettings())


def at(p: Plan, month_usd: float, **scopes: float) -> tuple[str, Verdict]:
    """The model that the ledger picks with this much settled ("" refused)."""
    settled = {"month": int(month_usd * USD)} | {k.replace("_", ":"): int(v * USD) for k, v in scopes.items()}
    verdict = evaluate([c.candidate for c in p.choices], settled)
    return (p.choices[verdict.candidate].candidate.model if verdict.candidate >= 0 else "", verdict)


def refused_by(p: Plan, month_usd: float, **scopes: float) -> str:
    model, verdict = at(p, month_usd, **scopes)
    assert model == ""
    return verdict.refusals[-1].bound.reason


def bound(p: Plan, scope: str, i: int = -1) -> Bound:
    return next(b for b in p.choices[i].candidate.bounds if b.scope == scope)


ROUTING = {
    "costRouting": {
        "enabled": True, "cheapModel": "gpt-4o-mini", "expensiveModel": "gpt-4o", "complexityThreshold": 500,
    }
}  # fmt: skip


def test_1_without_a_budget_all_pass_and_are_counted() -> None:
    p = decide(None)
    assert p.note == "no_budget_defined"
    assert at(p, 10**6)[0] == "gpt-4o"
    assert bound(p, "month").floor_nanousd == UNLIMITED


def test_1_without_a_budget_all_are_refused_where_the_operator_says_so() -> None:
    p = decide(None, settings=DecisionSettings(unbudgeted="reject"))
    assert p.refusal is not None
    assert (p.refusal.status, p.refusal.reason) == (429, "unbudgeted")


def test_1_a_team_whose_budget_lapsed_is_refused_whatever_the_gateway_does_with_others() -> None:
    lapsed = Policy.of([], ["ml-team"]).budget("ml-team")
    for setting in ("allow", "reject"):
        p = decide(lapsed, settings=DecisionSettings(unbudgeted=setting))
        assert p.refusal is not None and not p.choices and not p.audit
        assert (p.refusal.status, p.refusal.reason) == (429, "unbudgeted")
    assert lapsed is not None and lapsed.fail_open_allowance(0) == 0
    again = Policy.of([TeamBudget("ml-team", 5)], ["ml-team"])
    assert again.budget("ml-team") == TeamBudget("ml-team", 5) and again.lapsed == frozenset()


def test_1_no_template_takes_over_a_team_whose_only_budget_lapsed() -> None:
    template = TeamBudget("*", 500_000_000_000)
    found = Policy.of([template], ["ml-team"])
    lapsed = found.budget("ml-team")
    p = decide(lapsed)
    assert p.refusal is not None and not p.choices
    assert (p.refusal.status, p.refusal.reason) == (429, "unbudgeted")
    assert found.template_of("ml-team") is None and found.budget("other") is not None
    assert Policy.of([template, TeamBudget("ml-team", 5)], ["ml-team"]).budget("ml-team") == TeamBudget(
        "ml-team", 5
    )


def test_2_a_required_model_bypasses_routing_and_downgrade() -> None:
    p = decide(budget(**ROUTING), require_model="claude-opus")
    assert at(p, 0)[0] == "claude-opus"
    assert at(p, 7000)[0] == "claude-opus"
    assert p.choices[0].reason == "required_model"


def test_2_a_required_model_never_bypasses_a_limit() -> None:
    p = decide(budget(**ROUTING), require_model="claude-opus")
    assert refused_by(p, 8000) == "monthly_budget_exceeded"


def test_3_a_short_query_goes_to_the_cheap_model_a_long_one_to_the_expensive() -> None:
    short = decide(budget(**ROUTING), input_tokens=499)
    assert at(short, 0)[0] == "gpt-4o-mini"
    assert short.choices[0].reason in ("simple_query", "budget_pressure")
    long = decide(budget(**ROUTING), input_tokens=500, model="gpt-4o-mini")
    model, verdict = at(long, 0)
    assert model == "gpt-4o"
    assert long.choices[verdict.candidate].reason == "complex_query"


def test_3_above_eighty_percent_the_cheap_model_serves_whatever_the_length() -> None:
    spec = ROUTING | {"alertThresholds": [{"percent": 100, "action": "reject"}]}
    p = decide(budget(**spec), input_tokens=5000)
    assert at(p, 6300)[0] == "gpt-4o"  # 0.8 with this request's own estimate of 100, which is not above 0.8
    assert at(p, 6300.01)[0] == "gpt-4o-mini"


def test_3_an_earlier_downgrade_threshold_counts_as_pressure() -> None:
    spec = ROUTING | {"alertThresholds": [{"percent": 60, "action": "alert_and_downgrade"}]}
    p = decide(budget(**spec), input_tokens=5000)
    assert at(p, 4699)[0] == "gpt-4o"
    assert at(p, 4700)[0] == "gpt-4o-mini"


def test_4_without_routing_a_downgrade_threshold_leads_to_the_default_model() -> None:
    p = decide(budget(defaultModel="gpt-4o-mini"))
    assert at(p, 6299)[0] == "gpt-4o"
    model, verdict = at(p, 6300)
    assert model == "gpt-4o-mini"
    choice = p.choices[verdict.candidate]
    assert choice.downgraded
    assert choice.reason == "budget_pressure"


def test_4_what_others_hold_is_no_pressure() -> None:
    p = decide(budget(defaultModel="gpt-4o-mini"))
    verdict = evaluate([c.candidate for c in p.choices], {"month": 0}, {"month": 7800 * USD})
    assert p.choices[verdict.candidate].candidate.model == "gpt-4o"


def test_7_what_only_holds_keep_out_is_told_from_what_is_spent() -> None:
    p = decide(budget())
    candidates = [c.candidate for c in p.choices]
    for settled, held, waits in ((0, 8350, True), (8000, 350, False), (8301, 0, False), (7900, 450, True)):
        verdict = evaluate(candidates, {"month": settled * USD}, {"month": held * USD})
        assert (verdict.candidate, verdict.refusals[-1].held) == (-1, waits), (settled, held)


def test_5_a_downgrade_never_picks_a_dearer_model() -> None:
    p = decide(budget(defaultModel="claude-opus"))
    model, verdict = at(p, 7000)
    assert model == "gpt-4o"
    assert p.choices[verdict.candidate].kept_because == "dearer"


@pytest.mark.parametrize("why", ["dialect", "upstream", "capability"])
def test_5_and_14_a_downgrade_keeps_to_models_that_can_serve(why: str) -> None:
    p = decide(budget(defaultModel="gpt-4o-mini"), servable=lambda m: why if m == "gpt-4o-mini" else "")
    model, verdict = at(p, 7000)
    assert model == "gpt-4o"
    assert p.choices[verdict.candidate].kept_because == why


def test_5_downgrades_by_pattern_serve_what_the_default_model_can_not() -> None:
    spec = {"defaultModel": "gpt-4o-mini", "downgrades": [{"from": "claude-*", "to": "claude-haiku"}]}
    p = decide(
        budget(**spec), servable=lambda m: "" if m.startswith("claude") else "dialect", model="claude-opus"
    )
    assert at(p, 7000)[0] == "claude-haiku"


LIMITS = {
    "modelLimits": [
        {"modelPattern": "claude-opus*", "maxMonthlyUSD": 3000, "allowedApps": ["research"]},
        {"modelPattern": "gpt-4o", "maxMonthlyUSD": 2000},
        {"modelPattern": "gpt*", "maxMonthlyUSD": 1},
    ]
}


def test_6_an_app_that_is_not_allowed_gets_403() -> None:
    p = decide(budget(**LIMITS), model="claude-opus")
    assert p.refusal is not None
    assert (p.refusal.status, p.refusal.reason) == (403, "app_not_allowed_for_model")
    assert decide(budget(**LIMITS), model="claude-opus", app="research").refusal is None


def test_6_the_limit_counts_over_all_models_of_the_pattern() -> None:
    for model in ("claude-opus", "claude-opus-2"):
        p = decide(budget(**LIMITS), model=model, app="research")
        assert bound(p, "model:claude-opus*").floor_nanousd == 3000 * USD


def test_6_the_most_specific_pattern_bounds() -> None:
    p = decide(budget(**LIMITS))
    assert bound(p, "model:gpt-4o").floor_nanousd == 2000 * USD
    assert not [b for b in p.choices[-1].candidate.bounds if b.scope == "model:gpt*"]


def test_6_a_model_over_its_limit_is_refused_by_name() -> None:
    p = decide(budget(**LIMITS))
    _, verdict = at(p, 2000)
    committed = {"month": 2000 * USD, "model:gpt-4o": 2000 * USD}
    verdict = evaluate([c.candidate for c in p.choices], committed)
    assert verdict.refusals[-1].bound.reason == "model_budget_exceeded"


def test_7_admitted_while_below_the_bound_and_within_its_overshoot() -> None:
    p = decide(budget())
    assert at(p, 7999)[0] == "gpt-4o"  # 8,099 is within 8,400
    assert refused_by(p, 8000) == "monthly_budget_exceeded"
    dear = decide(budget(), model="claude-opus")
    assert at(dear, 7900)[0] == "claude-opus"  # 8,400 fits exactly
    assert refused_by(dear, 7900.01) == "monthly_budget_exceeded"


def test_7_an_essential_app_has_ten_percent_more() -> None:
    b = budget(apps=[{"name": "chat", "essential": True}])
    assert at(decide(b), 8700)[0] == "gpt-4o"
    assert refused_by(decide(b), 8800) == "monthly_budget_exceeded"
    assert refused_by(decide(b, app="other"), 8700) == "monthly_budget_exceeded"


def test_7_a_budget_without_a_reject_threshold_never_rejects() -> None:
    p = decide(budget(alertThresholds=[{"percent": 50, "action": "alert"}]))
    assert at(p, 10**5)[0] == "gpt-4o"


def test_7_the_lowest_reject_threshold_counts() -> None:
    thresholds = [{"percent": 120, "action": "reject"}, {"percent": 50, "action": "reject"}]
    assert refused_by(decide(budget(alertThresholds=thresholds)), 4000) == "monthly_budget_exceeded"


def test_7_a_budget_of_zero_admits_nothing() -> None:
    assert refused_by(decide(budget(monthlyBudgetUSD=0)), 0) == "monthly_budget_exceeded"


def test_8_a_downgraded_model_over_its_own_limit_gives_way_to_the_requested_one() -> None:
    spec = {
        "defaultModel": "gpt-4o-mini",
        "modelLimits": [{"modelPattern": "gpt-4o-mini", "maxMonthlyUSD": 5}],
    }
    p = decide(budget(**spec))
    committed = {"month": 7000 * USD, "model:gpt-4o-mini": 5 * USD}
    verdict = evaluate([c.candidate for c in p.choices], committed)
    assert p.choices[verdict.candidate].candidate.model == "gpt-4o"


def test_9_all_bounds_of_an_exchange_go_in_one_call_month_first() -> None:
    b = budget(
        dailyBudgetUSD=500, maxUSDPerHour=300, maxUSDPerRun=200,
        apps=[{"name": "chat", "maxMonthlyUSD": 1000}],
        modelLimits=[{"modelPattern": "gpt*", "maxMonthlyUSD": 900}],
    )  # fmt: skip
    p = decide(b, run="nightly")
    scopes = [x.scope for x in p.choices[-1].candidate.bounds]
    assert scopes == ["month", "day", "hour", "model:gpt*", "app:chat", "run:nightly"]
    for scope, reason in {
        "day": "daily_budget_exceeded", "hour": "spend_rate_exceeded", "model:gpt*": "model_budget_exceeded",
        "app:chat": "app_budget_exceeded", "run:nightly": "run_budget_exceeded",
    }.items():  # fmt: skip
        verdict = evaluate([c.candidate for c in p.choices], {scope: 2000 * USD})
        assert verdict.refusals[-1].bound.reason == reason


def test_10_without_the_ledger_one_percent_is_let_pass_by_default() -> None:
    assert fail_open_allowance(budget(), NOW) == 80 * USD
    assert fail_open_allowance(budget(failOpenLimitUSD=5), NOW) == 5 * USD
    assert fail_open_allowance(budget(failurePolicy="open"), NOW) == UNLIMITED
    assert fail_open_allowance(budget(failurePolicy="closed"), NOW) == 0
    assert fail_open_allowance(None, NOW) == UNLIMITED


def test_11_a_model_without_a_price_is_estimated_refused_or_only_counted() -> None:
    estimated = decide(budget(), model="mystery")
    assert estimated.unpriced
    assert at(estimated, 0)[1].held_nanousd == 700 * USD
    refused = decide(budget(unpricedModels="reject"), model="mystery")
    assert refused.refusal is not None
    assert refused.refusal.reason == "unpriced_model"
    allowed = decide(budget(unpricedModels="allow"), model="mystery")
    assert at(allowed, 10**5)[0] == "mystery"


def test_12_clamping_lowers_the_output_cap_to_the_money_left_and_never_overshoots() -> None:
    p = decide(budget(clampOutput=True))
    model, verdict = at(p, 7950)
    assert model == "gpt-4o"
    assert verdict.output_cap == 50
    assert verdict.held_nanousd <= 50 * USD
    assert refused_by(p, 7995) == "monthly_budget_exceeded"  # 5 tokens are no useful part


def test_12_one_request_may_cost_no_more_than_its_limit() -> None:
    p = decide(budget(maxUSDPerRequest=50))
    assert p.refusal is not None
    assert p.refusal.reason == "request_cost_exceeded"
    clamped = decide(budget(maxUSDPerRequest=50, clampOutput=True))
    assert at(clamped, 0)[1].held_nanousd == 50 * USD


def test_13_audit_decides_everything_and_enforces_nothing() -> None:
    p = decide(budget(mode="audit", defaultModel="gpt-4o-mini"))
    assert p.audit
    fallback = audit_fallback(p)
    assert fallback.candidate.model == "gpt-4o"
    assert all(b.floor_nanousd == UNLIMITED for b in fallback.candidate.bounds)


def test_the_policys_output_cap_stands_in_for_a_missing_limit_only() -> None:
    b = budget(outputTokenCap=50)
    assert decide(b).choices[-1].output_cap == 50
    assert decide(b, client_output_cap=70).choices[-1].output_cap is None


def test_an_increase_ends_by_itself() -> None:
    b = budget(
        increase=[{"usd": 1000, "until": "2026-11-25T00:00:00Z", "reason": "launch", "approvedBy": "vp"}]
    )
    assert b.limit_nanousd(NOW) == 9000 * USD
    assert b.limit_nanousd(NOW + 86_400_000) == 8000 * USD


@given(
    st.sampled_from(sorted(MODELS)), st.sampled_from(sorted(MODELS)), st.booleans(), st.integers(0, 2000),
    st.integers(0, 9000),
)  # fmt: skip
def test_no_downgrade_is_ever_dearer(asked: str, default: str, routed: bool, tokens: int, spent: int) -> None:
    spec: dict[str, object] = {"defaultModel": default}
    if routed:
        spec["costRouting"] = {"enabled": True, "cheapModel": default, "expensiveModel": "gpt-4o"}
    p = decide(budget(**spec), model=asked, input_tokens=tokens)
    for choice in p.choices:
        assert choice.candidate.bounds[0].scope == "month"
        if choice.downgraded:
            assert MODELS[choice.candidate.model][1] <= MODELS[asked][1]
    model, verdict = at(p, spent)
    if spent < 7500:
        assert model or verdict.refusals[-1].bound.reason == "monthly_budget_exceeded"
