"""A frame's plan is the decision's, wherever it gives one. What a snapshot makes of it: unit/exchange/test_planning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.budget.test_rules import NOW, ask, budget, quote

from spendgate.budget.ask import DecisionSettings, Quote
from spendgate.budget.decide import plan
from spendgate.budget.frame import Frame, frame_of
from spendgate.budget.limits import bounds_of
from spendgate.pricing.aliases import known_as
from spendgate.pricing.span import FOREVER

SETTINGS = DecisionSettings()


def frame(model: str = "gpt-4o", app: str = "chat", **spec: Any) -> Frame | None:
    return frame_of(budget(**spec), (), app, model, known_as, NOW, SETTINGS)


@pytest.mark.parametrize("cap", [None, 7, 100])
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"dailyBudgetUSD": 10, "maxUSDPerHour": 2, "outputTokenCap": 50},
        {"clampOutput": True, "maxUSDPerRequest": 300},
        {"apps": [{"name": "chat", "essential": True, "maxMonthlyUSD": 9}]},
        {"modelLimits": [{"modelPattern": "gpt-*", "maxMonthlyUSD": 9, "allowedApps": ["chat"]}]},
        {"limits": [{"per": "app", "max": 9}, {"per": "model", "max": 5, "unit": "requests"}]},
        {"alertThresholds": [{"percent": 50, "action": "alert"}], "rollover": {"percent": 5}},
    ],
)
def test_a_plan_by_a_frame_is_the_decisions(spec: dict[str, Any], cap: int | None) -> None:
    found, own = frame(**spec), budget(**spec)
    assert found is not None
    assert found.allowance_nanousd == own.fail_open_allowance(NOW)

    def quoted(model: str, policys: int | None) -> Quote:
        return quote(model, policys if cap is None else cap)

    decided = plan(ask(client_output_cap=cap), own, NOW, quoted, lambda _: "", SETTINGS)
    assert found.plan("gpt-4o", quoted("gpt-4o", own.output_token_cap), cap) == decided


@pytest.mark.parametrize(
    "spec",
    [
        {"mode": "audit"},
        {"defaultModel": "gpt-4o-mini"},
        {"downgrades": [{"from": "gpt-4o", "to": "gpt-4o-mini"}]},
        {"costRouting": {"enabled": True, "cheapModel": "gpt-4o-mini"}},
        {"holds": "learned"},
        {"modelLimits": [{"modelPattern": "gpt-*", "allowedApps": ["other"]}]},
    ],
)
def test_what_is_not_plain_is_left_to_the_decision(spec: dict[str, Any]) -> None:
    found = frame(**spec)
    assert found is not None and not found.is_whole
    assert found.plan("gpt-4o", quote("gpt-4o", 100), 100) is None
    assert found.bounds == bounds_of(budget(**spec), ask(), "gpt-4o", NOW, SETTINGS)


@pytest.mark.parametrize(
    "spec",
    [
        {"maxUSDPerRun": 3},
        {"limits": [{"per": "user", "max": 9}]},
        {"limits": [{"per": "run", "max": 9}]},
        {"limits": [{"per": "provider", "max": 9}]},
        {"limits": [{"per": "tag:project", "max": 9}]},
    ],
)
def test_what_is_bound_by_more_than_team_app_and_model_has_no_frame(spec: dict[str, Any]) -> None:
    assert frame(**spec) is None


def test_what_lapsed_has_no_frame() -> None:
    assert frame_of(replace(budget(), lapsed=True), (), "chat", "gpt-4o", known_as, NOW, SETTINGS) is None


def test_a_request_that_may_not_cost_so_much_is_left_to_the_decision() -> None:
    found = frame(maxUSDPerRequest=99)
    assert found is not None
    assert found.plan("gpt-4o", quote("gpt-4o", 100), 100) is None
    assert found.plan("gpt-4o", quote("gpt-4o", 99), 99) is not None


def test_a_frame_holds_until_an_increase_ends_and_by_the_minute_in_a_calendar() -> None:
    plain, raised = frame(), frame(increase=[{"usd": 5, "until": "2026-11-30T00:00:00Z"}])
    there = frame(limits=[{"per": "team", "max": 9, "window": "week"}], timeZone="Europe/Berlin")
    assert plain is not None and raised is not None and there is not None
    assert plain.until_ms == FOREVER and raised.until_ms == NOW + 5 * 86_400_000 + 43_200_000
    assert (there.since_ms, there.until_ms) == (NOW, NOW + 60_000)
