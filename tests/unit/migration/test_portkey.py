"""Portkey's lists as budgets: what is the same, what is said otherwise, and that nothing is lost in silence."""

from __future__ import annotations

from typing import Any

import pytest

from spendgate.budget.load import parse_documents
from spendgate.budget.model import BudgetSpec
from spendgate.errors import ConfigurationError
from spendgate.migration.drafts import Note, documents
from spendgate.migration.portkey import read

Json = dict[str, Any]


def imported(*items: Json) -> tuple[dict[str, BudgetSpec], str]:
    notes: list[Note] = []
    text = documents(read([("file", {"object": "list", "data": list(items)})], notes), notes)
    specs = {d.spec.team: d.spec for d in parse_documents(text)} if text else {}
    return specs, "\n".join(map(str, notes))


def workspace(**more: Any) -> Json:
    return {"object": "workspace", "id": "u-1", "slug": "ws-pay", "name": "Payments", **more}


MONTH = {"credit_limit": 1000, "periodic_reset": "monthly"}


def policy(*conditions: tuple[str, Any], group: tuple[str, ...] = ("workspace_id",), **more: Any) -> Json:
    return {
        "name": "the policy",
        "status": "active",
        "conditions": [{"key": k, "value": v} for k, v in conditions],
        "group_by": [{"key": k} for k in group],
        "type": "cost",
        "credit_limit": 30,
        "periodic_reset": "monthly",
        **more,
    }


def test_a_workspace_is_a_team_with_its_month_and_its_threshold() -> None:
    spec = imported(workspace(usage_limits=[{**MONTH, "alert_threshold": 800}]))[0]["Payments"]
    assert spec.monthly_budget_usd == 1000
    assert [(t.percent, t.action) for t in spec.alert_thresholds] == [(80, "alert"), (100, "reject")]


def test_an_api_key_is_an_app_of_its_workspace_by_id_and_by_slug() -> None:
    for name in ("u-1", "ws-pay"):
        key = {
            "object": "api-key",
            "id": "k",
            "name": "checkout",
            "workspace_id": name,
            "usage_limits": MONTH,
        }
        [app] = imported(key, workspace(usage_limits=[MONTH]))[0]["Payments"].apps
        assert (app.name, app.max_monthly_usd) == ("checkout", 1000)


def test_a_policy_of_one_workspace_bounds_its_team_its_model_or_its_key() -> None:
    home = ("workspace_id", "ws-pay")
    assert (
        imported(workspace(usage_limits=[MONTH]), policy(home))[0]["Payments"].monthly_budget_usd == 30
    )  # the tighter
    [model] = imported(workspace(), policy(home, ("model", "@openai/gpt-4o"), group=("model",)))[0][
        "Payments"
    ].model_limits
    assert (model.model_pattern, model.max_monthly_usd) == ("gpt-4o", 30)
    key = {"object": "api-key", "id": "k-9", "name": "checkout", "workspace_id": "ws-pay", "scopes": ["x"]}
    [app] = imported(workspace(), key, policy(home, ("api_key", "k-9"), group=("api_key",)))[0][
        "Payments"
    ].apps
    assert (app.name, app.max_monthly_usd) == ("checkout", 30)


@pytest.mark.parametrize(
    ("more", "why"),
    [([policy(("workspace_id", "ws-pay"), group=("metadata.project",))], "setting `tags`"),
     ([policy(("workspace_id", "ws-pay"), group=("api_key", "model"))], "counts by one of"),
     ([policy(("config", "pc-1"), ("workspace_id", "ws-pay"), group=("config",))], "counts by one of"),
     ([policy(("workspace_id", "*"), group=("metadata._user",))], "over all workspaces"),
     ([policy(("workspace_id", "ws-gone"))], "give /admin/workspaces"),
     ([policy(("workspace_id", "ws-pay"), periodic_reset=None, periodic_reset_days=10)], "every 10 days"),
     ([policy(conditions=[{"key": "model", "value": "*", "excludes": "o3"}])], "exceptions"),
     ([policy(("workspace_id", "ws-pay"), brand_new=3)], "brand_new"),
     ([policy(("workspace_id", "ws-pay"), status="archived")], "is archived: left out"),
     ([policy(("workspace_id", "ws-pay"), type="requests", unit="rpm", value=9)], "9 requests rpm"),
     ([{"object": "virtual-key", "slug": "openai-main", "usage_limits": MONTH}], "a provider's key over all teams"),
     ([{"object": "api-key", "id": "k", "name": "org", "usage_limits": MONTH}], "has no workspace"),
     ([{"object": "api-key", "id": "k", "name": "a", "workspace_id": "ws-x", "usage_limits": MONTH}],
      "give /admin/workspaces"),
     ([workspace(rate_limits=[{"type": "requests", "unit": "rpm", "value": 77}])], "77 requests rpm")],
)  # fmt: skip
def test_what_no_budget_says_is_named(more: list[Json], why: str) -> None:
    items = more if more[0].get("object") == "workspace" else [workspace(usage_limits=[MONTH]), *more]
    assert why in imported(*items)[1]


def test_what_is_counted_by_key_person_tag_week_tokens_or_requests_is_a_limit() -> None:
    home = ("workspace_id", "ws-pay")
    spec = imported(
        workspace(
            usage_limits=[MONTH, {"type": "tokens", "credit_limit": 5000, "periodic_reset": "weekly"}],
            rate_limits=[{"type": "requests", "unit": "rpd", "value": 77}],
        ),
        policy(home, group=("api_key",)),
        policy(home, group=("metadata._user",), periodic_reset="weekly"),
        policy(home, ("metadata.project", "beta"), group=("metadata.project",), periodic_reset=None),
    )[0]["Payments"]
    assert {(x.per, x.match, x.unit, x.max, x.window) for x in spec.limits} == {
        ("team", None, "tokens", 5000, "week"),
        ("team", None, "requests", 77, "day"),
        ("app", None, "usd", 30, "month"),
        ("user", None, "usd", 30, "week"),
        ("tag:project", "beta", "usd", 30, "total"),
    }


def test_two_workspaces_of_one_name_keep_apart() -> None:
    specs, notes = imported(
        workspace(usage_limits=[MONTH]), workspace(id="u-2", slug="ws-two", usage_limits=[MONTH])
    )
    assert set(specs) == {"ws-pay", "ws-two"}
    assert "named by its slug" in notes


@pytest.mark.parametrize(
    ("item", "message"),
    [({"team_id": "t", "team_alias": "x"}, "none of Portkey's"),
     (workspace(usage_limits=[{"credit_limit": "much"}]), "credit_limit is 'much'")],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error_that_says_where(item: Json, message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"file\[0\]") as caught:
        imported(item)
    assert message in str(caught.value)
