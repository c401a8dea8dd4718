"""The dashboard of who pays. Money spent comes from the ledger's own numbers (`spendgate_spend_usd`, the month to
date): a counter would lose a newborn series' first dollars, and all of them after a restart.

Queries are instant where a panel shows one number, so that a past month shows its last day's. Copies of a gauge are
folded by `max`. With hundreds of teams a chart shows those that spend most, and the table has all; what is looked at
over a month is a recorded series of each team.
"""

from __future__ import annotations

from spendgate.monitoring.panels import TEAM, Column, Panel
from spendgate.monitoring.recorded import BUDGET, FORECAST, REMAINING, SPENT, UTILIZATION
from spendgate.monitoring.rules import grown

BARS, GAUGES, LINES = 20, 12, 10
"""How many teams a chart shows."""


def _cells(selector: str = "") -> str:
    braces = f"{{{selector}}}" if selector else ""
    return f"max by (team, app, model) (spendgate_spend_usd{braces})"


def _team(series: str, offset: str = "") -> str:
    return f"{series}{{{TEAM}}}" + (f" offset {offset}" if offset else "")


TODAY = _team(SPENT, "1s")
DAY = f"""clamp_min(
  {TODAY}
  - (
    {_team(SPENT, "86401s")}
    * scalar(day_of_month(vector(time() - 1)) > bool 1)
    or 0 * {TODAY}
  ),
0)"""
"""Spent in the 24 hours before; on the first of a month, since the month's turn. The second is there so that
midnight belongs to the day that ends."""
DEAREST = f"topk({LINES}, {_team(SPENT)} @ end())"
"""The same teams at each point of a chart: those that have spent most at the range's end."""

REFUSED_NOW = f"sum by (team) (max by (team) (spendgate_month_refusals{{{TEAM}}} offset 1s))"
REFUSED = f"""(
  {REFUSED_NOW}
  - (
    sum by (team) (max by (team) (spendgate_month_refusals{{{TEAM}}} offset 86401s))
    * scalar(day_of_month(vector(time() - 1)) > bool 1)
    or 0 * {REFUSED_NOW}
  )
  > 0
)
or on (team)
sum by (team) ({grown(f"llm_requests_rejected_budget_total{{{TEAM}}}", "24h")})"""
"""Refused in the 24 hours before, as the ledger counts: a gateway's counter forgets at its restart. Where no ledger
is scraped, by the counters."""
EXHAUSTED_ON = f"1000 * min by (team) (spendgate_exhaustion_timestamp_seconds{{{TEAM}}})"
"""Grafana's dates are milliseconds."""

COLOURS: tuple[tuple[float | None, str], ...] = (
    (None, "green"),
    (0.5, "yellow"),
    (0.8, "orange"),
    (1.0, "red"),
)

HEADLINE = (
    Panel(
        "Spent",
        "stat",
        "USD settled in the month of the range's end (UTC), of the teams chosen.",
        ((f"sum({_team(SPENT)})", "spent"),),
        (5, 4, 0, 0),
        unit="currencyUSD",
    ),
    Panel(
        "Budget",
        "stat",
        "The month's budgets of the teams chosen, with increases and what is carried over; of teams that have one.",
        ((f"sum({_team(BUDGET)})", "budget"),),
        (5, 4, 5, 0),
        unit="currencyUSD",
    ),
    Panel(
        "Forecast at the Month's End",
        "stat",
        "The month's spend so far and what is expected of its days left, of teams with a budget.",
        ((f"sum({_team(FORECAST)})", "forecast"),),
        (5, 4, 10, 0),
        unit="currencyUSD",
        alert="LLMBudgetBurnRate",
    ),
    Panel(
        "Forecast of Budget",
        "stat",
        "The forecast as a share of the budgets.",
        ((f"sum({_team(FORECAST)}) / sum({_team(BUDGET)})", "of budget"),),
        (5, 4, 15, 0),
        unit="percentunit",
        steps=((None, "green"), (0.9, "orange"), (1.0, "red")),
        alert="LLMBudgetBurnRate",
    ),
    Panel(
        "Teams over Budget",
        "stat",
        "Teams that have spent their month's budget or more; a budget of 0 is not counted.",
        ((f"count({_team(UTILIZATION)} >= 1 and on (team) {_team(BUDGET)} > 0) or vector(0)", "teams"),),
        (4, 4, 20, 0),
        steps=((None, "green"), (1.0, "red")),
        alert="LLMBudget100Percent",
    ),
    Panel(
        "Teams",
        "table",
        "Every team, its budget and where it is going. Exhausted on: when its bound is expected to be reached at the "
        "pace of the forecast; empty where that is not within the month.",
        # without the series' own names, which would keep rows from being joined
        (
            *(
                (f"max by (team) ({_team(series)})", "")
                for series in (BUDGET, SPENT, REMAINING, UTILIZATION, FORECAST)
            ),
            (EXHAUSTED_ON, ""),
        ),
        (24, 10, 0, 4),
        columns=(
            Column("team", "Team"),
            Column("Value #A", "Budget", "currencyUSD"),
            Column("Value #B", "Spent", "currencyUSD"),
            Column("Value #C", "Left", "currencyUSD"),
            Column("Value #D", "Used", "percentunit", COLOURS),
            Column("Value #E", "Forecast", "currencyUSD"),
            Column("Value #F", "Exhausted on", "dateTimeAsIso"),
        ),
        sort="Used",
        alert="LLMBudget80Percent",
    ),
)

CHARGEBACK = (
    *HEADLINE,
    Panel(
        "Monthly Spend by Team",
        "barchart",
        f"USD settled in the month of the range's end (UTC), from the ledger: the {BARS} teams that spent most.",
        ((f"sort_desc(topk({BARS}, sum by (team) ({_cells(TEAM)})))", "{{team}}"),),
        (12, 8, 0, 14),
        unit="currencyUSD",
        columns=(Column("team", "team"), Column("Value", "Spent (USD)")),
    ),
    Panel(
        "Budget Utilization by Team",
        "gauge",
        f"Settled money as a share of the month's budget: the {GAUGES} teams that are furthest. The gauge ends at "
        "150 %, the number does not.",
        (
            (
                f"sort_desc(topk({GAUGES}, max by (team) (llm_budget_utilization_ratio{{{TEAM}}})))",
                "{{team}}",
            ),
        ),
        (12, 8, 12, 14),
        unit="percentunit",
        steps=COLOURS,
        alert="LLMBudget80Percent",
        top=1.5,
    ),
    Panel(
        "Spend by Model (All Teams)",
        "piechart",
        "USD settled in the month of the range's end, of all teams whatever the filter, from the ledger.",
        ((f"sum by (model) ({_cells()})", "{{model}}"),),
        (8, 8, 0, 22),
        unit="currencyUSD",
    ),
    Panel(
        "Spend by App per Team",
        "table",
        "USD settled in the month of the range's end by team, app and model, from the ledger.",
        ((f"sum by (team, app, model) ({_cells(TEAM)})", ""),),
        (16, 8, 8, 22),
        columns=(
            Column("team", "Team"),
            Column("app", "App"),
            Column("model", "Model"),
            Column("Value", "Monthly Cost (USD)", "currencyUSD"),
        ),
        unit="currencyUSD",
        alert="LLMAppCostSpike",
    ),
    Panel(
        "Daily Spend Trend",
        "timeseries",
        "At each point the USD settled in the 24 hours before; on the first of a month, since its turn (UTC). The "
        f"{LINES} teams that have spent most, and all others together.",
        (
            (f"{DAY}\nand on (team)\n{DEAREST}", "{{team}}"),
            (f"sum({DAY}\nunless on (team)\n{DEAREST})", "all others"),
        ),
        (24, 8, 0, 30),
        unit="currencyUSD",
        every="1h",
        alert="LLMBudgetBurnRate",
    ),
    Panel(
        "Requests Rejected (Budget Limits)",
        "stat",
        "Requests refused by a budget in the last 24 hours of the range; on the first of a month, since its turn. The "
        f"{GAUGES} teams with the most.",
        ((f"sort_desc(topk({GAUGES},\n{REFUSED}\n))", "{{team}}"),),
        (12, 8, 0, 38),
        alert="LLMBudget100Percent",
    ),
    Panel(
        "Model Routing Decisions",
        "timeseries",
        "Requests sent to another model than asked for, by why: in the hour before each point, of all teams.",
        (("sum by (reason) (increase(llm_model_routing_total[1h]))", "{{reason}}"),),
        (12, 8, 12, 38),
    ),
)
