"""The alerts on spendgate itself: is it there, does it meter, is its policy fresh."""

from __future__ import annotations

from spendgate.monitoring.rules import Alert, Group, grown

EXPIRED = 'spendgate_unmetered_total{reason="expired"}'
UNREADABLE = 'spendgate_unmetered_total{reason!="expired"}'

TRAFFIC = (
    Alert(
        name="SpendgateGatewayDown",
        expr="""up == 0
and on (job, instance)
last_over_time(spendgate_internal_errors_total[1d])""",
        hold="2m",
        severity="warning",
        summary="The gateway {{ $labels.instance }} does not answer its scrape",
        description="It did within the last day, and it is still a target. Other replicas go on; with none "
        "left, Envoy's failure_mode decides whether traffic passes unmetered.",
    ),
    Alert(
        name="SpendgateGatewayAbsent",
        expr="absent(spendgate_internal_errors_total)",
        hold="5m",
        severity="critical",
        summary="No spendgate gateway reports metrics",
        description="Nothing is metered that Prometheus could see: the gateways are down, or not scraped.",
    ),
    Alert(
        name="SpendgateInternalErrors",
        expr=f"sum({grown('spendgate_internal_errors_total', '15m')}) > 0",
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} exchanges met a fault of spendgate in 15 minutes',
        description="Their traffic passed, but it may not have been bounded. The log lines exchange_failed "
        "have the traceback.",
    ),
    Alert(
        name="SpendgateDecisionSlow",
        expr="""histogram_quantile(0.99, sum by (le) (rate(spendgate_decision_seconds_bucket[10m]))) > 0.25
and
sum(rate(spendgate_decision_seconds_count[10m])) > 0.1""",
        hold="10m",
        severity="warning",
        summary="One request in a hundred waits {{ $value | humanizeDuration }} or more for its decision",
        description="Usual is about a millisecond. Past Envoy's message timeout (2 s) requests fail or pass "
        "unmetered, by failure_mode.",
    ),
    Alert(
        name="SpendgateRejectionStorm",
        expr="""sum by (team) (rate(llm_requests_rejected_budget_total[5m])) > 1""",
        hold="5m",
        severity="warning",
        summary="Team {{ $labels.team }} is refused {{ $value | humanize }} times a second",
        description="A client goes on sending though its budget refuses: it most likely retries a 429 that "
        "says x-should-retry: false.",
    ),
)

LEDGER = (
    Alert(
        name="SpendgateLedgerUnavailable",
        expr="count(spendgate_ledger_up == 0) > 0",
        hold="1m",
        severity="critical",
        summary="The ledger (Redis) does not answer {{ $value }} of the spendgate instances",
        description="Requests pass up to each budget's failOpenLimitUSD a replica, then they are refused; "
        "settlements wait in the spool.",
    ),
    Alert(
        name="SpendgateFailOpen",
        expr=f"sum by (team) ({grown('spendgate_fail_open_total', '10m')}) > 0",
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} requests of team {{ $labels.team }} passed without the ledger',
        description="In the last ten minutes the ledger did not answer in time, and the budget's failure "
        "policy let the requests pass. They are spooled and will be settled.",
    ),
    Alert(
        name="SpendgateSpoolGrowing",
        expr="""sum by (job, instance) (min_over_time(spendgate_spool_depth[10m])) > 0
and
sum by (job, instance) (deriv(spendgate_spool_depth[10m])) >= 0""",
        hold="5m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} settlements wait on the disk of {{ $labels.instance }}',
        description="For ten minutes the spool was never empty and did not shrink: what teams spent is not "
        "yet in the ledger. Do not delete this gateway's data directory.",
    ),
    Alert(
        name="SpendgateHoldsLeaking",
        expr=f"sum({grown(EXPIRED, '15m')}) > 0",
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} holds expired in 15 minutes without being settled',
        description="Each was charged at its estimate, since the worker that held it died or lost the ledger. "
        "Teams pay at most the estimate; none is locked out.",
    ),
)

METERING = (
    Alert(
        name="SpendgateUnmetered",
        expr=f"""sum({grown(UNREADABLE, "30m")})
/
sum({grown("spendgate_exchanges_total", "30m")})
> 0.01""",
        hold="5m",
        severity="warning",
        summary="{{ $value | humanizePercentage }} of all answers could not be metered",
        description="In the last half hour they were charged at the estimate instead of their true cost. "
        "`spendgate_unmetered_total` says why, by reason.",
    ),
    Alert(
        name="SpendgateUnpriced",
        expr=f"sum by (model) ({grown('spendgate_unpriced_requests_total', '1h')}) > 0",
        hold="0m",
        severity="warning",
        summary="The model {{ $labels.model }} has no price",
        description='{{ $value | printf "%.0f" }} requests in the last hour were charged by the dearest price '
        "of its family (or as `unpricedModels` says). Give it a price with --prices.",
    ),
    Alert(
        name="SpendgateUsageLogLosing",
        expr=f"sum({grown('spendgate_usage_log_errors_total', '15m')}) > 0",
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} usage lines could not be written in 15 minutes',
        description="The ledger has their money; simulations and audits will miss the lines. Most often the "
        "disk is full.",
    ),
)

POLICY = (
    Alert(
        name="SpendgatePolicyReloadRefused",
        expr=f"sum({grown('spendgate_policy_reload_errors_total', '15m')}) > 0",
        hold="0m",
        severity="warning",
        summary="A changed policy or price file was refused; the last valid one stays in force",
        description='{{ $value | printf "%.0f" }} reloads failed in 15 minutes. The log line reload_refused '
        "names file, line and field; so does `spendgate validate`.",
    ),
    Alert(
        name="SpendgatePolicyStale",
        expr="min(spendgate_apiserver_silent_seconds) > 300",
        hold="2m",
        severity="warning",
        summary="The controller has not heard from the API server for {{ $value | humanizeDuration }}",
        description="Gateways go on with the last known budgets; changes to LLMBudgets do not arrive.",
    ),
    Alert(
        name="SpendgateControllerLeaderless",
        expr="sum(spendgate_controller_leading) == 0",
        hold="2m",
        severity="warning",
        summary="No controller replica leads",
        description="Budgets in force stay in force; changes, statuses and alerts of thresholds wait.",
    ),
    Alert(
        name="SpendgateBudgetInvalid",
        expr='max(spendgate_budgets{state=~"invalid|conflict"}) > 0',
        hold="5m",
        severity="warning",
        summary="{{ $value }} LLMBudgets are invalid or in conflict",
        description="An invalid one keeps its last valid generation in force; of two for one team the older "
        "wins. `kubectl get llmbudgets -A -o wide` shows which.",
    ),
)

GROUPS = (
    Group("spendgate-traffic", TRAFFIC),
    Group("spendgate-ledger", LEDGER),
    Group("spendgate-metering", METERING),
    Group("spendgate-policy", POLICY),
)
