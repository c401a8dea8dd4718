"""LiteLLM's answers as budgets: what is the same, what is said otherwise, and that nothing is lost in silence."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.load import parse_documents
from spendgate.budget.model import BudgetSpec
from spendgate.errors import ConfigurationError
from spendgate.migration.drafts import Note, documents
from spendgate.migration.litellm import read, window
from spendgate.migration.values import parsed

Json = dict[str, Any]


def imported(*given: Any) -> tuple[dict[str, BudgetSpec], list[Note]]:
    notes: list[Note] = []
    text = documents(read([(f"file{i}", g) for i, g in enumerate(given)], notes), notes)
    return {d.spec.team: d.spec for d in parse_documents(text)} if text else {}, notes


def team(**more: Any) -> Json:
    return {"team_id": "id-1", "team_alias": "payments", **more}


def said(notes: list[Note], kind: str = "no equal") -> str:
    return "\n".join(str(n) for n in notes if n.kind == kind)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("30d", "month"), ("1mo", "month"), ("7d", "week"), ("1w", "week"), ("1d", "day"), ("24h", "day"),
     ("1h", "hour"), ("60m", "hour"), ("3600s", "hour"), (None, "total"), ("2mo", None), ("45m", None),
     ("365d", None), ("soon", None)],
)  # fmt: skip
def test_a_duration_is_the_window_that_litellm_resets_it_by(
    duration: str | None, expected: str | None
) -> None:
    assert window(duration) == expected


def test_a_teams_month_day_soft_limit_and_models_are_its_budget() -> None:
    spec = imported(
        [
            team(
                max_budget=8000,
                budget_duration="30d",
                soft_budget=6400,
                budget_limits=[{"budget_duration": "1d", "max_budget": 500}],
                model_max_budget={"claude-opus-5": {"budget_limit": 1000, "time_period": "30d"}, "o3": 20},
            )
        ]
    )[0]["payments"]
    assert (spec.monthly_budget_usd, spec.daily_budget_usd) == (8000, 500)
    assert [(t.percent, t.action) for t in spec.alert_thresholds] == [(80, "alert"), (100, "reject")]
    assert {m.model_pattern: m.max_monthly_usd for m in spec.model_limits} == {
        "claude-opus-5": 1000,
        "o3": 20,
    }


def test_a_key_is_an_app_of_its_team_in_whatever_file_it_stands() -> None:
    keys = {"keys": [{"token": "h", "key_alias": "checkout", "team_id": "id-1", "max_budget": 200.25,
                      "budget_duration": "30d"}]}  # fmt: skip
    for files in (
        [[team(max_budget=8000, budget_duration="30d")], keys],
        [keys, {"teams": [team(max_budget=8000, budget_duration="30d")]}],
        [[team(max_budget=8000, budget_duration="30d", keys=keys["keys"])]],
    ):
        [app] = imported(*files)[0]["payments"].apps
        assert (app.name, app.max_monthly_usd) == ("checkout", Decimal("200.25"))


def test_a_keys_budget_may_stand_in_a_table_of_budgets() -> None:
    key = {"token": "h", "key_alias": "batch", "team_id": "id-1", "budget_id": "small", "max_budget": None}
    table = [{"budget_id": "small", "max_budget": 7, "budget_duration": "1mo", "created_by": "admin"}]
    [app] = imported([team(max_budget=10, budget_duration="30d")], [key], table)[0]["payments"].apps
    assert app.max_monthly_usd == 7


def test_who_is_blocked_gets_a_budget_that_admits_nothing() -> None:
    budgets, notes = imported([team(blocked=True, max_budget=5)])
    assert budgets["payments"].monthly_budget_usd == 0
    assert "blocked" in said(notes, "otherwise")
    keys = {"keys": [{"token": "h", "key_alias": "old", "team_id": "id-1", "blocked": True}]}
    [app] = imported([team(max_budget=5, budget_duration="30d")], keys)[0]["payments"].apps
    assert app.max_monthly_usd == 0


def test_a_team_whose_window_is_no_month_is_bounded_all_the_same_and_that_is_said() -> None:
    budgets, notes = imported([team(max_budget=100, budget_duration="7d")])
    assert budgets["payments"].monthly_budget_usd == 600
    assert "6 times the limit of a week" in said(notes, "otherwise")
    budgets, notes = imported([team(max_budget=100)])
    assert budgets["payments"].monthly_budget_usd == 100
    assert "for ever" in said(notes, "otherwise")
    [limit] = budgets["payments"].limits
    assert (limit.per, limit.max, limit.window) == ("team", 100, "total")
    assert imported([team(max_budget=10, budget_duration="1d")])[0]["payments"].monthly_budget_usd == 310


def test_a_team_without_a_limit_gets_no_budget_and_is_named() -> None:
    budgets, notes = imported([team(max_budget=None)])
    assert budgets == {}
    assert "payments" in said(notes, "told") and "unbudgeted" in said(notes, "told")


def test_a_soft_limit_alone_only_alerts() -> None:
    spec = imported([team(soft_budget=50)])[0]["payments"]
    assert [(t.percent, t.action) for t in spec.alert_thresholds] == [(100, "alert")]


def test_a_soft_limit_beside_a_weeks_limit_leaves_that_one_to_refuse_and_is_named() -> None:
    budgets, notes = imported([team(max_budget=100, budget_duration="7d", soft_budget=50)])
    spec = budgets["payments"]
    assert (spec.monthly_budget_usd, [(r.window, r.max) for r in spec.limits]) == (600, [("week", 100)])
    assert spec.alert_thresholds == (), "what is above the budget is refused"
    assert "soft limit of $50" in said(notes, "no equal")


def test_two_teams_of_one_name_keep_apart() -> None:
    budgets, notes = imported(
        [
            {"team_id": "a", "team_alias": "ml", "max_budget": 1, "budget_duration": "30d"},
            {"team_id": "b", "team_alias": "ml", "max_budget": 2, "budget_duration": "30d"},
        ]
    )
    assert {k: v.monthly_budget_usd for k, v in budgets.items()} == {"a": 1, "b": 2}
    assert said(notes, "otherwise").count("'ml'") == 2


@pytest.mark.parametrize(
    ("key", "why"),
    [({"token": "h", "max_budget": 3, "team_id": "id-1"}, "without an alias"),
     ({"token": "h", "key_alias": "own", "max_budget": 3}, "no team"),
     ({"token": "h", "key_alias": "own", "team_id": "gone", "max_budget": 3}, "give /team/list"),
     ({"token": "h", "key_alias": "own", "team_id": "id-1", "rpm_limit": 3}, "a rate a minute"),
     ({"token": "h", "key_alias": "own", "team_id": "id-1", "soft_budget": 3}, "soft_budget 3"),
     ({"token": "h", "key_alias": "own", "team_id": "id-1", "model_max_budget": {"gpt-4o": 3}}, "a model and a key")],
)  # fmt: skip
def test_what_a_key_has_and_no_budget_says_is_named(key: Json, why: str) -> None:
    notes = imported([team(max_budget=10, budget_duration="30d")], {"keys": [key]})[1]
    assert why in said(notes)


CONFIG = """
litellm_settings:
  max_budget: 100.5
  budget_duration: 30d
  max_end_user_budget: 0.25
  timezone: US/Eastern
  default_team_settings: [{team_id: default-settings, max_budget: 100.0}]
router_settings:
  provider_budget_config:
    openai: {budget_limit: 40, time_period: 1d}
model_list:
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, max_budget: 12}}
"""


def test_every_limit_of_a_config_file_is_named() -> None:
    [document] = parsed(CONFIG, "config.yaml")
    text = said(imported(document)[1])
    for name in ("max_end_user_budget", "timezone", "gpt-4o: a limit of a deployment"):
        assert name in text


def test_the_whole_proxys_budget_and_providers_are_a_group_and_a_teams_default_a_template() -> None:
    budgets = imported(parsed(CONFIG, "config.yaml")[0])[0]
    everybody, template = budgets["all-teams"], budgets["*"]
    assert (everybody.members, everybody.monthly_budget_usd) == (("*",), Decimal("100.5"))
    [provider] = everybody.limits
    assert (provider.per, provider.match, provider.max, provider.window) == ("provider", "openai", 40, "day")
    assert (template.members, template.monthly_budget_usd) == (None, 100)


def test_an_organization_is_a_group_of_its_teams() -> None:
    teams = [
        {
            "team_id": "a",
            "team_alias": "red",
            "organization_id": "o",
            "max_budget": 5,
            "budget_duration": "30d",
        },
        {"team_id": "b", "team_alias": "blue", "organization_id": "o"},
        {"team_id": "c", "team_alias": "green", "organization_id": "other"},
    ]
    table = {"max_budget": 9, "budget_duration": "30d"}
    organization = [{"organization_id": "o", "organization_alias": "Acme", "litellm_budget_table": table}]
    acme = imported(teams, organization)[0]["Acme"]
    assert (acme.members, acme.monthly_budget_usd) == (("red", "blue"), 9)


def test_members_have_the_teams_limit_for_each_or_one_of_their_own() -> None:
    def month(usd: int) -> Json:
        return {"max_budget": usd, "budget_duration": "30d"}

    seats = [
        {"user_id": "ann", "litellm_budget_table": month(500)},
        {"user_id": "bob", "litellm_budget_table": None},
    ]
    item = team(**month(8000), team_member_budget_table=month(50), team_memberships=seats)
    [limit] = imported({"team_id": "id-1", "team_info": item, "keys": []})[0]["payments"].limits
    assert (limit.per, limit.max, limit.window) == ("user", 50, "month")
    assert [(o.match, o.max) for o in limit.overrides] == [("ann", 500)]


def test_what_is_about_no_team_is_named_with_its_limit() -> None:
    table = {"max_budget": 9000, "budget_duration": "30d"}
    notes = imported(
        [{"organization_id": "o", "organization_alias": "Acme", "litellm_budget_table": table}],
        {
            "users": [
                {"user_id": "ann", "user_role": "internal_user", "max_budget": 5, "budget_duration": "7d"}
            ]
        },
        [{"user_id": "cust", "alias": None, "litellm_budget_table": {"max_budget": 1}}],
    )[1]
    for part in ("'Acme'", "$9000 a month", "'ann'", "$5 a week", "'cust'", "$1 ever"):
        assert part in said(notes)


def test_a_field_that_nobody_knows_is_named_and_no_key_is_shown() -> None:
    item = team(max_budget=10, budget_duration="30d", brand_new_limit=4)
    notes = imported([item], {"keys": [{"token": "hash-of-a-key", "key_alias": "a", "team_id": "id-1"}]})[1]
    assert "brand_new_limit: is not known" in said(notes)
    assert not any("hash-of-a-key" in str(n) for n in notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"object": "list", "data": []}, "none of LiteLLM's"),
     ({"keys": ["a-hash"], "total_count": 1}, "return_full_object=true"),
     ([team(max_budget="much")], "max_budget is 'much'"),
     ([team(max_budget=-1)], "not a number of at least 0"),
     ([team(max_budget=True)], "not a number"),
     ("text", "none of LiteLLM's"),
     ([team(team_alias="x" * 300, max_budget=1)], "team")],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error_that_says_where(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"file0|would be written") as caught:
        imported(given)
    assert message in str(caught.value)


DURATIONS = st.sampled_from([None, "1h", "1d", "7d", "30d", "1mo", "45m", "365d"])


@given(
    st.lists(
        st.tuples(st.sampled_from(["max", "window", "model", "member", "key"]), DURATIONS),
        min_size=1,
        max_size=12,
    )
)
def test_no_limit_is_lost_in_silence(limits: list[tuple[str, str | None]]) -> None:
    """Each has an amount of its own, which is in a document or in a note."""
    item: Json = team(budget_limits=[], model_max_budget={}, team_memberships=[])
    keys: list[Json] = []
    amounts = [str(1000 + 7 * i) for i in range(len(limits))]
    for usd, (where, duration) in zip(amounts, limits, strict=True):
        table = {"max_budget": int(usd), "budget_duration": duration}
        if where == "max" and "max_budget" not in item:
            item |= table
        elif where == "model":
            item["model_max_budget"][f"m{usd}"] = {"budget_limit": int(usd), "time_period": duration}
        elif where == "member":
            item["team_memberships"].append({"user_id": f"u{usd}", "litellm_budget_table": table})
        elif where == "key":
            keys.append({"token": "h", "key_alias": f"k{usd}", "team_id": "id-1", **table})
        else:
            item["budget_limits"].append(table)
    notes: list[Note] = []
    text = documents(read([("teams", [item]), ("keys", {"keys": keys})], notes), notes)
    shown = text + "\n".join(map(str, notes))
    lowest: dict[Any, int] = {}
    for usd, (where, duration) in zip(amounts, limits, strict=True):
        if where in ("max", "window"):  # 30d and 1mo are the same window here
            which = window(duration) or duration
            lowest[which] = min(int(usd), lowest.get(which, int(usd)))
    for usd, (where, duration) in zip(amounts, limits, strict=True):
        if where in ("max", "window") and int(usd) > lowest[window(duration) or duration]:
            continue  # the tighter one of the same window is the bound
        assert usd in shown or f"a window of {duration}" in shown, (usd, where, duration)
