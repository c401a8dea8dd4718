"""The alerts on money. They need only metrics of the public contract, give one alert a team, and hold with
any number of copies of a gauge (every gateway and controller shows the same ledger).

Mended against the rules they come from: `rate` is per second, so that a pace must be told in seconds; both
sides of a comparison carry the same labels; a text shows the numbers of its own team; copies of a gauge are
folded; an app that is a team's only one has no disproportionate share.
"""

from __future__ import annotations

from spendgate.monitoring.rules import Alert, Group, Recording

USED = "max by (team) (llm_budget_utilization_ratio)"
LEFT = "min by (team) (llm_budget_remaining_usd)"
WEEK_S = 7 * 86400
MONTH_LEFT_S = "(days_in_month() - day_of_month() + 1) * 86400 - time() % 86400"
"""Seconds until the month's end, in UTC: then budgets begin anew, and nothing is exhausted any more."""
_REMAINING = (
    '{{ with printf "min by (team) (llm_budget_remaining_usd{team=%q})" $labels.team | query }}'
    '{{ . | first | value | printf "%.2f" }}{{ end }}'
)


def _left_for(window: str) -> str:
    """Seconds that what remains lasts at the pace of a window; teams that have nothing left are left out."""
    return f"({LEFT} > 0) / sum by (team) (rate(llm_cost_usd_total[{window}]))"


BURN_RATE = f"""(
  {_left_for("6h")}
  < scalar(clamp_max({MONTH_LEFT_S}, {WEEK_S}))
)
and
(
  {_left_for("1h")}
  < scalar(clamp_max({MONTH_LEFT_S}, {WEEK_S}))
)"""

APP_SHARE = """(
  sum by (team, app) (rate(llm_cost_usd_total[1h]))
  / on (team) group_left
  sum by (team) (rate(llm_cost_usd_total[1h]))
  > 0.7
)
and on (team)
count by (team) (sum by (team, app) (increase(llm_cost_usd_total[1d])) > 0) > 1"""

ALERTS = (
    Alert(
        name="LLMBudget50Percent",
        expr=f"{USED} >= 0.5",
        hold="5m",
        severity="info",
        summary="Team {{ $labels.team }} has used {{ $value | humanizePercentage }} of its monthly LLM budget",
        description=f"${_REMAINING} of this month's budget remain. Nothing is restricted yet, unless the "
        "budget's own thresholds say otherwise.",
    ),
    Alert(
        name="LLMBudget80Percent",
        expr=f"{USED} >= 0.8",
        hold="5m",
        severity="warning",
        summary="Team {{ $labels.team }} has used {{ $value | humanizePercentage }} of its monthly LLM budget",
        description=f"${_REMAINING} of this month's budget remain. Where the budget has an "
        "alert_and_downgrade threshold, cheaper models now answer. Review dear requests; consider to pause "
        "batch jobs until the month's turn.",
    ),
    Alert(
        name="LLMBudget100Percent",
        expr=f"{USED} >= 1",
        hold="1m",
        severity="critical",
        summary="Team {{ $labels.team }} has exhausted its monthly LLM budget "
        "({{ $value | humanizePercentage }})",
        description=f"${_REMAINING} remain. Requests get 429 monthly_budget_exceeded unless the budget is soft "
        "or audits only; essential apps go on within their buffer. Raise the budget (`increase`), or wait for "
        "the month's turn (UTC).",
    ),
    Alert(
        name="LLMBudgetBurnRate",
        expr=BURN_RATE,
        hold="30m",
        severity="warning",
        summary="Team {{ $labels.team }} will have exhausted its LLM budget in "
        "{{ $value | humanizeDuration }} at this pace",
        description=f"${_REMAINING} remain. The pace of the last six hours, still kept in the last hour, uses "
        "them up in less than seven days, and before the month's turn.",
    ),
    Alert(
        name="LLMAppCostSpike",
        expr=APP_SHARE,
        hold="15m",
        severity="warning",
        summary="App {{ $labels.app }} makes {{ $value | humanizePercentage }} of team "
        "{{ $labels.team }}'s LLM spend",
        description="Over the last hour one app spent more than 70 % of its team's money, though the team has "
        "other apps that spent within a day.",
    ),
)

GROUPS = (
    Group("llm-cost-alerts", ALERTS),
    Group(
        "llm-cost-recorded",
        (
            Recording("team:llm_budget_utilization_ratio:max", USED),
            Recording("team:llm_budget_remaining_usd:min", LEFT),
            Recording(
                "team_app_model:spendgate_spend_usd:max", "max by (team, app, model) (spendgate_spend_usd)"
            ),
            Recording("team:llm_cost_usd:rate1h", "sum by (team) (rate(llm_cost_usd_total[1h]))"),
        ),
    ),
)
"""Recorded: what is worth keeping for years, or federating, without one series a pod."""
