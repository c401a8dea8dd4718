"""Budgets, prices and settings that do not mean what they say are found out, and the fix is named."""

from __future__ import annotations

from typing import Any

import pytest
from unit.exchange.driver import NOW_MS, PRICES, policy_of

from spendgate.budget.policy import DOCTOR
from spendgate.doctor.policy_checks import Spent, check_in_force, check_policy, check_settings
from spendgate.identity import api_keys
from spendgate.identity.api_keys import KeyRing
from spendgate.settings.config import Settings

FULL = "outputTokenCap: 100, "
GOOD = (
    f"{{team: ml, monthlyBudgetUSD: 10, {FULL} defaultModel: gpt-4o-mini}}\n---\n"
    f"{{team: unattributed, monthlyBudgetUSD: 1, {FULL}}}"
)


def found(text: str, settings: Settings | None = None, **spent: frozenset[str]) -> dict[str, str]:
    budgets = policy_of(text)
    used = Spent({k.replace("_", "-"): v for k, v in spent.items()})
    return {f.code: f.fix for f in check_policy(budgets, settings or Settings(), PRICES, used, NOW_MS)}


def test_a_good_policy_is_healthy() -> None:
    assert found(GOOD, ml=frozenset({"gpt-4o"})) == {}


SPECS: dict[str, tuple[str, str, str]] = {
    "nothing": ("", "policy-empty", "--policy"),
    "audit": ("{team: ml, monthlyBudgetUSD: 1, mode: audit}", "budget-audit", "enforce"),
    "soft": (
        "{team: ml, monthlyBudgetUSD: 1, alertThresholds: [{percent: 50, action: alert}]}",
        "budget-soft", "action: reject",
    ),
    "open": ("{team: ml, monthlyBudgetUSD: 1, failurePolicy: open}", "budget-fails-open", "failOpenLimitUSD"),
    "no cap": ("{team: ml, monthlyBudgetUSD: 1}", "output-cap", "outputTokenCap"),
    "unpriced": ("{team: ml, monthlyBudgetUSD: 1, defaultModel: mistery-9}", "model-unpriced", "models: {mistery-9"),
    "unattributed": ("{team: ml, monthlyBudgetUSD: 1}", "unattributed-unbounded", "unattributed"),
    "over": (
        "{team: ml, monthlyBudgetUSD: 1, increase: [{usd: 1, until: '2020-01-01T00:00:00Z', reason: r}]}",
        "increase-over", "take it away",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_a_planted_fault_of_a_budget_is_found_and_its_fix_named(name: str) -> None:
    text, code, fix = SPECS[name]
    assert fix in found(text)[code]


def test_a_model_that_was_used_and_has_no_price_is_found() -> None:
    assert "mistery-9" in found(GOOD, ml=frozenset({"mistery-9"}))["model-unpriced"]


def test_a_budget_under_another_name_than_its_team_is_found() -> None:
    fixes = found(GOOD.replace("team: ml", "team: ml-team"), ml_tean=frozenset({"gpt-4o"}))
    assert "called ml-tean" in fixes["budget-misnamed"]
    assert "unbudgeted: reject" in found(GOOD, zebra=frozenset({"gpt-4o"}))["team-unbudgeted"]


def test_teams_of_templates_and_groups_are_bounded_and_templates_are_looked_through() -> None:
    text = f"{{team: '*', monthlyBudgetUSD: 10, {FULL} defaultModel: mistery-9}}"
    fixes = found(text, zebra=frozenset({"gpt-4o"}))
    assert fixes.keys() == {"model-unpriced", "unattributed-unbounded"}  # `*` is not for those without a name
    group = "{team: all, members: ['*'], monthlyBudgetUSD: 10}"
    assert found(group, zebra=frozenset({"gpt-4o"})) == {}


def test_a_model_that_no_upstream_serves_is_found() -> None:
    settings = Settings.model_validate(
        {"upstreams": [{"name": "a", "url": "https://a.example", "models": ["gpt-4o"]}]}
    )
    assert "`models` of an upstream" in found(GOOD, settings)["model-unserved"]


def settings_codes(rings: dict[str, KeyRing] | None = None, **fields: Any) -> dict[str, str]:
    settings = Settings.model_validate({"identity": [{"kind": "spiffe"}], **fields})
    return {f.code: f.fix for f in check_settings(settings, rings or {}, {}, NOW_MS)}


KEYED = {"identity": [{"kind": "api-key", "file": "k"}]}
UP = {"name": "a", "url": "https://a.example"}
SETTINGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "slow ledger": ({"ledger_timeout": "3s"}, "ledger-timeout", "below message_timeout"),
    "no log": ({"usage_log": "off"}, "usage-log-off", "usage_log"),
    "headers": ({"identity": [{"kind": "headers"}]}, "identity-headers", "trusted_principals"),
    "any issuer": ({"identity": [{"kind": "jwt"}]}, "identity-issuer", "issuer"),
    "no keys": (KEYED, "keys-none", "keys issue"),
    "keys to nobody": ({**KEYED, "upstreams": [UP]}, "credential-missing", "credential"),
    "no env": ({"upstreams": [{**UP, "credential": {"env": "K"}}]}, "credential-absent", "where Envoy runs"),
    "open proxy": ({"upstreams": [{**UP, "credential": {"env": "K"}}]}, "passthrough-open", "identified"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_planted_fault_of_the_settings_is_found_and_its_fix_named(name: str) -> None:
    fields, code, fix = SETTINGS[name]
    assert fix in settings_codes(**fields)[code]


def test_keys_that_end_soon_are_named() -> None:
    _, key = api_keys.issue(bytes(56), "ml", "", "", 0, NOW_MS + 86_400_000)
    fixes = settings_codes({"k": KeyRing.of((key,))}, **KEYED)
    assert key.id in fixes["key-ends"]
    assert "keys-none" not in fixes


def test_good_settings_are_healthy() -> None:
    assert settings_codes() == {}


def test_what_the_gateway_does_not_enforce_is_found() -> None:
    policy = policy_of(GOOD)
    ml: dict[str, object] = {"team": "ml", "budget_usd": "10.00"}
    rest: dict[str, object] = {"team": "unattributed", "budget_usd": "1.00"}
    assert not list(check_in_force(policy, [ml, rest], NOW_MS))
    assert [f.code for f in check_in_force(policy, [rest], NOW_MS)] == ["policy-unenforced"]
    assert not list(
        check_in_force(policy, [{**ml, "budget_usd": "12.50", "carried_usd": "2.50"}, rest], NOW_MS)
    )
    stale = {**ml, "budget_usd": "9.00"}
    assert [f.code for f in check_in_force(policy, [stale, rest], NOW_MS)] == ["policy-stale"]


def test_the_doctors_team_has_nothing_in_any_policy() -> None:
    for text in ("", GOOD, f"{{team: {DOCTOR}, monthlyBudgetUSD: 100, unknownApis: pass}}"):
        budget = policy_of(text).budget(DOCTOR)
        assert budget is not None
        assert budget.monthly_nanousd == 0
        assert budget.unknown_apis == "reject"
