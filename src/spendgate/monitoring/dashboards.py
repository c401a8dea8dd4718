"""The two dashboards. Money spent comes from the ledger's own numbers (`spendgate_spend_usd`, the month to
date): a counter would lose a newborn series' first dollars, and all of them after a restart.

Queries are instant where a panel shows one number, so that a past month shows its last day's. Copies of a
gauge (every gateway and controller shows the same ledger) are folded by `max`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.monitoring.gateway_alerts import TIMED_OUT, UNDECIDED
from spendgate.monitoring.panels import TEAM, Panel, dashboard
from spendgate.monitoring.rules import grown

Json = dict[str, Any]


def _cells(selector: str = "", offset: str = "") -> str:
    braces = f"{{{selector}}}" if selector else ""
    later = f" offset {offset}" if offset else ""
    return f"max by (team, app, model) (spendgate_spend_usd{braces}{later})"


def _quantiles(metric: str, legend: str) -> tuple[tuple[str, str], ...]:
    rate = f"sum by (le) (rate({metric}_bucket[5m]))"
    return tuple((f"histogram_quantile({q}, {rate})", f"{legend} p{round(q * 100)}") for q in (0.5, 0.99))


TODAY = f"sum by (team) ({_cells(TEAM, '1s')})"
DAY = f"""clamp_min(
  {TODAY}
  - (
    sum by (team) ({_cells(TEAM, "86401s")})
    * scalar(day_of_month(vector(time() - 1)) > bool 1)
    or 0 * {TODAY}
  ),
0)"""
"""Spent in the 24 hours before; on the first of a month, since the month's turn. The second is there so that
midnight belongs to the day that ends."""

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

COLOURS: tuple[tuple[float | None, str], ...] = (
    (None, "green"),
    (0.5, "yellow"),
    (0.8, "orange"),
    (1.0, "red"),
)
BAD: tuple[tuple[float | None, str], ...] = ((None, "green"), (1.0, "red"))
GOOD: tuple[tuple[float | None, str], ...] = ((None, "red"), (1.0, "green"))

CHARGEBACK = (
    Panel(
        "Monthly Spend by Team",
        "barchart",
        "USD settled in the month of the range's end (UTC), from the ledger.",
        ((f"sum by (team) ({_cells(TEAM)})", "{{team}}"),),
        (12, 8, 0, 0),
        unit="currencyUSD",
        columns=(("team", "team"), ("Value", "Spent (USD)")),
    ),
    Panel(
        "Budget Utilization by Team",
        "gauge",
        "Settled and held money as a share of the month's budget.",
        ((f"max by (team) (llm_budget_utilization_ratio{{{TEAM}}})", "{{team}}"),),
        (12, 8, 12, 0),
        unit="percentunit",
        steps=COLOURS,
        alert="LLMBudget80Percent",
        top=1,
    ),
    Panel(
        "Spend by Model (All Teams)",
        "piechart",
        "USD settled in the month of the range's end, of all teams whatever the filter, from the ledger.",
        ((f"sum by (model) ({_cells()})", "{{model}}"),),
        (8, 8, 0, 8),
        unit="currencyUSD",
    ),
    Panel(
        "Spend by App per Team",
        "table",
        "USD settled in the month of the range's end by team, app and model, from the ledger.",
        ((f"sum by (team, app, model) ({_cells(TEAM)})", ""),),
        (16, 8, 8, 8),
        unit="currencyUSD",
        columns=(("team", "Team"), ("app", "App"), ("model", "Model"), ("Value", "Monthly Cost (USD)")),
        alert="LLMAppCostSpike",
    ),
    Panel(
        "Daily Spend Trend",
        "timeseries",
        "At each point the USD settled in the 24 hours before; on the first of a month, since its turn (UTC).",
        ((DAY, "{{team}}"),),
        (24, 8, 0, 16),
        unit="currencyUSD",
        every="1h",
        alert="LLMBudgetBurnRate",
    ),
    Panel(
        "Requests Rejected (Budget Limits)",
        "stat",
        "Requests refused by a budget in the last 24 hours of the range; on the first of a month, since its turn.",
        ((REFUSED, "{{team}}"),),
        (12, 8, 0, 24),
        alert="LLMBudget100Percent",
    ),
    Panel(
        "Model Routing Decisions",
        "timeseries",
        "Requests sent to another model than asked for, by why: in the hour before each point, of all teams.",
        (("sum by (reason) (increase(llm_model_routing_total[1h]))", "{{reason}}"),),
        (12, 8, 12, 24),
    ),
)

OPERATIONS = (
    Panel(
        "Instances",
        "stat",
        "Gateways and controllers that report.",
        (("count(spendgate_ledger_up)", "instances"),),
        (4, 4, 0, 0),
        steps=GOOD,
        alert="SpendgateGatewayAbsent",
    ),
    Panel(
        "Ledger Answers",
        "stat",
        "The share of instances that the ledger (Redis) answers.",
        (("avg(spendgate_ledger_up)", "up"),),
        (4, 4, 4, 0),
        unit="percentunit",
        steps=GOOD,
        alert="SpendgateLedgerUnavailable",
    ),
    Panel(
        "Spool",
        "stat",
        "Settlements that wait on disk for the ledger.",
        (("sum(spendgate_spool_depth)", "waiting"),),
        (4, 4, 8, 0),
        steps=BAD,
        alert="SpendgateSpoolGrowing",
    ),
    Panel(
        "Fail-Open (24 h)",
        "stat",
        "Requests that passed without the ledger.",
        ((f"sum({grown(f'spendgate_fail_open_total{{{TEAM}}}', '24h')}) or vector(0)", "requests"),),
        (4, 4, 12, 0),
        steps=BAD,
        alert="SpendgateFailOpen",
    ),
    Panel(
        "Internal Faults (24 h)",
        "stat",
        "Exchanges that met a fault of spendgate, and reloads that were refused.",
        (
            (f"sum({grown('spendgate_internal_errors_total', '24h')})", "faults"),
            (f"sum({grown('spendgate_policy_reload_errors_total', '24h')})", "reloads refused"),
        ),
        (4, 4, 16, 0),
        steps=BAD,
        alert="SpendgateInternalErrors",
    ),
    Panel(
        "Open Exchanges",
        "stat",
        "Exchanges in flight on the gateways.",
        (("sum(spendgate_open_exchanges)", "open"),),
        (4, 4, 20, 0),
    ),
    Panel(
        "Latency Added",
        "timeseries",
        "Between a request's body and its decision, the reservation in Redis included; and that one alone.",
        (
            *_quantiles("spendgate_decision_seconds", "decision"),
            *_quantiles("spendgate_ledger_reserve_seconds", "reserve"),
        ),
        (12, 8, 0, 4),
        unit="s",
        alert="SpendgateDecisionSlow",
    ),
    Panel(
        "Settlement Latency",
        "timeseries",
        "One batch of settlements, off the answers' path.",
        _quantiles("spendgate_ledger_settle_seconds", "settle"),
        (12, 8, 12, 4),
        unit="s",
    ),
    Panel(
        "Exchanges by Outcome",
        "timeseries",
        "Settled exchanges a second.",
        (("sum by (outcome) (rate(spendgate_exchanges_total[5m]))", "{{outcome}}"),),
        (12, 8, 0, 12),
        unit="reqps",
    ),
    Panel(
        "Refusals by Reason",
        "timeseries",
        "Requests refused a second.",
        (
            (
                f"sum by (team, reason) (rate(llm_requests_rejected_budget_total{{{TEAM}}}[5m]))",
                "{{team}}: {{reason}}",
            ),
        ),
        (12, 8, 12, 12),
        unit="reqps",
        alert="SpendgateRejectionStorm",
    ),
    Panel(
        "Money Held",
        "timeseries",
        "USD held by requests in flight.",
        ((f"max by (team) (spendgate_reserved_usd{{{TEAM}}})", "{{team}}"),),
        (12, 8, 0, 20),
        unit="currencyUSD",
        alert="SpendgateHoldsLeaking",
    ),
    Panel(
        "Reservations Open",
        "timeseries",
        "Holds in the ledger.",
        ((f"max by (team) (spendgate_open_reservations{{{TEAM}}})", "{{team}}"),),
        (12, 8, 12, 20),
    ),
    Panel(
        "Not Metered, Not Priced (1 h)",
        "timeseries",
        "Answers charged at their estimate, by why; exchanges of models without a price, by model.",
        (
            (f"sum by (reason) ({grown('spendgate_unmetered_total', '1h')})", "unmetered: {{reason}}"),
            (f"sum by (model) ({grown('spendgate_unpriced_requests_total', '1h')})", "unpriced: {{model}}"),
        ),
        (12, 8, 0, 28),
        alert="SpendgateUnmetered",
    ),
    Panel(
        "Ledger Failures (1 h)",
        "timeseries",
        "Calls that the ledger did not answer.",
        ((f"sum by (verb) ({grown('spendgate_ledger_failures_total', '1h')})", "{{verb}}"),),
        (12, 8, 12, 28),
        alert="SpendgateLedgerUnavailable",
    ),
    Panel(
        "Forecast at the Month's End",
        "timeseries",
        "The month's spend so far and what is expected of its days left; beside it the budget.",
        (
            (f"max by (team) (spendgate_forecast_usd{{{TEAM}}})", "{{team}}: forecast"),
            (f"max by (team) (spendgate_budget_usd{{{TEAM}}})", "{{team}}: budget"),
        ),
        (12, 8, 0, 36),
        unit="currencyUSD",
        alert="LLMBudgetBurnRate",
    ),
    Panel(
        "Saved by Routing",
        "timeseries",
        "USD that cheaper models than those asked for have saved in the month, at the same tokens; from the ledger.",
        ((f"max by (team) (spendgate_month_saved_usd{{{TEAM}}})", "{{team}}"),),
        (12, 8, 0, 44),
        unit="currencyUSD",
        least=None,
    ),
    Panel(
        "Passed Without the Ledger (1 h)",
        "timeseries",
        "USD by estimate that passed while the ledger did not answer, and requests refused meanwhile.",
        (
            (
                f"sum by (team) ({grown(f'spendgate_fail_open_usd_total{{{TEAM}}}', '1h')})",
                "{{team}}: passed, USD",
            ),
            (f"sum by (team) ({grown(f'spendgate_fail_closed_total{{{TEAM}}}', '1h')})", "{{team}}: refused"),
        ),
        (12, 8, 12, 44),
        alert="SpendgateFailOpen",
    ),
    Panel(
        "Holds Past Their Time",
        "timeseries",
        "Reservations that nobody settled and nobody swept yet, and holds that expired in an hour.",
        (
            (f"max by (team) (spendgate_overdue_holds{{{TEAM}}})", "{{team}}: overdue"),
            (
                f"sum by (team) ({grown(f'spendgate_holds_expired_total{{{TEAM}}}', '1h')})",
                "{{team}}: expired",
            ),
        ),
        (12, 8, 0, 52),
        alert="SpendgateHoldsOverdue",
    ),
    Panel(
        "Ledger's Losses",
        "timeseries",
        "The number of the ledger's epoch (one more after each loss), and whether it is being rebuilt.",
        (("max(spendgate_ledger_epoch)", "epoch"), ("max(spendgate_ledger_rebuilding)", "rebuilding")),
        (12, 8, 12, 52),
        alert="SpendgateLedgerLost",
    ),
    Panel(
        "Envoy Did Not Wait (1 h)",
        "timeseries",
        "As Envoy counts: calls that passed without a decision, messages that no worker answered in time.",
        tuple(
            ("\n+\n".join(f"(sum({grown(metric, '1h')}) or vector(0))" for metric in metrics), legend)
            for metrics, legend in ((UNDECIDED, "passed undecided"), (TIMED_OUT, "timed out"))
        ),
        (12, 8, 0, 60),
        alert="SpendgateEnvoyFailOpen",
    ),
    Panel(
        "Charged Without Having Been Metered (24 h)",
        "timeseries",
        "USD charged for calls of which nobody saw what they used, by why.",
        (
            (
                f"sum by (team, reason) ({grown(f'spendgate_unmetered_usd_total{{{TEAM}}}', '24h')})",
                "{{team}}: {{reason}}",
            ),
        ),
        (12, 8, 12, 60),
        unit="currencyUSD",
        alert="SpendgateUnmeteredMoney",
    ),
    Panel(
        "Policy Age",
        "timeseries",
        "Since the policy was loaded, by instance: after a change all start anew.",
        (("spendgate_policy_age_seconds", "{{instance}}"),),
        (12, 8, 12, 36),
        unit="s",
        alert="SpendgatePolicyReloadRefused",
    ),
)


def chargeback(runbooks: str = "") -> Json:
    """Who spends what: for finance and teams."""
    return dashboard(
        "llm-cost-chargeback",
        "LLM Cost Chargeback",
        "What teams, apps and models cost this month, from spendgate's ledger.",
        ("llm", "cost", "finops"),
        CHARGEBACK,
        runbooks,
    )


def operations(runbooks: str = "") -> Json:
    """How spendgate itself does: for those on call."""
    return dashboard(
        "spendgate-operations",
        "spendgate Operations",
        "Latency, ledger, spool, refusals and faults of spendgate's gateways.",
        ("llm", "spendgate"),
        OPERATIONS,
        runbooks,
    )


DASHBOARDS: dict[str, Callable[[str], Json]] = {"chargeback": chargeback, "operations": operations}
