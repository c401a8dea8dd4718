"""The alerts on the ledger: does Redis answer, does the spool empty, do the books agree."""

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

GROUPS = (Group("spendgate-ledger", LEDGER),)
