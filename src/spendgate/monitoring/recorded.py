"""Recorded series: what is worth keeping for years, or federating, and what dashboards show over weeks, without one
series a pod. Each team has one."""

from __future__ import annotations

from spendgate.monitoring.budget_alerts import APP_HOUR, HOUR, HOUR_COST, LEFT, USED
from spendgate.monitoring.rules import Group, Recording

CELLS = "team_app_model:spendgate_spend_usd:max"
SPENT = "team:spendgate_spend_usd:sum"
BUDGET = "team:spendgate_budget_usd:max"
FORECAST = "team:spendgate_forecast_usd:max"
UTILIZATION = "team:llm_budget_utilization_ratio:max"
REMAINING = "team:llm_budget_remaining_usd:min"
_CELLS = "max by (team, app, model) (spendgate_spend_usd)"

GROUPS = (
    Group(
        "llm-cost-recorded",
        (
            Recording(UTILIZATION, USED),
            Recording(REMAINING, LEFT),
            Recording(CELLS, _CELLS),
            # of no other recorded series, so that promtool can fill both in for a time before the rules
            Recording(SPENT, f"sum by (team) ({_CELLS})"),
            Recording(BUDGET, "max by (team) (spendgate_budget_usd)"),
            Recording(FORECAST, "max by (team) (spendgate_forecast_usd)"),
            Recording(HOUR_COST, "sum by (team) (rate(llm_cost_usd_total[1h]))"),
            Recording(APP_HOUR, f"sum by (team, app) ({HOUR})"),
        ),
    ),
)
