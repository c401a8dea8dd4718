from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.usage_lines import T0, expired, record

from spendgate.budget.decide import plan
from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.finops.simulation.logged_request import LoggedRequest, demand_of
from spendgate.finops.simulation.simulate import Simulation, simulate
from spendgate.pricing.cost import cost_nanousd, estimate_nanousd
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings
from spendgate.tokens.bound import input_bound
from spendgate.tokens.count import Counted

PRICES = table()
USD = 10**9
HOUR_MS = 3_600_000


def billed(
    n: int = 0, *, model: str = "gpt-4o", tokens: dict[str, int] | None = None, **fields: Any
) -> UsageRecord:
    """An exchange with the cost and the estimate that the gateway makes of its tokens."""
    tokens = {"input": 1000, "output": 100} if tokens is None else tokens
    price = PRICES.find(model) or PRICES.dearest_of_family(model)
    counted = Counted(tokens.get("input", 0), True, 10**9)
    held = estimate_nanousd(price, input_bound(counted, model, False), fields.pop("cap", 4096))
    values: dict[str, Any] = {
        "model": model,
        "model_requested": model,
        "tokens": tokens,
        "cost_nanousd": cost_nanousd(price, tokens),
        "estimate_nanousd": held,
        "price_version": PRICES.version,
    }
    return record(n, **(values | fields))


ONE = billed().cost_nanousd  # what one such exchange costs: $0.0035


def policy_of(folder: Path, spec: str) -> Policy:
    path = folder / "budget.yaml"
    path.write_text(
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: red}\n"
        f"spec: {{team: red, {spec}}}\n"
    )
    return load_policy([path])


def replay(
    folder: Path, spec: str, records: list[UsageRecord], *, prices: PriceTable = PRICES, **options: bool
) -> Simulation:
    return simulate(demands(records), _snapshot(policy_of(folder, spec), prices), PRICES, **options)


def _snapshot(policy: Policy, prices: PriceTable = PRICES) -> Snapshot:
    return snapshot(policy, prices, Settings())


def demands(records: list[UsageRecord]) -> list[LoggedRequest]:
    found = [d for r in records if (d := demand_of(r)) is not None]
    return sorted(found, key=lambda d: d.at_ms)


def test_without_a_budget_everything_stays_as_it_was(tmp_path: Path) -> None:
    out = simulate(demands([billed(i) for i in range(3)]), _snapshot(Policy()), PRICES)
    assert (out.total.simulated_nanousd, out.total.saved_nanousd, out.total.refused) == (3 * ONE, 0, 0)


def test_a_budget_that_is_used_up_refuses_what_comes_later_and_says_when(tmp_path: Path) -> None:
    out = replay(tmp_path, "monthlyBudgetUSD: 1, overshootPercent: 0", [billed(i) for i in range(400)])
    total = out.total
    assert 0 < total.simulated_nanousd <= USD
    assert total.refused == total.requests - total.simulated_nanousd // ONE
    assert total.refused_nanousd == total.refused * ONE
    assert out.refusals == {("red", "monthly_budget_exceeded"): total.refused}
    assert out.first_refused == {"red": T0 + (400 - total.refused) * 1000}


def test_a_new_month_begins_with_a_full_budget(tmp_path: Path) -> None:
    next_month = [billed(i, at_ms=T0 + 8 * 24 * HOUR_MS + i) for i in range(400)]
    one = replay(tmp_path, "monthlyBudgetUSD: 1", [billed(i) for i in range(400)]).total
    both = replay(tmp_path, "monthlyBudgetUSD: 1", [*(billed(i) for i in range(400)), *next_month]).total
    assert both.refused == 2 * one.refused > 0


@pytest.mark.parametrize(
    ("limit", "reason", "apart_ms"),
    [
        ("dailyBudgetUSD", "daily_budget_exceeded", 24 * HOUR_MS),
        ("maxUSDPerHour", "spend_rate_exceeded", HOUR_MS),
    ],
)
def test_a_day_and_an_hour_have_their_own_counters(
    tmp_path: Path, limit: str, reason: str, apart_ms: int
) -> None:
    first = [billed(i) for i in range(100)]
    second = [billed(i, at_ms=T0 + apart_ms + i) for i in range(100)]
    one = replay(tmp_path, f"monthlyBudgetUSD: 1000, {limit}: 0.2", first)
    both = replay(tmp_path, f"monthlyBudgetUSD: 1000, {limit}: 0.2", first + second)
    assert one.refusals[("red", reason)] > 0
    assert both.refusals == {("red", reason): 2 * one.total.refused}


def test_a_run_keeps_its_counter_over_months(tmp_path: Path) -> None:
    spec = "monthlyBudgetUSD: 1000, maxUSDPerRun: 0.05"
    at_once = replay(tmp_path, spec, [billed(i, run="r") for i in range(9)])
    spread = replay(tmp_path, spec, [billed(i, run="r", at_ms=T0 + i * 240 * HOUR_MS) for i in range(9)])
    assert at_once.refusals == spread.refusals == {("red", "run_budget_exceeded"): at_once.total.refused}
    apart = replay(tmp_path, spec, [billed(i, run=f"r{i}") for i in range(9)])
    assert apart.total.refused == 0


ROUTED = (
    "monthlyBudgetUSD: 1000, costRouting: {enabled: true, cheapModel: gpt-4o-mini, complexityThreshold: 2000}"
)


def test_a_routed_exchange_costs_its_tokens_at_the_other_models_price(tmp_path: Path) -> None:
    small, large = billed(0), billed(1, tokens={"input": 2000, "output": 100})
    out = replay(tmp_path, ROUTED, [small, large])
    mini = PRICES.find("gpt-4o-mini")
    assert mini is not None
    cheap = cost_nanousd(mini, small.tokens)
    assert out.total.simulated_nanousd == cheap + large.cost_nanousd
    assert (out.total.routed, out.total.saved_nanousd) == (1, ONE - cheap)
    assert out.moves == {("red", "gpt-4o", "gpt-4o-mini"): 1}


def test_a_downgrade_under_pressure_is_told_apart_from_a_route(tmp_path: Path) -> None:
    spec = "monthlyBudgetUSD: 1, defaultModel: gpt-4o-mini"
    total = replay(tmp_path, spec, [billed(i) for i in range(400)]).total
    assert total.downgraded > 100
    assert (total.routed, total.refused) == (0, 0)


def test_a_required_model_stays(tmp_path: Path) -> None:
    out = replay(tmp_path, ROUTED, [billed(reason="required_model")])
    assert (out.total.routed, out.total.saved_nanousd) == (0, 0)


def test_an_exchange_that_the_old_policy_moved_starts_from_the_model_asked(tmp_path: Path) -> None:
    moved = billed(model="gpt-4o-mini", model_requested="gpt-4o", decision="route", reason="simple_query")
    out = replay(tmp_path, "monthlyBudgetUSD: 1000", [moved])
    assert out.total.saved_nanousd == moved.cost_nanousd - ONE


def test_a_budget_in_audit_is_shown_as_if_enforced(tmp_path: Path) -> None:
    spec = "monthlyBudgetUSD: 0.01, mode: audit"
    assert replay(tmp_path, spec, [billed(i) for i in range(5)]).total.refused > 0


def test_a_lower_output_limit_cuts_the_answer_that_is_paid_for(tmp_path: Path) -> None:
    long = billed(tokens={"input": 1000, "output": 4000})
    out = replay(tmp_path, "monthlyBudgetUSD: 1000, outputTokenCap: 500", [long])
    price = PRICES.find("gpt-4o")
    assert price is not None
    assert out.total.simulated_nanousd == cost_nanousd(price, {"input": 1000, "output": 500})
    own = billed(tokens={"input": 1000, "output": 2000}, cap=2000)
    assert replay(tmp_path, "monthlyBudgetUSD: 1000, outputTokenCap: 500", [own]).total.saved_nanousd == 0


def test_the_cost_of_one_request_is_judged_by_the_estimate_of_the_log(tmp_path: Path) -> None:
    spec = "monthlyBudgetUSD: 1000, maxUSDPerRequest: 0.03"
    assert replay(tmp_path, spec, [billed(cap=4096)]).refusals == {("red", "request_cost_exceeded"): 1}
    assert replay(tmp_path, spec, [billed(cap=1000)]).total.refused == 0


def test_new_prices_apply_to_tokens_and_leave_estimates_charged_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("models:\n  gpt-4o: {input: 25, output: 100}\n")
    prices = table([path])
    unmetered = expired(2, 77)
    out = replay(tmp_path, "monthlyBudgetUSD: 1000", [billed(), unmetered], prices=prices, reprice=True)
    assert out.total.simulated_nanousd == 10 * ONE + 77
    assert out.other_prices == 2


def test_what_the_log_refused_can_not_be_replayed() -> None:
    assert demand_of(billed(outcome=Outcome.REFUSED, tokens={}, cost_nanousd=0)) is None


def test_the_output_limit_is_read_off_the_estimate() -> None:
    for cap, inferred in ((500, 500), (4096, None), (16_384, 16_384)):
        demand = demand_of(billed(cap=cap))
        assert demand is not None
        assert demand.output_cap(PRICES, 4096) == inferred


records_st = st.lists(
    st.builds(
        lambda n, model, inp, out, app, required, other, cap: billed(
            n,
            model=model,
            model_requested=other or model,
            app=app,
            tokens={k: v for k, v in {"input": inp, "output": out, "searches": inp % 7 == 0}.items() if v},
            cap=cap,
            reason="required_model" if required else "within_budget",
        ),
        st.integers(0, 10**7),
        st.sampled_from(["gpt-4o", "gpt-4o-mini", "o3", "never-heard-of"]),
        st.integers(0, 250_000),
        st.integers(0, 4000),
        st.sampled_from(["chat", "batch"]),
        st.booleans(),
        st.sampled_from(["", "", "gpt-4o"]),
        st.sampled_from([4096, 300, 20_000]),
    ),
    min_size=5,
    max_size=60,
)
SPECS = [
    "monthlyBudgetUSD: 2",
    "monthlyBudgetUSD: 2, dailyBudgetUSD: 1, maxUSDPerHour: 0.5, defaultModel: gpt-4o-mini, clampOutput: true",
    "monthlyBudgetUSD: 3, costRouting: {enabled: true, cheapModel: gpt-4o-mini, expensiveModel: o3, "
    "complexityThreshold: 3000}, increase: [{usd: 2, until: '2026-12-20T00:00:00Z', reason: r, approvedBy: a}]",
    "monthlyBudgetUSD: 5, modelLimits: [{modelPattern: 'gpt-4o*', maxMonthlyUSD: 1}, "
    "{modelPattern: o3, allowedApps: [batch]}], apps: [{name: chat, essential: true, maxMonthlyUSD: 2}]",
    "monthlyBudgetUSD: 3, outputTokenCap: 200, maxUSDPerRequest: 0.2, defaultModel: never-heard-of",
    "monthlyBudgetUSD: 3, alertThresholds: [{percent: 50, action: alert_and_downgrade}], "
    "downgrades: [{from: 'o3', to: gpt-4o-mini}], unpricedModels: reject",
]


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=records_st)
def test_shortcuts_change_nothing_and_every_nano_dollar_is_accounted_for(
    tmp_path: Path, spec: str, records: list[UsageRecord]
) -> None:
    quick = replay(tmp_path, spec, records)
    assert quick == replay(tmp_path, spec, records, shortcuts=False)
    total = quick.total
    assert total.logged_nanousd == total.simulated_nanousd + total.refused_nanousd + total.saved_nanousd
    assert total.logged_nanousd == sum(r.cost_nanousd for r in records)


def test_a_shortcut_ends_with_the_day_that_its_price_ends_with(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(
        "models:\n  gpt-4o: [{input: 2.50, output: 10.00}, {from: 2026-11-25, input: 2500, output: 10000}]\n"
    )
    dated = table([file])
    before = [billed(i) for i in range(20)]
    after = [billed(i) for i in range(86_400, 86_405)]
    quick, whole = (
        replay(tmp_path, "monthlyBudgetUSD: 2", [*before, *after], prices=dated, reprice=True, shortcuts=way)
        for way in (True, False)
    )
    assert quick == whole
    assert quick.total.refused == len(after)  # a thousand times dearer, they do not fit


def test_most_exchanges_take_the_shortcut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spendgate.finops.simulation import simulate as module

    asked: list[int] = []
    whole = plan

    def counting(*args: Any) -> Any:
        asked.append(1)
        return whole(*args)

    monkeypatch.setattr(module, "plan", counting)
    replay(tmp_path, "monthlyBudgetUSD: 2", [billed(i) for i in range(1000)])
    assert len(asked) < 200
