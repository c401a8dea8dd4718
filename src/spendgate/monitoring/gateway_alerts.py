"""The alerts on spendgate itself: is it there, does it meter, is its policy fresh."""

from __future__ import annotations

from spendgate.monitoring.rules import Alert, Group, grown

CELLS = "max by (team, app, model) (spendgate_spend_usd{later})"
LEDGER_NOW = f"sum by (team) ({CELLS.format(later='')})"
LEDGER_BEFORE = f"sum by (team) ({CELLS.format(later=' offset 6h')})"
METERED = f"sum by (team) ({grown('llm_cost_usd_total', '6h')})"
DIFFERENCE = f"""abs(
  ({LEDGER_NOW} - ({LEDGER_BEFORE} or 0 * {LEDGER_NOW}))
  - ({METERED} or 0 * {LEDGER_NOW})
)"""
RECONCILE = f"""(
  {DIFFERENCE}
  > 0.05 * ({METERED} or 0 * {LEDGER_NOW}) + 1
)
and on ()
(day_of_month(vector(time() - 25200)) == day_of_month() or day_of_month() > 1)"""
"""Not in the first hours of a month, whose spend begins at zero. A dollar and 5 % are the noise of scrapes."""
ASSUMED = "late|drained|unreadable|attempts"
UNREADABLE = f'spendgate_unmetered_total{{reason!~"expired|aborted|{ASSUMED}"}}'
ASSUMED_USD = f'spendgate_unmetered_usd_total{{reason=~"{ASSUMED}"}}'
ABORTED_USD = 'spendgate_unmetered_usd_total{reason="aborted"}'
ABORTED_PERCENT = 5.0
UNDECIDED = ("spendgate_envoy_failure_mode_allowed", "envoy_http_ext_proc_failure_mode_allowed")
TIMED_OUT = ("spendgate_envoy_message_timeouts", "envoy_http_ext_proc_message_timeouts")
"""Envoy's counters: as `up` shows them, and as Envoy itself does where Prometheus scrapes it."""


def either(metrics: tuple[str, ...], window: str) -> str:
    """How much any of these counters grew, where it did."""
    return "\nor\n".join(f"sum({grown(metric, window)}) > 0" for metric in metrics)


def aborted(percent: float = ABORTED_PERCENT) -> Alert:
    """Fires where so much of a team's spend of a day is for calls that clients left."""
    return Alert(
        name="SpendgateAborted",
        expr=f"""sum by (team) ({grown(ABORTED_USD, "1d")}) > 0.1
and
sum by (team) ({grown(ABORTED_USD, "1d")})
/
sum by (team) ({grown("llm_cost_usd_total", "1d")})
> {percent / 100:g}""",
        hold="15m",
        severity="warning",
        summary='Of team {{ $labels.team }}\'s spend of a day ${{ $value | printf "%.2f" }} is for calls that '
        "clients left",
        description="A provider goes on and bills where it cannot be told what was used, so they are charged their "
        "hold. A client that leaves early again and again pays more than it uses.",
    )


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
        name="SpendgateEnvoyFailOpen",
        expr=either(UNDECIDED, "10m"),
        hold="0m",
        severity="critical",
        summary='{{ $value | printf "%.0f" }} calls passed Envoy without a decision of spendgate',
        description="In the last ten minutes no worker answered them in time and failure_mode is open: no budget "
        "bounded them. Those that a worker saw are charged as `late`; the others are in no books but the provider's.",
    ),
    Alert(
        name="SpendgateEnvoyTimeouts",
        expr=either(TIMED_OUT, "10m"),
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} times Envoy gave up waiting for spendgate in ten minutes',
        description="Each time a worker took longer than message_timeout: the call failed, or passed undecided, by "
        "failure_mode.",
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
        name="SpendgateSpoolFailing",
        expr=f"""sum by (job, instance) ({grown("spendgate_spool_failures_total", "15m")}) > 0
or
max by (job, instance) (spendgate_spool_corrupt_lines) > 0""",
        hold="0m",
        severity="critical",
        summary='The spool of {{ $labels.instance }} failed {{ $value | printf "%.0f" }} times',
        description="Its disk is full, or lines of it cannot be read. Settlements that could not be written wait "
        "in memory: do not restart this gateway before the ledger has them.",
    ),
    Alert(
        name="SpendgateHoldsLeaking",
        expr=f"sum by (team) ({grown('spendgate_holds_expired_total', '15m')}) > 0",
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} holds of team {{ $labels.team }} expired in 15 minutes',
        description="Nobody settled them in time: each was charged at its estimate, since the worker that held it "
        "died or lost the ledger. The team pays at most the estimate; it is not locked out.",
    ),
    Alert(
        name="SpendgateHoldsOverdue",
        expr="max by (team) (spendgate_overdue_holds) > 0",
        hold="5m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} holds of team {{ $labels.team }} are past their time and still held',
        description="No process sweeps them: their money counts as committed, and the team may be refused "
        "though it has some left.",
    ),
    Alert(
        name="SpendgateLedgerLost",
        expr=f"sum({grown('spendgate_ledger_lost_total', '30m')}) > 0",
        hold="0m",
        severity="critical",
        summary="The ledger lost its data",
        description='{{ $value | printf "%.0f" }} processes noticed within 30 minutes. Spend that they remember is '
        "given back by itself; the rest is rebuilt from metrics and usage logs.",
    ),
    Alert(
        name="SpendgateLedgerRebuilding",
        expr="max(spendgate_ledger_rebuilding) > 0",
        hold="15m",
        severity="critical",
        summary="The ledger is not whole again after a loss",
        description="For 15 minutes the spend of before the loss has not been rebuilt: budgets may let more pass "
        "than they should.",
    ),
    Alert(
        name="SpendgateReconcileDrift",
        expr=RECONCILE,
        hold="30m",
        severity="warning",
        summary='Ledger and counters of team {{ $labels.team }} differ by ${{ $value | printf "%.2f" }} in six hours',
        description="The ledger's spend and the gateways' counters grew differently, by more than 5 % and a dollar: "
        "a spool was lost, counters were, or somebody wrote into the ledger.",
    ),
)

METERING = (
    Alert(
        name="SpendgateUnmeteredMoney",
        expr=f"sum by (team, reason) ({grown(ASSUMED_USD, '1h')}) > 1",
        hold="0m",
        severity="warning",
        summary='Team {{ $labels.team }} was charged ${{ $value | printf "%.2f" }} unmetered in an hour: '
        "{{ $labels.reason }}",
        description="Nobody saw what these calls used, so they were charged what they may have cost at most (their "
        "hold): decided too late, left behind by a drain, not readable, or tried more than once by Envoy.",
    ),
    aborted(),
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
        name="SpendgateWebSocketsPass",
        expr=f"""sum by (team) ({grown('spendgate_websockets_total{action="pass"}', "15m")}) > 0""",
        hold="0m",
        severity="warning",
        summary='Team {{ $labels.team }} opened {{ $value | printf "%.0f" }} WebSockets in 15 minutes',
        description="They passed, since the setting `websockets` says so or no budget binds the team. What goes over "
        "them is not metered, and the provider bills it.",
    ),
    Alert(
        name="SpendgateWorkersHang",
        expr=f"sum by (job, instance) ({grown('spendgate_hung_workers_total', '30m')}) > 0",
        hold="0m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} workers of {{ $labels.instance }} hung and were replaced',
        description="Their event loop stood still for three message timeouts. What they had in flight is charged at "
        "what was held; the log line worker_hangs says when.",
    ),
    Alert(
        name="SpendgatePricesOld",
        expr="""(time() - max(spendgate_price_catalogue_checked_timestamp_seconds > 0) > 45 * 86400)
and
((time() - max(spendgate_price_catalogue_checked_timestamp_seconds > 0) - 45 * 86400) % (15 * 86400) < 86400)""",
        hold="1h",
        severity="info",
        summary="The built-in prices were last compared with their sources {{ $value | humanizeDuration }} ago",
        description="Providers change prices. Update spendgate, or give the models that you use by --prices. This "
        "reminds for a day, and again every fifteen.",
    ),
    Alert(
        name="SpendgateInvoiceDrift",
        expr='max by (provider) (abs(spendgate_invoice_drift_ratio{model="(all)"})) > 0.1',
        hold="5m",
        severity="warning",
        summary="The invoice of {{ $labels.provider }} and what was metered are "
        "{{ $value | humanizePercentage }} apart",
        description="`spendgate reconcile invoice` found it, and says which model, which days and why. Most "
        "often a price changed, or somebody calls the provider past the gateway.",
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
        name="SpendgateGatewayPolicyStale",
        expr="""(
  time() - min by (job, instance) (spendgate_gateway_policy_confirmed_timestamp_seconds > 0) > 300
)
or
(
  scalar(max(spendgate_policy_generation))
  - min by (job, instance) (spendgate_gateway_policy_generation) > 0
)""",
        hold="5m",
        severity="warning",
        summary="The gateway {{ $labels.instance }} enforces an old policy",
        description="It has not heard for five minutes that its policy is the newest, or the controller's is newer. "
        "What it enforces is the last policy that it knew.",
    ),
    Alert(
        name="SpendgateControllerLeaderless",
        expr="""sum(spendgate_controller_leading) == 0
or
(
  absent(spendgate_controller_leading)
  and on () (count(spendgate_gateway_policy_generation) > 0)
)""",
        hold="2m",
        severity="warning",
        summary="No controller replica leads",
        description="None says so, or none is there, though gateways follow one. Budgets in force stay in force; "
        "changes, statuses, the budgets' own metrics and alerts of thresholds wait.",
    ),
    Alert(
        name="SpendgateAlertsUndelivered",
        expr="max(spendgate_alerts_pending) > 0",
        hold="15m",
        severity="warning",
        summary='{{ $value | printf "%.0f" }} posts to Slack or a webhook wait for their delivery',
        description="For 15 minutes: somebody was not told that a threshold was crossed.",
    ),
    Alert(
        name="SpendgateReconcileFailing",
        expr=f"sum({grown('spendgate_reconcile_failures_total', '1h')}) > 1",
        hold="0m",
        severity="warning",
        summary='Comparing or rebuilding the ledger failed {{ $value | printf "%.0f" }} times in an hour',
        description="It is tried again by itself; the log line reconcile_failed says why.",
    ),
    Alert(
        name="SpendgateBudgetInvalid",
        expr="max by (budget_namespace, budget, team, reason) (spendgate_budget_faulty) > 0",
        hold="5m",
        severity="info",
        summary="LLMBudget {{ $labels.budget_namespace }}/{{ $labels.budget }} (team {{ $labels.team }}) is not in "
        "force as written: {{ $labels.reason }}",
        description="For whoever wrote it: route it by `budget_namespace`. An invalid one keeps its last valid "
        "generation in force; of two for one team the older wins; a namespace holds only teams that it may. `kubectl "
        "describe lb` says what to do.",
    ),
    Alert(
        name="SpendgateTeamsLapsed",
        expr="max(spendgate_teams_lapsed) > 0",
        hold="5m",
        severity="warning",
        summary="{{ $value }} teams are refused because no budget written for them may bind",
        description="Their only budget lost its right (an annotation of its namespace went, or it was edited without "
        "one), or never was valid. `spendgate doctor --redis URL` names them with the remedy.",
    ),
    Alert(
        name="SpendgateStatusFailing",
        expr=f"sum({grown('spendgate_status_errors_total', '15m')}) > 3",
        hold="10m",
        severity="warning",
        summary='The API server did not take {{ $value | printf "%.0f" }} statuses in 15 minutes',
        description="Budgets hold, but `kubectl get lb` shows old numbers and conditions. The controller's log line "
        "status_refused says why; most often a right is missing.",
    ),
)

_PACE = "sum by (team) (rate(llm_cost_usd_total[6h]))"
_ALL = "scalar(sum(rate(llm_cost_usd_total[6h])))"
_BUDGETED = 'count(llm_budget_remaining_usd{team!="unattributed"}) > 0'
UNBOUND = (
    Alert(
        name="SpendgateUnattributed",
        expr=f"""(sum(rate(llm_cost_usd_total{{team="unattributed"}}[6h])) / {_ALL} > 0.1)
and on () ({_BUDGETED})""",
        hold="30m",
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the spend is nobody's",
        description="For six hours, callers whose team nobody knows spent more than a tenth of all, though teams have "
        "budgets: a certificate, a claim or a header that should name them does not come.",
    ),
    Alert(
        name="SpendgateUnbudgeted",
        expr=f"""(sum({_PACE} unless on (team) llm_budget_remaining_usd) / {_ALL} > 0.25)
and on () ({_BUDGETED})""",
        hold="30m",
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the spend is of teams without a budget",
        description="For six hours. `spendgate doctor` names them, and budgets under a name that is nearly theirs; the "
        "setting `unbudgeted: reject` refuses them.",
    ),
)

GROUPS = (
    Group("spendgate-traffic", TRAFFIC),
    Group("spendgate-ledger", LEDGER),
    Group("spendgate-metering", METERING),
    Group("spendgate-policy", POLICY),
    Group("spendgate-unbound", UNBOUND),
)
