"""The alerts on gateways: are they there, do they decide in time, do they meter, is anybody unbound."""

from __future__ import annotations

from spendgate.monitoring.rules import Alert, Group, grown

ASSUMED = "late|drained|unreadable|attempts"
UNREADABLE = f'spendgate_unmetered_total{{reason!~"expired|aborted|{ASSUMED}"}}'
LOOPS = 'llm_requests_rejected_budget_total{reason="loop_detected"}'
ASSUMED_USD = f'spendgate_unmetered_usd_total{{reason=~"{ASSUMED}"}}'
ABORTED_USD = 'spendgate_unmetered_usd_total{reason="aborted"}'
ABORTED_PERCENT = 5.0
UNDECIDED = (
    "spendgate_envoy_failure_mode_allowed",
    "envoy_http_ext_proc_failure_mode_allowed",
    'envoy_http_ext_authz_failure_mode_allowed{envoy_ext_authz_prefix="spendgate"}',
)
TIMED_OUT = (
    "spendgate_envoy_message_timeouts",
    "envoy_http_ext_proc_message_timeouts",
    'envoy_http_ext_authz_error{envoy_ext_authz_prefix="spendgate"}',
)
"""Envoy's counters: as `up` shows them, and as Envoy itself does where Prometheus scrapes it; ext_authz has others, by
the `stat_prefix` of our filter."""


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
    Alert(
        name="SpendgateLoopDetected",
        expr=f"""sum by (team) ({grown(LOOPS, "15m")}) > 0""",
        hold="0m",
        severity="warning",
        summary="A run of team {{ $labels.team }} sends the same request again and again",
        description="An agent does not get on: it was refused {{ $value | humanize }} times in 15 minutes, after the "
        "requests that its budget's repeats let pass. The usage log's lines with reason loop_detected name the run.",
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
    Group("spendgate-metering", METERING),
    Group("spendgate-unbound", UNBOUND),
)
