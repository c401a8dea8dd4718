"""The dashboard of those on call: the last hours, in the order in which a fault is looked for.

Rates are over `$__rate_interval`, which Grafana makes fit the step and the scrape; counts over `$__range`, the time
that is shown. Teams stand in lists of those with the most, never as one line each.
"""

from __future__ import annotations

from spendgate.monitoring.gateway_alerts import TIMED_OUT, UNDECIDED
from spendgate.monitoring.panels import TEAM, Panel
from spendgate.monitoring.queries import MOST, RANGE, count, most, of_envoy, quantiles, rate
from spendgate.monitoring.recorded import BUDGET
from spendgate.monitoring.rules import grown

BAD: tuple[tuple[float | None, str], ...] = ((None, "green"), (1.0, "red"))
GOOD: tuple[tuple[float | None, str], ...] = ((None, "red"), (1.0, "green"))


_SPEND = rate("llm_cost_usd_total")
_NOBODYS = rate('llm_cost_usd_total{team="unattributed"}')
_PACE = rate("llm_cost_usd_total", "team")

AT_A_GLANCE = (
    Panel(
        "Instances",
        "stat",
        "Gateways and controllers that report.",
        (("count(spendgate_ledger_up)", "instances"),),
        (3, 4, 0, 0),
        steps=GOOD,
        alert="SpendgateGatewayAbsent",
    ),
    Panel(
        "Controllers That Lead",
        "stat",
        "One of them must.",
        (("sum(spendgate_controller_leading) or vector(0)", "leading"),),
        (3, 4, 3, 0),
        steps=GOOD,
        alert="SpendgateControllerLeaderless",
    ),
    Panel(
        "Ledger Answers",
        "stat",
        "The share of instances that the ledger (Redis) answers.",
        (("avg(spendgate_ledger_up)", "up"),),
        (3, 4, 6, 0),
        unit="percentunit",
        steps=GOOD,
        alert="SpendgateLedgerUnavailable",
    ),
    Panel(
        "Spool",
        "stat",
        "Settlements that wait on disk for the ledger.",
        (("sum(spendgate_spool_depth)", "waiting"),),
        (3, 4, 9, 0),
        steps=BAD,
        alert="SpendgateSpoolGrowing",
    ),
    Panel(
        "Passed Undecided",
        "stat",
        "Calls that Envoy let pass without a decision, in the time shown: they are in nobody's books.",
        ((of_envoy(UNDECIDED, RANGE), "calls"),),
        (3, 4, 12, 0),
        steps=BAD,
        alert="SpendgateEnvoyFailOpen",
    ),
    Panel(
        "Fail-Open",
        "stat",
        "Requests that passed without the ledger, in the time shown.",
        ((f"{count(f'spendgate_fail_open_total{{{TEAM}}}')} or vector(0)", "requests"),),
        (3, 4, 15, 0),
        steps=BAD,
        alert="SpendgateFailOpen",
    ),
    Panel(
        "Internal Faults",
        "stat",
        "Exchanges that met a fault of spendgate, and reloads that were refused, in the time shown.",
        (
            (count("spendgate_internal_errors_total"), "faults"),
            (count("spendgate_policy_reload_errors_total"), "reloads refused"),
        ),
        (3, 4, 18, 0),
        steps=BAD,
        alert="SpendgateInternalErrors",
    ),
    Panel(
        "Open Exchanges",
        "stat",
        "Exchanges in flight on the gateways.",
        (("sum(spendgate_open_exchanges)", "open"),),
        (3, 4, 21, 0),
    ),
)

DECISIONS = (
    Panel(
        "Exchanges by Outcome",
        "timeseries",
        "Settled exchanges a second.",
        ((rate("spendgate_exchanges_total", "outcome"), "{{outcome}}"),),
        (12, 8, 0, 4),
        unit="reqps",
    ),
    Panel(
        "Requests by Gateway",
        "timeseries",
        "Settled exchanges a second of each gateway: they should be alike.",
        ((rate("spendgate_exchanges_total", "instance"), "{{instance}}"),),
        (12, 8, 12, 4),
        unit="reqps",
    ),
    Panel(
        "Refusals by Reason",
        "timeseries",
        "Requests refused a second.",
        ((rate(f"llm_requests_rejected_budget_total{{{TEAM}}}", "reason"), "{{reason}}"),),
        (12, 8, 0, 12),
        unit="reqps",
        alert="SpendgateRejectionStorm",
    ),
    Panel(
        "Most Refused Teams",
        "bargauge",
        f"The {MOST} teams with the most refused requests in the time shown.",
        ((most(count(f"llm_requests_rejected_budget_total{{{TEAM}}}", "team")), "{{team}}"),),
        (12, 8, 12, 12),
        alert="SpendgateRejectionStorm",
    ),
    Panel(
        "Latency Added",
        "timeseries",
        "Between a request's body and its decision, the reservation in Redis included; and that one alone.",
        (
            *quantiles("spendgate_decision_seconds", "decision"),
            *quantiles("spendgate_ledger_reserve_seconds", "reserve"),
        ),
        (12, 8, 0, 20),
        unit="s",
        alert="SpendgateDecisionSlow",
    ),
    Panel(
        "Provider Errors",
        "timeseries",
        "The share of exchanges that the provider answered with an error or cut, and of those that clients left.",
        tuple(
            (
                f'({rate(f"""spendgate_exchanges_total{{outcome="{outcome}"}}""")} or vector(0))\n/\n'
                f"({rate('spendgate_exchanges_total')} > 0)",
                legend,
            )
            for outcome, legend in (("failed", "failed at the provider"), ("aborted", "left by the client"))
        ),
        (12, 8, 12, 20),
        unit="percentunit",
        alert="SpendgateAborted",
    ),
)

UNBOUND = (
    Panel(
        "Envoy Did Not Wait",
        "timeseries",
        "As Envoy counts, in the hour before each point: calls that passed without a decision, messages that no worker "
        "answered in time.",
        ((of_envoy(UNDECIDED, "1h"), "passed undecided"), (of_envoy(TIMED_OUT, "1h"), "timed out")),
        (12, 8, 0, 28),
        alert="SpendgateEnvoyFailOpen",
    ),
    Panel(
        "Spend That Nobody Bounds",
        "timeseries",
        "The share of the spend whose team nobody knows, and of teams without a budget.",
        (
            (f"({_NOBODYS} or vector(0))\n/\n({_SPEND} > 0)", "unattributed"),
            (f"(sum({_PACE} unless on (team) {BUDGET}) or vector(0))\n/\n({_SPEND} > 0)", "without a budget"),
        ),
        (12, 8, 12, 28),
        unit="percentunit",
        alert="SpendgateUnattributed",
    ),
    Panel(
        "Passed Without the Ledger",
        "timeseries",
        "USD by estimate that passed in the hour before each point while the ledger did not answer.",
        ((f"sum({grown(f'spendgate_fail_open_usd_total{{{TEAM}}}', '1h')})", "passed"),),
        (12, 8, 0, 36),
        unit="currencyUSD",
        alert="SpendgateFailOpen",
    ),
    Panel(
        "Refused Without the Ledger",
        "timeseries",
        "Requests refused in the hour before each point while the ledger did not answer.",
        ((f"sum({grown(f'spendgate_fail_closed_total{{{TEAM}}}', '1h')})", "refused"),),
        (12, 8, 12, 36),
        alert="SpendgateFailOpen",
    ),
    Panel(
        "Not Metered, Not Priced",
        "timeseries",
        "In the hour before each point: answers charged at their estimate, by why; models without a price.",
        (
            (f"sum by (reason) ({grown('spendgate_unmetered_total', '1h')})", "unmetered: {{reason}}"),
            (f"sum({grown('spendgate_unpriced_requests_total', '1h')})", "unpriced"),
        ),
        (12, 8, 0, 44),
        alert="SpendgateUnmetered",
    ),
    Panel(
        "Charged Without Having Been Metered",
        "timeseries",
        "USD charged in the 24 hours before each point for calls of which nobody saw what they used, by why.",
        (
            (
                f"sum by (reason) ({grown(f'spendgate_unmetered_usd_total{{{TEAM}}}', '24h')})",
                "{{reason}}",
            ),
        ),
        (12, 8, 12, 44),
        unit="currencyUSD",
        alert="SpendgateUnmeteredMoney",
    ),
    Panel(
        "APIs That No Dialect Knows",
        "timeseries",
        "Requests a second that may cost money and that nobody can meter, and WebSockets: passed or rejected.",
        (
            (rate(f"spendgate_unknown_api_requests_total{{{TEAM}}}", "action"), "API: {{action}}"),
            (rate(f"spendgate_websockets_total{{{TEAM}}}", "action"), "WebSocket: {{action}}"),
        ),
        (12, 8, 0, 52),
        unit="reqps",
        alert="SpendgateWebSocketsPass",
    ),
    Panel(
        "Models Without a Price",
        "bargauge",
        f"The {MOST} models with the most such requests in the time shown.",
        ((most(count("spendgate_unpriced_requests_total", "model")), "{{model}}"),),
        (12, 8, 12, 52),
        alert="SpendgateUnpriced",
    ),
)
