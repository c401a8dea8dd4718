from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from spendgate.budget.phase import phase_of
from spendgate.controller import conditions as c
from spendgate.controller.confirmation import Confirmation
from spendgate.controller.reconcile import Compiler, Past, Verdict, reconcile
from spendgate.controller.status import (
    Numbers,
    changed,
    conditions_changed,
    desired,
    models_named,
    patch_of,
    transitions,
    usd,
)
from spendgate.money import usd_to_nano


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = at("2026-11-11T00:00:00")


def verdict(usd: float = 100, generation: int = 1, **spec: Any) -> Verdict:
    obj = {
        "metadata": {"name": "n", "namespace": "ns", "uid": "u", "generation": generation},
        "spec": {"team": "t", "monthlyBudgetUSD": usd, **spec},
    }
    return reconcile([obj], Past(), Compiler()).verdicts["ns", "n"]


def spent(settled: str, reserved: str = "0") -> Numbers:
    return Numbers(usd_to_nano(settled), usd_to_nano(reserved))


def of(status: dict[str, Any], kind: str) -> str:
    return next(str(x["status"]) for x in status["conditions"] if x["type"] == kind)


def test_the_numbers_are_exact_to_a_micro_dollar() -> None:
    numbers = replace(spent("12.3456784", "0.25"), forecast_nanousd=37_037_035_200)
    status = desired(verdict(), numbers, {}, NOW)
    assert status["forecastUSD"] == 37.037035
    assert status["currentSpendUSD"] == 12.345678
    assert status["reservedUSD"] == 0.25
    assert status["budgetUtilization"] == 0.123457
    assert usd(8_999_999_123_456_789) == 8999999.123457


@pytest.mark.parametrize(
    ("settled", "phase"),
    [
        ("79.99", c.PHASE_READY),
        ("80", c.PHASE_DOWNGRADING),
        ("99.9", c.PHASE_DOWNGRADING),
        ("100", c.PHASE_EXHAUSTED),
    ],
)
def test_the_phase_follows_the_thresholds(settled: str, phase: str) -> None:
    status = desired(verdict(), spent(settled), {}, NOW, confirmation=Confirmation(1))
    assert status["phase"] == phase
    assert of(status, c.EXHAUSTED) == str(phase == c.PHASE_EXHAUSTED)
    assert of(status, c.READY) == "True"


@pytest.mark.parametrize(
    ("found", "status", "reason", "says"),
    [
        (Confirmation(3), "True", "Enforced", "every gateway enforces generation 2"),
        (Confirmation(3, 1, "pod-b/0/1"), "False", "GatewaysBehind", "1 of 3 gateway workers"),
        (Confirmation(0), "Unknown", "NoGateway", "15 s"),
        (None, "Unknown", "LedgerUnavailable", "Redis"),
    ],
)
def test_ready_is_what_the_gateways_say(
    found: Confirmation | None, status: str, reason: str, says: str
) -> None:
    old = desired(verdict(), spent("1"), {}, NOW, confirmation=Confirmation(3))
    told = desired(verdict(50, generation=2), spent("1"), old, NOW, confirmation=found)
    ready = next(x for x in told["conditions"] if x["type"] == c.READY)
    assert (ready["status"], ready["reason"]) == (status, reason) and says in ready["message"]


def test_what_was_enforced_is_not_doubted_for_an_outage_of_redis() -> None:
    old = desired(verdict(), spent("1"), {}, NOW, confirmation=Confirmation(3))
    assert of(desired(verdict(), None, old, NOW, fault="Redis does not answer"), c.READY) == "True"


def test_what_is_held_is_not_used() -> None:
    status = desired(verdict(), spent("60", "40"), {}, NOW)
    assert (status["phase"], status["budgetUtilization"]) == (c.PHASE_READY, 0.6)


def test_what_was_carried_over_is_part_of_the_budget() -> None:
    rolls = verdict(rollover={"percent": 50})
    status = desired(rolls, replace(spent("120"), carried_nanousd=usd_to_nano("50")), {}, NOW)
    assert (status["phase"], status["budgetUtilization"]) == (c.PHASE_DOWNGRADING, 0.8)
    assert of(status, c.EXHAUSTED) == "False"
    full = desired(rolls, replace(spent("150"), carried_nanousd=usd_to_nano("50")), {}, NOW)
    exhausted = next(x for x in full["conditions"] if x["type"] == c.EXHAUSTED)
    assert full["phase"] == c.PHASE_EXHAUSTED and "$150" in exhausted["message"]


def test_a_soft_budget_is_never_exhausted() -> None:
    soft = verdict(alertThresholds=[{"percent": 50, "action": "alert"}])
    status = desired(soft, spent("500"), {}, NOW)
    assert status["phase"] == c.PHASE_READY and of(status, c.EXHAUSTED) == "False"


def test_a_budget_of_nothing_is_exhausted_from_the_start() -> None:
    status = desired(verdict(0), spent("0"), {}, NOW)
    assert status["phase"] == c.PHASE_EXHAUSTED and status["budgetUtilization"] == 1.0


def test_without_the_ledger_the_last_numbers_stay_and_the_condition_says_so() -> None:
    before = desired(verdict(), spent("80"), {}, NOW)
    status = desired(verdict(), None, before, NOW + 1000, fault="Redis does not answer")
    assert status["currentSpendUSD"] == 80 and status["phase"] == c.PHASE_DOWNGRADING
    assert of(status, c.STORE_DEGRADED) == "True"
    assert of(status, c.EXHAUSTED) == "Unknown"


def test_an_invalid_document_shows_what_stays_in_force() -> None:
    status = desired(verdict(costRouting={"enabled": True}), None, {}, NOW)
    assert status["phase"] == c.PHASE_INVALID and status["enforcedGeneration"] == 0
    assert of(status, c.READY) == "False" and of(status, c.INVALID) == "True"
    assert "currentSpendUSD" not in status


def test_a_transition_time_moves_only_with_the_status() -> None:
    first = desired(verdict(), spent("10"), {}, NOW)
    later = desired(verdict(), spent("85"), first, NOW + 60_000)
    times = {x["type"]: x["lastTransitionTime"] for x in later["conditions"]}
    assert times[c.READY] == "2026-11-11T00:00:00Z"
    assert times[c.DOWNGRADING] == "2026-11-11T00:01:00Z"


def test_the_time_of_writing_alone_is_no_change() -> None:
    first = desired(verdict(), spent("10"), {}, NOW)
    assert not changed(first, desired(verdict(), spent("10"), first, NOW + 60_000))
    more = desired(verdict(), spent("11"), first, NOW + 60_000)
    assert changed(first, more) and not conditions_changed(first, more)
    assert conditions_changed(first, desired(verdict(), spent("90"), first, NOW))


def test_a_patch_takes_away_what_is_gone() -> None:
    assert patch_of({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": None, "b": 3, "c": 4}
    assert patch_of({"a": 1}, {"a": 1}) == {}


def test_events_are_told_for_what_turned_not_for_what_was_always_fine() -> None:
    first = desired(verdict(), spent("10"), {}, NOW)
    assert [t[0] for t in transitions({}, first)] == []
    exhausted = desired(verdict(), spent("100"), first, NOW)
    assert [(k, s) for k, s, _, _ in transitions(first, exhausted)] == [
        (c.EXHAUSTED, "True"),
        (c.DOWNGRADING, "True"),
    ]
    assert [(k, s) for k, s, _, _ in transitions(exhausted, first)] == [
        (c.EXHAUSTED, "False"),
        (c.DOWNGRADING, "False"),
    ]


def test_what_is_true_again_after_the_ledger_was_away_is_no_event() -> None:
    exhausted = desired(verdict(), spent("100"), {}, NOW)
    away = desired(verdict(), None, exhausted, NOW + 5000, fault="Redis does not answer")
    back = desired(verdict(), spent("100"), away, NOW + 10_000)
    assert [k for k, *_ in transitions(exhausted, away)] == [c.STORE_DEGRADED]
    assert [k for k, *_ in transitions(away, back)] == [c.STORE_DEGRADED]
    pressed = desired(verdict(), spent("85"), {}, NOW)
    meanwhile = desired(verdict(), None, pressed, NOW + 5000, fault="Redis does not answer")
    now_spent = desired(verdict(), spent("100"), meanwhile, NOW + 10_000)
    assert [k for k, *_ in transitions(meanwhile, now_spent)] == [c.EXHAUSTED, c.STORE_DEGRADED]


def test_the_models_that_a_budget_sends_to_are_named() -> None:
    found = verdict(
        defaultModel="a",
        costRouting={"enabled": True, "cheapModel": "b", "expensiveModel": "c"},
        downgrades=[{"from": "x*", "to": "d"}],
        modelLimits=[{"modelPattern": "e", "maxMonthlyUSD": 1}],
    ).in_force
    assert found is not None
    assert models_named(found.budget) == ("a", "b", "c", "d")


ROUTING = {
    "enabled": True,
    "cheapModel": "gpt-4o-mini",
    "expensiveModel": "gpt-4o",
    "complexityThreshold": 500,
}


def message(status: dict[str, Any], kind: str) -> str:
    return next(str(x["message"]) for x in status["conditions"] if x["type"] == kind)


def test_a_budget_in_audit_mode_never_says_that_requests_are_refused_or_downgraded() -> None:
    status = desired(verdict(mode="audit"), spent("120"), {}, NOW)
    assert status["phase"] == c.PHASE_AUDIT
    assert (of(status, c.EXHAUSTED), of(status, c.DOWNGRADING)) == ("False", "False")
    assert (
        message(status, c.EXHAUSTED)
        == "$100.00 of the bound are reached; in audit mode no request is refused"
    )
    assert message(status, c.DOWNGRADING) == "80 % are reached; in audit mode no other model is used"
    assert desired(verdict(mode="audit"), None, {}, NOW)["phase"] == c.PHASE_AUDIT


def test_cost_routing_downgrades_above_eighty_percent_as_the_gateway_does() -> None:
    thresholds = [{"percent": 90, "action": "alert_and_downgrade"}, {"percent": 100, "action": "reject"}]
    status = desired(verdict(costRouting=ROUTING, alertThresholds=thresholds), spent("85"), {}, NOW)
    assert status["phase"] == c.PHASE_DOWNGRADING
    assert of(status, c.DOWNGRADING) == "True"
    assert message(status, c.DOWNGRADING) == "cost routing is under pressure; cheaper models are used"


def test_money_in_a_condition_is_written_as_people_write_it() -> None:
    status = desired(verdict(8000), spent("8000"), {}, NOW)
    assert message(status, c.EXHAUSTED).startswith("$8,000.00 are spent; requests are refused until ")


@pytest.mark.parametrize("spec", [
    {}, {"mode": "audit"}, {"costRouting": ROUTING}, {"alertThresholds": [{"percent": 50, "action": "alert"}]},
    {"costRouting": ROUTING, "alertThresholds": [{"percent": 90, "action": "alert_and_downgrade"}]},
])  # fmt: skip
@pytest.mark.parametrize("settled", ["0", "79.99", "80", "80.01", "90", "99.99", "100", "150"])
def test_the_status_has_the_phase_that_console_and_commands_show(spec: dict[str, Any], settled: str) -> None:
    found = verdict(**spec)
    assert found.in_force is not None
    shown = phase_of(found.in_force.budget, usd_to_nano(settled), NOW)
    assert desired(found, spent(settled), {}, NOW)["phase"] == shown
