"""The alerts on the policy and the controllers: is it fresh, is it told, do alerts and statuses arrive."""

from __future__ import annotations

from spendgate.monitoring.rules import Alert, Group, grown

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

GROUPS = (Group("spendgate-policy", POLICY),)
