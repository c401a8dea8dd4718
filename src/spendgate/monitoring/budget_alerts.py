"""The alerts on money. They need only metrics of the public contract, give one alert a team, and hold with
any number of copies of a gauge (every gateway and controller shows the same ledger).

Mended against the rules they come from: `rate` is per second, so that a pace must be told in seconds; both
sides of a comparison carry the same labels; a text shows the numbers of its own team; copies of a gauge are
folded; an app that is a team's only one has no disproportionate share.
"""

from __future__ import annotations

from spendgate.monitoring.rules import Alert, Group, grown

USED = "max by (team) (llm_budget_utilization_ratio)"
LEFT = "min by (team) (llm_budget_remaining_usd)"
WEEK_S = 7 * 86400
MONTH_LEFT_S = "(days_in_month() - day_of_month() + 1) * 86400 - time() % 86400"
"""Seconds until the month's end, in UTC: then budgets begin anew, and nothing is exhausted any more."""
_REMAINING = (
    '{{ with printf "min by (team) (llm_budget_remaining_usd{team=%q})" $labels.team | query }}'
    '{{ . | first | value | printf "%.2f" }}{{ end }}'
)
_AND_REMAINING = (
    '{{ with printf "min by (team) (llm_budget_remaining_usd{team=%q})" $labels.team | query }}'
    '; ${{ . | first | value | printf "%.2f" }} remain{{ end }}'
)
PAYS = f"""unless on (team) (
  ({LEFT} == 0) unless on (team) (sum by (team) (llm_cost_usd_total) > 0)
)"""
"""Not of a budget of 0 whose team never spent: that is a refusal on purpose."""
REFUSES = "unless on (team) (max by (team) (spendgate_budget_soft) > 0)"
"""Not of a budget that refuses nothing (soft, audit)."""
HOUR_COST = "team:llm_cost_usd:rate1h"
APP_HOUR = "team_app:llm_cost_usd:grown1h"
"""Recorded, so that weeks can be looked at cheaply, and that a pod that comes or goes changes nothing."""


def _spent(window: str, offset: str = "") -> str:
    """USD of a team in a window of whole hours; nothing for hours without any series of it."""
    return f"sum_over_time({HOUR_COST}[{window}:1h]{offset and f' offset {offset}'}) * 3600"


_WEEK_DAY = f"""(
      ({_spent("1d", "7d")} > {_spent("7d")} / 7)
      or {_spent("7d")} / 7
    )"""
"""What a day of last week cost: the same weekday, or the mean day where that is more."""
WEEKLY_LEFT_FOR = f"""({LEFT} > 0) / (
    {_spent("7d")} / {WEEK_S}
    * clamp_min(({_spent("1d")}) / {_WEEK_DAY}, 1)
  )"""
"""Seconds that what remains lasts if the next week is as the last, times how much more the last day cost than its like:
so nights and weekends count, and a new level is seen within hours."""


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
)
unless on (team)
(
  {WEEKLY_LEFT_FOR}
  >= scalar(clamp_max({MONTH_LEFT_S}, {WEEK_S}))
  and on (team) count_over_time({HOUR_COST}[2d:1h] offset 6d)
)"""

HOUR = grown("llm_cost_usd_total", "1h")
APP_SHARE = f"""(
  sum by (team, app) ({HOUR})
  / on (team) group_left
  sum by (team) ({HOUR})
  > 0.7
)
and on (team)
count by (team) (sum by (team, app) ({grown("llm_cost_usd_total", "1d")}) > 0) > 1
unless on (team, app)
(
  sum by (team, app) ({HOUR})
  <= 1.5 * max_over_time({APP_HOUR}[7d:1h] offset 6h)
)"""

ALERTS = (
    Alert(
        name="LLMBudget50Percent",
        expr=f"({USED} >= 0.5)\n{PAYS}",
        hold="5m",
        severity="info",
        summary="Team {{ $labels.team }} has used {{ $value | humanizePercentage }} of its monthly LLM budget",
        description=f"${_REMAINING} of this month's budget remain. Nothing is restricted yet, unless the "
        "budget's own thresholds say otherwise.",
    ),
    Alert(
        name="LLMBudget80Percent",
        expr=f"({USED} >= 0.8)\n{PAYS}",
        hold="5m",
        severity="warning",
        summary="Team {{ $labels.team }} has used {{ $value | humanizePercentage }} of its monthly LLM budget"
        f"{_AND_REMAINING}",
        description=f"${_REMAINING} of this month's budget remain. Where the budget has an "
        "alert_and_downgrade threshold, cheaper models now answer. Review dear requests; consider to pause "
        "batch jobs until the month's turn.",
    ),
    Alert(
        name="LLMBudget100Percent",
        expr=f"({USED} >= 1)\n{PAYS}\n{REFUSES}",
        hold="1m",
        severity="critical",
        summary="Team {{ $labels.team }} has exhausted its monthly LLM budget "
        "({{ $value | humanizePercentage }})",
        description=f"${_REMAINING} remain. Requests get 429 monthly_budget_exceeded; "
        "essential apps go on within their buffer. Raise the budget (`increase`), or wait for "
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
        "them up in less than seven days, and before the month's turn; so would another week like the last, its nights "
        "and weekends included, at the level of the last day.",
    ),
    Alert(
        name="LLMAppCostSpike",
        expr=APP_SHARE,
        hold="15m",
        severity="warning",
        summary="App {{ $labels.app }} makes {{ $value | humanizePercentage }} of team "
        "{{ $labels.team }}'s LLM spend",
        description="Over the last hour one app spent more than 70 % of its team's money, and half as much again as in "
        "its dearest hour of the week before, though the team has other apps that spent within a day.",
    ),
)

GROUPS = (Group("llm-cost-alerts", ALERTS),)
