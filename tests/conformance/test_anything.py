"""Limits about anything, groups, templates and calendars, as their users asked for them, through a real Envoy."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import openai
import pytest
from support.calls import chat, message
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.spending import spend

CENT = 0.002
CONFIG = {"unbudgeted": "reject", "reload_interval": "50ms"}
ANYTHING: dict[str, list[dict[str, Any]]] = {
    "people": [{"per": "user", "max": CENT, "overrides": [{"match": "ann@*", "max": 5}]}],
    "agents": [{"per": "run", "unit": "requests", "max": 3, "window": "total"}],
    "local": [{"per": "team", "unit": "tokens", "max": 60, "window": "day", "match": "llama-*"}],
    "capped": [{"per": "provider", "match": "openai", "max": CENT}],
    "weekly": [{"per": "app", "unit": "requests", "max": 2, "window": "week"}],
    "prepaid": [{"per": "team", "max": CENT, "window": "total"}],
    "each-model": [{"per": "model", "unit": "requests", "max": 1, "window": "year"}],
    "none-held": [{"per": "team", "unit": "requests", "max": 5, "window": "hour"}],
}
NEW_YORK, FEBRUARY = "America/New_York", 2
FISCAL: dict[str, Any] = {"timeZone": NEW_YORK, "yearStartsIn": FEBRUARY}
"""Its quarters begin in February, May, August and November, at midnight in New York."""
PERIODS = {"quarter": 3, "year": 12}
BERLIN = {"timeZone": "Europe/Berlin", "weekStartsOn": "sunday", "yearStartsIn": 4}
POLICY = policy(
    *(budget(team, 100, limits=limits, **BERLIN) for team, limits in ANYTHING.items()),
    *(
        budget(f"by-{w}", 100, limits=[{"per": "team", "unit": "requests", "max": 2, "window": w}], **FISCAL)
        for w in PERIODS
    ),
    *(budget(t, CENT, rollover={"percent": 100}, overshootPercent=0) for t in ("thrifty", "newcomer")),
    budget("left", 100),
    budget("right", 100),
    budget("department", CENT, members=["left", "right"]),
    budget("pool", CENT, members=["pool-*"]),
    budget("made-*", CENT),
    budget("made-own", 100),
    budget("crowd-*", 100),
    budget("crowd", 0.05, members=["crowd-*"], overshootPercent=0),
)


def refusal(gateway: Gateway, team: str, **call: Any) -> dict[str, Any]:
    """The error of a call that must be refused with 429."""
    with pytest.raises(openai.RateLimitError) as caught:
        chat(gateway, team, **call)
    assert caught.value.response.headers["x-should-retry"] == "false"
    error: dict[str, Any] = caught.value.response.json()["error"]
    return error


def spend_up(gateway: Gateway, team: str, **call: Any) -> dict[str, Any]:
    """Calls until one is refused for good: its error."""
    for _ in range(30):
        try:
            chat(gateway, team, max_tokens=50, **call)
        except openai.RateLimitError as caught:
            error: dict[str, Any] = caught.response.json()["error"]
            if error["code"] != "budget_held":
                return error
    pytest.fail("never refused")


def own(gateway: Gateway, team: str, query: str = "", **headers: str) -> dict[str, Any]:
    """What the caller has left."""
    asked = {"x-llm-team": team, "x-llm-app": "app", **headers}
    answer: dict[str, Any] = gateway.openai._client.get(
        f"{gateway.url}/spendgate/v1/budget{query}", headers=asked
    ).json()
    return answer


def test_one_rule_bounds_every_person_and_an_override_another(gateway: Gateway) -> None:
    error = spend_up(gateway, "people", headers={"x-llm-user": "bob"})
    assert error["code"] == "limit_exceeded"
    limit = error["details"]["limit"]
    assert (limit["per"], limit["value"], limit["unit"], limit["window"]) == ("user", "bob", "usd", "month")
    assert Decimal(limit["max"]) == Decimal(str(CENT)) and Decimal(limit["used"]) > 0
    assert "User bob of team people has used $" in error["message"]
    for headers in ({"x-llm-user": "ann@x.org"}, {"x-llm-user": "eve"}, {}):
        assert chat(gateway, "people", headers=headers).answer.choices, (
            "one person's refusal is nobody else's"
        )
    nobody = spend_up(gateway, "people")
    assert nobody["details"]["limit"]["value"] == "", "who is not named has the default limit"


def test_a_run_has_so_many_calls_and_each_run_its_own(gateway: Gateway) -> None:
    for _ in range(3):
        chat(gateway, "agents", headers={"x-llm-run": "r1"})
    error = refusal(gateway, "agents", headers={"x-llm-run": "r1"})
    assert error["code"] == "limit_exceeded"
    assert (
        error["details"]["limit"] | {"per": "run", "value": "r1", "used": 3, "max": 3, "held": 0}
        == (error["details"]["limit"])
    )
    assert chat(gateway, "agents", headers={"x-llm-run": "r2"}).answer.choices
    assert chat(gateway, "agents").answer.choices, "what is of no run is bounded by none"


def test_calls_at_once_pass_no_limit_of_requests(gateway: Gateway) -> None:
    def call(_: int) -> int:
        try:
            chat(gateway, "none-held", delay_ms=300)
        except openai.RateLimitError as caught:
            assert caught.response.json()["error"]["code"] == "limit_exceeded"
            return 0
        return 1

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(call, range(12))) == 5


def test_a_free_local_model_is_stopped_by_tokens_and_other_models_are_not(gateway: Gateway) -> None:
    error = spend_up(gateway, "local", model="llama-3-local")
    limit = error["details"]["limit"]
    assert (limit["unit"], limit["match"], limit["max"]) == ("tokens", "llama-*", 60)
    assert 0 <= limit["used"] <= 60
    assert "tokens" in error["message"] and "llama-*" in error["message"]
    assert chat(gateway, "local").answer.choices


def test_a_provider_is_capped_over_all_of_its_apis(gateway: Gateway) -> None:
    spend_up(gateway, "capped")
    client = gateway.openai
    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model="gpt-4o", input="hi", extra_headers={"x-llm-team": "capped"})
    assert caught.value.response.json()["error"]["details"]["limit"]["value"] == "openai"
    assert message(gateway, "capped").answer.content, "another provider goes on"


def test_an_app_has_a_week_and_a_budget_without_reset_is_prepaid(gateway: Gateway) -> None:
    for _ in range(2):
        chat(gateway, "weekly")
    error = refusal(gateway, "weekly")
    assert error["details"]["limit"]["window"] == "week"
    assert error["details"]["resets_at"].endswith(("T22:00:00Z", "T23:00:00Z")), "midnight in Berlin"
    assert chat(gateway, "weekly", app="other").answer.choices
    assert spend_up(gateway, "prepaid")["details"]["limit"]["resets_at"] is None


def next_period(months: int, at: datetime) -> str:
    """The first midnight after `at`, in the budgets' calendar, at which so many months begin."""
    zone = ZoneInfo(NEW_YORK)
    first = datetime(at.year, at.month, 1, tzinfo=zone)
    while first <= at or (first.month - FEBRUARY) % months:
        first = (first.replace(tzinfo=None) + timedelta(days=32)).replace(day=1, tzinfo=zone)
    return first.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("window", PERIODS)
def test_a_fiscal_quarter_and_year_refuse_by_their_own_name_until_the_next_begins(
    gateway: Gateway, window: str
) -> None:
    for _ in range(2):
        chat(gateway, f"by-{window}")
    before = datetime.now(UTC)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(gateway, f"by-{window}")
    error = caught.value.response.json()["error"]
    assert error["code"] == "limit_exceeded"
    assert error["details"]["limit"]["window"] == window
    assert f"Team by-{window} has used 2 of 2 requests this {window}" in error["message"]
    resets = error["details"]["resets_at"]
    assert resets in {next_period(PERIODS[window], at) for at in (before, datetime.now(UTC))}
    assert error["details"]["limit"]["resets_at"] == resets
    assert caught.value.response.headers["x-spendgate-reset"] == resets
    assert own(gateway, f"by-{window}")["limits"][0]["resets_at"] == resets


def test_what_last_month_left_is_admitted_too_and_then_refused(gateway: Gateway) -> None:
    last_month = int((datetime.now(UTC).replace(day=1) - timedelta(days=2)).timestamp() * 1000)
    redis_url = json.loads((gateway.data_dir / "up.json").read_text())["redis"]
    spend(redis_url, "thrifty", CENT / 4, at_ms=last_month)
    cap = {"thrifty": Decimal(str(CENT)) * 7 / 4, "newcomer": Decimal(str(CENT))}
    for team, most in cap.items():
        error = spend_up(gateway, team)
        assert (error["code"], Decimal(error["details"]["budget_usd"])) == ("monthly_budget_exceeded", most)
        left = most - Decimal(gateway.quiet(team)["settled_usd"])
        assert 0 <= left < Decimal(error["details"]["estimated_usd"])
    assert Decimal(own(gateway, "thrifty")["limit_usd"]) == cap["thrifty"]


def test_each_model_has_its_own(gateway: Gateway) -> None:
    chat(gateway, "each-model")
    assert refusal(gateway, "each-model")["details"]["limit"]["value"] == "gpt-4o"
    assert chat(gateway, "each-model", model="gpt-4o-mini").answer.choices


def test_a_group_refuses_when_its_teams_together_reach_its_bound(gateway: Gateway) -> None:
    chat(gateway, "left", max_tokens=50)
    error = spend_up(gateway, "right")
    assert error["code"] == "group_budget_exceeded" and error["details"]["group"] == "department"
    assert "Group department has used $" in error["message"]
    assert refusal(gateway, "left", max_tokens=50)["code"] == "group_budget_exceeded"
    together = Decimal(gateway.quiet("left")["settled_usd"]) + Decimal(gateway.quiet("right")["settled_usd"])
    (group,) = own(gateway, "left")["groups"]
    assert group["name"] == "department" and Decimal(group["settled_usd"]) == together
    assert Decimal(own(gateway, "left")["remaining_usd"]) > 90, "the team itself has money left"


def test_a_pool_needs_no_budget_below_it(gateway: Gateway) -> None:
    assert chat(gateway, "pool-a", max_tokens=50).answer.choices
    assert spend_up(gateway, "pool-b")["code"] == "group_budget_exceeded"
    assert refusal(gateway, "pool-c", max_tokens=50)["code"] == "group_budget_exceeded"


def test_a_team_never_heard_of_has_the_templates_bound_from_its_first_call(gateway: Gateway) -> None:
    error = spend_up(gateway, "made-today")
    assert error["code"] == "monthly_budget_exceeded" and "Team made-today" in error["message"]
    assert chat(gateway, "made-yesterday").answer.choices, "each team has its own"
    assert own(gateway, "made-own")["limit_usd"] == "100.00"


def test_many_at_once_pass_no_bound_of_a_group_of_template_teams(gateway: Gateway) -> None:
    def call(n: int) -> None:
        try:
            chat(gateway, f"crowd-{n % 7}", max_tokens=200, delay_ms=50)
        except openai.RateLimitError as caught:
            assert caught.response.json()["error"]["code"] in ("group_budget_exceeded", "budget_held")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(160)))
    spent = sum(Decimal(gateway.quiet(f"crowd-{n}")["settled_usd"]) for n in range(7))
    assert Decimal("0.03") < spent <= Decimal("0.05")
    group = until(
        lambda: own(gateway, "crowd-1")["groups"][0], lambda g: g["held_usd"] == "0.00", "the group's holds"
    )
    assert Decimal(group["settled_usd"]) == spent


def test_what_is_left_names_every_limit_of_the_caller(gateway: Gateway) -> None:
    answer = own(gateway, "people", **{"x-llm-user": "zoe"})
    (limit,) = answer["limits"]
    assert limit | {"per": "user", "value": "zoe", "unit": "usd", "window": "month", "used": "0.00"} == limit
    answer = own(gateway, "local", "?model=llama-3-local")
    assert answer["limits"][0]["unit"] == "tokens" and answer["model"]["affordable_output_tokens"] <= 60
