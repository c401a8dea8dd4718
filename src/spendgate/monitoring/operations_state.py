"""The second half of the dashboard of those on call: controllers, ledger, holds, books."""

from __future__ import annotations

from spendgate.monitoring.panels import TEAM, Panel
from spendgate.monitoring.queries import MOST, most, quantiles, rate
from spendgate.monitoring.rules import grown

_CPU = 'sum by (pod) (rate(container_cpu_usage_seconds_total{container="gateway"}[$__rate_interval]))'
_MEMORY = 'max by (pod) (container_memory_working_set_bytes{container="gateway"})'
_OURS = "max by (pod) (spendgate_open_exchanges)"

CONTROLLERS = (
    Panel(
        "Controllers",
        "timeseries",
        "Controllers that lead (one must), statuses that wait to be written, and deliveries of alerts that wait.",
        (
            ("sum(spendgate_controller_leading)", "leading"),
            ("sum(spendgate_status_backlog)", "status backlog"),
            ("sum(spendgate_alerts_pending)", "alerts pending"),
        ),
        (12, 8, 0, 60),
        alert="SpendgateControllerLeaderless",
    ),
    Panel(
        "Status Writes",
        "timeseries",
        "Statuses of budgets a second: written, and those that the API server did not take, by why.",
        (
            (rate("spendgate_status_patches_total"), "written"),
            (rate("spendgate_status_errors_total", "reason"), "not taken: {{reason}}"),
        ),
        (12, 8, 12, 60),
        unit="ops",
        alert="SpendgateStatusFailing",
    ),
    Panel(
        "Budgets Not in Force as Written",
        "bargauge",
        "By what became of them; teams that are refused since no budget of theirs may bind.",
        (
            ('max by (state) (spendgate_budgets{state!="in_force"}) > 0', "{{state}}"),
            ("max(spendgate_teams_lapsed) > 0", "teams lapsed"),
        ),
        (12, 8, 0, 68),
        alert="SpendgateBudgetInvalid",
    ),
    Panel(
        "Policy Age",
        "timeseries",
        "Since a gateway heard that its policy is the newest, and since the API server's last sign of life.",
        (
            (
                "max(time() - (spendgate_gateway_policy_confirmed_timestamp_seconds > 0))",
                "gateway furthest behind",
            ),
            ("max(spendgate_policy_age_seconds)", "oldest policy"),
            ("max(spendgate_apiserver_silent_seconds)", "API server silent"),
        ),
        (12, 8, 12, 68),
        unit="s",
        alert="SpendgateGatewayPolicyStale",
    ),
)

LEDGER = (
    Panel(
        "Settlement Latency",
        "timeseries",
        "One batch of settlements, off the answers' path.",
        quantiles("spendgate_ledger_settle_seconds", "settle"),
        (12, 8, 0, 76),
        unit="s",
    ),
    Panel(
        "Backlog",
        "timeseries",
        "Settlements that wait on disk for the ledger.",
        (("sum(spendgate_spool_depth)", "waiting"),),
        (12, 8, 12, 76),
        alert="SpendgateSpoolGrowing",
    ),
    Panel(
        "Ledger Failures",
        "timeseries",
        "Calls that the ledger did not answer, in the hour before each point.",
        ((f"sum by (verb) ({grown('spendgate_ledger_failures_total', '1h')})", "{{verb}}"),),
        (12, 8, 0, 84),
        alert="SpendgateLedgerUnavailable",
    ),
    Panel(
        "Ledger's Losses",
        "timeseries",
        "The number of the ledger's epoch (one more after each loss), and whether it is being rebuilt.",
        (("max(spendgate_ledger_epoch)", "epoch"), ("max(spendgate_ledger_rebuilding)", "rebuilding")),
        (12, 8, 12, 84),
        alert="SpendgateLedgerLost",
    ),
    Panel(
        "Money Held",
        "bargauge",
        f"USD held by requests in flight: the {MOST} teams with the most.",
        ((most(f"max by (team) (spendgate_reserved_usd{{{TEAM}}}) > 0"), "{{team}}"),),
        (8, 8, 0, 92),
        unit="currencyUSD",
        alert="SpendgateHoldsLeaking",
    ),
    Panel(
        "Reservations Open",
        "timeseries",
        "Holds in the ledger, of all teams chosen.",
        ((f"sum(max by (team) (spendgate_open_reservations{{{TEAM}}}))", "open"),),
        (8, 8, 8, 92),
    ),
    Panel(
        "Holds Past Their Time",
        "timeseries",
        "Reservations that nobody settled and nobody swept yet, and holds that expired in the hour before each point.",
        (
            (f"sum(max by (team) (spendgate_overdue_holds{{{TEAM}}}))", "overdue"),
            (f"sum({grown(f'spendgate_holds_expired_total{{{TEAM}}}', '1h')})", "expired"),
        ),
        (8, 8, 16, 92),
        alert="SpendgateHoldsOverdue",
    ),
)

BOOKS = (
    Panel(
        "Drift",
        "timeseries",
        "How much of this month's spend in Prometheus the ledger lacked at the last look; invoiced less metered, over "
        "invoiced, by provider.",
        (
            ("max(spendgate_reconcile_drift_ratio)", "ledger"),
            ('max by (provider) (spendgate_invoice_drift_ratio{model="(all)"})', "invoice: {{provider}}"),
        ),
        (12, 8, 0, 100),
        unit="percentunit",
        least=None,
        alert="SpendgateReconcileDrift",
    ),
    Panel(
        "Saved by Routing",
        "bargauge",
        "USD that cheaper models than those asked for have saved in the month, at the same tokens; from the ledger: "
        f"the {MOST} teams that saved most.",
        ((most(f"max by (team) (spendgate_month_saved_usd{{{TEAM}}})"), "{{team}}"),),
        (12, 8, 12, 100),
        unit="currencyUSD",
        least=None,
    ),
    Panel(
        "Request Bodies in Memory",
        "timeseries",
        "LLM request bodies announced or being read, by gateway; above max_inflight_bytes requests get 503 too_busy.",
        (("spendgate_inflight_bytes", "{{instance}}"),),
        (12, 8, 0, 108),
        unit="bytes",
    ),
    Panel(
        "CPU by Gateway",
        "timeseries",
        "CPUs in use, of the cluster's own metrics (cAdvisor).",
        ((f"{_CPU}\nand on (pod)\n{_OURS}", "{{pod}}"),),
        (12, 8, 0, 116),
    ),
    Panel(
        "Memory by Gateway",
        "timeseries",
        "Working set, of the cluster's own metrics (cAdvisor); at the limit the pod is killed.",
        ((f"{_MEMORY}\nand on (pod)\n{_OURS}", "{{pod}}"),),
        (12, 8, 12, 116),
        unit="bytes",
    ),
    Panel(
        "What Was Not Written",
        "timeseries",
        "In the hour before each point: usage lines that log or collector did not take, batches that disk did not.",
        (
            (f"sum({grown('spendgate_usage_log_errors_total', '1h')})", "usage log"),
            (f"sum({grown('spendgate_otlp_dropped_total', '1h')})", "collector"),
            (f"sum({grown('spendgate_spool_failures_total', '1h')})", "spool"),
        ),
        (12, 8, 12, 108),
        alert="SpendgateUsageLogLosing",
    ),
)
