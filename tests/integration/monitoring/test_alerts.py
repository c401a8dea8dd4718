"""Every alert fires when it should and is silent when it should: promtool's unit tests of the rendered file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.prometheus import promtool

from spendgate.cli.render import command as render
from spendgate.monitoring.catalogue import ALERTS, GROUPS
from spendgate.monitoring.rules import Alert, Group, as_yaml, prometheus_rule, rule_file


@dataclass(frozen=True)
class Case:
    """`series` in promtool's notation, one sample a minute. `fires`: (labels, summary) of each alert."""

    alert: str
    name: str
    at: str
    series: dict[str, str]
    fires: tuple[tuple[dict[str, str], str], ...] = field(default=())
    every: str = "1m"


def used(team: str, value: str, instance: str = "a") -> dict[str, str]:
    return {f'llm_budget_utilization_ratio{{team="{team}",instance="{instance}"}}': value}


def left(value: str, team: str = "ml", instance: str = "a") -> dict[str, str]:
    return {f'llm_budget_remaining_usd{{team="{team}",instance="{instance}"}}': value}


def cost(value: str, app: str = "chat", team: str = "ml", instance: str = "a") -> dict[str, str]:
    return {f'llm_cost_usd_total{{team="{team}",app="{app}",model="gpt-4o",instance="{instance}"}}': value}


def at(job: str = "gateways", instance: str = "a:9090", **more: str) -> str:
    labels = {"job": job, "instance": instance, **more}
    return "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}"


def spent(instance: str = "a") -> str:
    return f'spendgate_spend_usd{{team="ml",app="chat",model="gpt-4o",instance="{instance}"}}'


ML = {"team": "ml"}
FAULTY = {"budget_namespace": "pay", "budget": "main", "team": "payments", "reason": "invalid"}
ALIVE = {f"spendgate_internal_errors_total{at()}": "0x2000"}


def threshold(alert: str, percent: float, hold_min: int) -> list[Case]:
    text = "Team ml has used {} of its monthly LLM budget"
    if percent == 1:
        text = "Team ml has exhausted its monthly LLM budget ({})"
    above, shown = f"{percent + 0.05:.2f}x60", f"{percent * 100 + 5:.4g}%"
    fired = ((ML, text.format(shown)),)
    return [
        Case(alert, "past the threshold", "10m", used("ml", above), fired),
        Case(alert, "reached exactly", "10m", used("ml", f"{percent}x60"),
             ((ML, text.format(f"{percent * 100:.4g}%")),)),
        Case(alert, "just below", "1h", used("ml", f"{percent - 0.01:.2f}x60")),
        Case(alert, "not yet long enough", f"{hold_min * 60 - 30}s", used("ml", above)),
        Case(alert, "one alert a team for three copies of the gauge", "10m",
             used("ml", above) | used("ml", above, "b") | used("ml", "0.1x60", "stale"), fired),
        Case(alert, "a copy that comes and goes does not start it anew", "10m",
             used("ml", above) | used("ml", "_x3 1.0 stale 0.9 stale _x5", "b"), fired),
        Case(alert, "each team by itself", "10m", used("ml", above) | used("web", "0.2x60"), fired),
        Case(alert, "over at the month's turn", "30m", used("ml", f"{percent}x20 0x40")),
    ]  # fmt: skip


SOON = "Team ml will have exhausted its LLM budget in {} at this pace"
CASES: list[Case] = [
    *threshold("LLMBudget50Percent", 0.5, 5),
    *threshold("LLMBudget80Percent", 0.8, 5),
    *threshold("LLMBudget100Percent", 1.0, 1),
    # 0.1 USD a minute is 1008 USD in seven days
    Case("LLMBudgetBurnRate", "1007 USD left of seven days of 1008", "8h", cost("0+0.1x600") | left("1007.0005x600"),
         ((ML, SOON.format("6d 23h 50m 0s")),)),
    Case("LLMBudgetBurnRate", "1009 USD left of seven days of 1008", "8h", cost("0+0.1x600") | left("1009x600")),
    Case("LLMBudgetBurnRate", "an hour left", "8h", cost("0+0.1x600") | left("6.001x600"),
         ((ML, SOON.format("1h 0m 0s")),)),
    Case("LLMBudgetBurnRate", "nothing remains", "8h", cost("0+0.1x600") | left("0x600")),
    Case("LLMBudgetBurnRate", "overspent", "8h", cost("0+0.1x600") | left("-5x600")),
    Case("LLMBudgetBurnRate", "no spend", "8h", cost("7x600") | left("1x600")),
    Case("LLMBudgetBurnRate", "no budget", "8h", cost("0+0.1x600")),
    Case("LLMBudgetBurnRate", "a burst that is over", "8h", cost("0+0.1x400 40x200") | left("100x600")),
    Case("LLMBudgetBurnRate", "spread over apps, models and gateways, with copies of the gauge", "8h",
         cost("0+0.05x600") | cost("0+0.03x600", app="x") | cost("0+0.02x600", instance="b")
         | left("6.001x600") | left("6.001x600", instance="b") | left("900x600", instance="stale"),
         ((ML, SOON.format("1h 0m 0s")),)),
    Case("LLMBudgetBurnRate", "another team's pace", "8h",
         cost("0+0.1x600", team="web") | left("10x600") | left("99999x600", team="web")),
    Case("LLMBudgetBurnRate", "a restarted gateway is no negative pace", "8h",
         cost("0+0.1x300 0+0.1x300") | left("6x600"), ((ML, SOON.format("1h 0m 10s")),)),
    Case("LLMBudgetBurnRate", "two days before the month's turn, three days' money", "29d",
         cost("0+0.5x9000") | left("432x9000"), every="5m"),  # 144 USD a day
    Case("LLMBudgetBurnRate", "two days before the month's turn, one day's money", "29d",
         cost("0+0.5x9000") | left("144x9000"), ((ML, SOON.format("1d 0h 0m 0s")),), every="5m"),
    Case("LLMAppCostSpike", "90 percent of a team", "2h", cost("0+9x120") | cost("0+1x120", app="x"),
         (({"team": "ml", "app": "chat"}, "App chat makes 90% of team ml's LLM spend"),)),
    Case("LLMAppCostSpike", "spread over models and gateways", "2h",
         cost("0+5x120") | cost("0+4x120", instance="b") | cost("0+1x120", app="x"),
         (({"team": "ml", "app": "chat"}, "App chat makes 90% of team ml's LLM spend"),)),
    Case("LLMAppCostSpike", "69 percent of a team", "2h", cost("0+69x120") | cost("0+31x120", app="x")),
    Case("LLMAppCostSpike", "a team's only app", "2h", cost("0+9x120")),
    Case("LLMAppCostSpike", "no spend at all", "2h", cost("9x120") | cost("1x120", app="x")),
    Case("LLMAppCostSpike", "another team spends more", "2h",
         cost("0+6x120") | cost("0+4x120", app="x") | cost("0+1000x120", team="web")),
    Case("SpendgateGatewayDown", "a gateway that was there", "20m",
         {f"up{at()}": "1x5 0x60", f"spendgate_internal_errors_total{at()}": "0x5 stale"},
         (({"job": "gateways", "instance": "a:9090"}, "The gateway a:9090 does not answer its scrape"),)),
    Case("SpendgateGatewayDown", "somebody else's target", "20m", {f"up{at('node')}": "0x60"} | ALIVE),
    Case("SpendgateGatewayDown", "scaled down", "20m",
         {f"up{at()}": "1x5 stale", f"spendgate_internal_errors_total{at()}": "0x5 stale"}),
    Case("SpendgateGatewayAbsent", "nothing reports", "20m", {f"up{at('node')}": "1x60"},
         (({}, "No spendgate gateway reports metrics"),)),
    Case("SpendgateGatewayAbsent", "one of two reports", "20m", ALIVE),
    Case("SpendgateInternalErrors", "faults", "10m",
         {f"spendgate_internal_errors_total{at()}": "3x60"},
         (({}, "3 exchanges met a fault of spendgate in 15 minutes"),)),
    Case("SpendgateInternalErrors", "old faults", "2h", {f"spendgate_internal_errors_total{at()}": "3x200"}),
    Case("SpendgateDecisionSlow", "slow", "40m", {
        f"spendgate_decision_seconds_bucket{at(le='0.25')}": "0+60x60",
        f"spendgate_decision_seconds_bucket{at(le='0.5')}": "0+120x60",
        f"spendgate_decision_seconds_bucket{at(le='+Inf')}": "0+120x60",
        f"spendgate_decision_seconds_count{at()}": "0+120x60"},
        (({}, "One request in a hundred waits 495ms or more for its decision"),)),
    Case("SpendgateDecisionSlow", "quick", "40m", {
        f"spendgate_decision_seconds_bucket{at(le='0.25')}": "0+120x60",
        f"spendgate_decision_seconds_bucket{at(le='+Inf')}": "0+120x60",
        f"spendgate_decision_seconds_count{at()}": "0+120x60"}),
    Case("SpendgateRejectionStorm", "two refusals a second", "20m",
         {f"llm_requests_rejected_budget_total{at(team='ml', reason='monthly_budget_exceeded')}": "0+60x60",
          f"llm_requests_rejected_budget_total{at(team='ml', reason='model_budget_exceeded')}": "0+60x60"},
         ((ML, "Team ml is refused 2 times a second"),)),
    Case("SpendgateRejectionStorm", "now and then one", "20m",
         {f"llm_requests_rejected_budget_total{at(team='ml', reason='monthly_budget_exceeded')}": "0+20x60"}),
    Case("SpendgateLoopDetected", "the first ever, which makes the series", "10m",
         {f"llm_requests_rejected_budget_total{at(team='ml', reason='loop_detected')}": "_x6 3x60"},
         ((ML, "A run of team ml sends the same request again and again"),)),
    Case("SpendgateLoopDetected", "half an hour later", "40m",
         {f"llm_requests_rejected_budget_total{at(team='ml', reason='loop_detected')}": "_x6 3x60"}),
    Case("SpendgateLoopDetected", "refused for other reasons", "10m",
         {f"llm_requests_rejected_budget_total{at(team='ml', reason='monthly_budget_exceeded')}": "0+1x60"}),
    Case("SpendgateLedgerUnavailable", "one of two sees no ledger", "10m",
         {f"spendgate_ledger_up{at()}": "0x60", f"spendgate_ledger_up{at(instance='b:9090')}": "1x60"},
         (({}, "The ledger (Redis) does not answer 1 of the spendgate instances"),)),
    Case("SpendgateLedgerUnavailable", "all see it", "10m", {f"spendgate_ledger_up{at()}": "1x60"}),
    Case("SpendgateLedgerUnavailable", "a short pause", "10m", {f"spendgate_ledger_up{at()}": "1x9 0 1x60"}),
    Case("SpendgateFailOpen", "the first ever, which makes the series", "10m",
         {f"spendgate_fail_open_total{at(team='ml')}": "_x6 4x60"},
         ((ML, "4 requests of team ml passed without the ledger"),)),
    Case("SpendgateFailOpen", "an hour later", "80m", {f"spendgate_fail_open_total{at(team='ml')}": "_x6 4x90"}),
    Case("SpendgateFailOpen", "old ones after Prometheus itself was away", "40m",
         {f"spendgate_fail_open_total{at(team='ml')}": "4x6 _x30 4x60"}),
    Case("SpendgateSpoolGrowing", "never empty", "30m", {f"spendgate_spool_depth{at()}": "0x3 5x60"},
         (({"job": "gateways", "instance": "a:9090"}, "5 settlements wait on the disk of a:9090"),)),
    Case("SpendgateSpoolGrowing", "it drains", "30m", {f"spendgate_spool_depth{at()}": "900-10x60"}),
    Case("SpendgateSpoolGrowing", "it empties in between", "30m",
         {f"spendgate_spool_depth{at()}": "5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0 5 0"}),
    Case("SpendgateSpoolFailing", "a full disk", "10m",
         {f"spendgate_spool_failures_total{at()}": "0x5 3x60"},
         (({"job": "gateways", "instance": "a:9090"}, "The spool of a:9090 failed 3 times"),)),
    Case("SpendgateSpoolFailing", "lines that cannot be read", "10m",
         {f"spendgate_spool_corrupt_lines{at()}": "2x60"},
         (({"job": "gateways", "instance": "a:9090"}, "The spool of a:9090 failed 2 times"),)),
    Case("SpendgateSpoolFailing", "a sound spool", "10m",
         {f"spendgate_spool_failures_total{at()}": "0x60", f"spendgate_spool_corrupt_lines{at()}": "0x60"}),
    Case("SpendgateHoldsLeaking", "holds of a dead worker", "10m",
         {f"spendgate_holds_expired_total{at(team='ml')}": "_x6 7x60"},
         ((ML, "7 holds of team ml expired in 15 minutes"),)),
    Case("SpendgateHoldsLeaking", "an hour later", "80m",
         {f"spendgate_holds_expired_total{at(team='ml')}": "_x6 7x100"}),
    Case("SpendgateHoldsOverdue", "nobody sweeps", "20m",
         {f"spendgate_overdue_holds{at(team='ml')}": "3x60",
          f"spendgate_overdue_holds{at(instance='b', team='ml')}": "3x60"},
         ((ML, "3 holds of team ml are past their time and still held"),)),
    Case("SpendgateHoldsOverdue", "swept within a moment", "20m",
         {f"spendgate_overdue_holds{at(team='ml')}": "0x9 2 0x60"}),
    Case("SpendgateLedgerLost", "two processes noticed", "10m",
         {f"spendgate_ledger_lost_total{at()}": "0x5 1x60",
          f"spendgate_ledger_lost_total{at(instance='b')}": "0x5 1x60"},
         (({}, "The ledger lost its data"),)),
    Case("SpendgateLedgerLost", "never", "10m", {f"spendgate_ledger_lost_total{at()}": "0x60"}),
    Case("SpendgateLedgerLost", "yesterday's loss", "3h", {f"spendgate_ledger_lost_total{at()}": "0x5 1x300"}),
    Case("SpendgateLedgerRebuilding", "not whole for long", "30m", {f"spendgate_ledger_rebuilding{at()}": "0x5 1x60"},
         (({}, "The ledger is not whole again after a loss"),)),
    Case("SpendgateLedgerRebuilding", "whole again at once", "30m",
         {f"spendgate_ledger_rebuilding{at()}": "0x5 1x3 0x60"}),
    # the ledger grows by a dollar a minute
    Case("SpendgateReconcileDrift", "a tenth is missing in the ledger", "10h",
         {**cost("0+1x700"), spent(): "0+0.9x700"},
         ((ML, "Ledger and counters of team ml differ by $36.00 in six hours"),)),
    Case("SpendgateReconcileDrift", "money that no gateway counted", "10h",
         {**cost("0+1x700"), spent(): "0+1.1x700"},
         ((ML, "Ledger and counters of team ml differ by $36.00 in six hours"),)),
    Case("SpendgateReconcileDrift", "no counter at all", "10h", {spent(): "0+1x700"},
         ((ML, "Ledger and counters of team ml differ by $360.00 in six hours"),)),
    Case("SpendgateReconcileDrift", "they agree, with a restart and copies of the gauge", "10h",
         {**cost("0+1x300 0+1x400"), spent(): "0+1x700", spent("b"): "0+1x700"}),
    Case("SpendgateReconcileDrift", "they agree over two gateways", "10h",
         {**cost("0+0.5x700"), **cost("0+0.5x700", instance="b"), spent(): "0+1x700"}),
    Case("SpendgateReconcileDrift", "a newborn team", "10h",
         {**cost("_x500 40x200"), spent(): "_x500 40x200"}),
    Case("SpendgateReconcileDrift", "four percent", "10h", {**cost("0+1x700"), spent(): "0+0.96x700"}),
    Case("SpendgateReconcileDrift", "the month's turn", "746h",
         {**cost("0+5x9000"), spent(): "0+5x8928 0+5x200"}, every="5m"),
    Case("SpendgateUnmetered", "two of a hundred", "1h",
         {f"spendgate_unmetered_total{at(reason='encoding')}": "0+2x90",
          f"spendgate_exchanges_total{at(outcome='unmetered')}": "0+2x90",
          f"spendgate_exchanges_total{at(outcome='complete')}": "0+98x90"},
         (({}, "2% of all answers could not be metered"),)),
    Case("SpendgateUnmetered", "one of a thousand", "1h",
         {f"spendgate_unmetered_total{at(reason='encoding')}": "0+1x90",
          f"spendgate_exchanges_total{at(outcome='complete')}": "0+1000x90"}),
    Case("SpendgateUnmetered", "what has alerts of its own", "1h",
         {f"spendgate_unmetered_total{at(reason=why)}": "0+9x90" for why in ("aborted", "late", "drained", "attempts")}
         | {f"spendgate_exchanges_total{at(outcome='complete')}": "0+98x90"}),
    Case("SpendgateEnvoyFailOpen", "the first call", "12m",
         {f"spendgate_envoy_failure_mode_allowed{at()}": "0x10 1x60"},
         (({}, "1 calls passed Envoy without a decision of spendgate"),)),
    Case("SpendgateEnvoyFailOpen", "a thousand a minute, as a scraped Envoy counts them", "3h",
         {"envoy_http_ext_proc_failure_mode_allowed{envoy_http_conn_manager_prefix=\"llm\"}": "0+1000x300"} | ALIVE,
         (({}, "10000 calls passed Envoy without a decision of spendgate"),)),
    Case("SpendgateEnvoyFailOpen", "without ext_proc", "12m",
         {"envoy_http_ext_authz_failure_mode_allowed{envoy_ext_authz_prefix=\"spendgate\"}": "0x10 3x60"},
         (({}, "3 calls passed Envoy without a decision of spendgate"),)),
    Case("SpendgateEnvoyFailOpen", "an hour later", "90m",
         {f"spendgate_envoy_failure_mode_allowed{at()}": "0x10 7x90"}),
    Case("SpendgateEnvoyFailOpen", "none", "1h",
         {f"spendgate_envoy_failure_mode_allowed{at()}": "0x60",
          "envoy_http_ext_proc_failure_mode_allowed{envoy_http_conn_manager_prefix=\"llm\"}": "0x60"}),
    Case("SpendgateEnvoyTimeouts", "three in ten minutes", "12m",
         {f"spendgate_envoy_message_timeouts{at()}": "0x10 3x60"},
         (({}, "3 times Envoy gave up waiting for spendgate in ten minutes"),)),
    Case("SpendgateEnvoyTimeouts", "without ext_proc", "12m",
         {"envoy_http_ext_authz_error{envoy_ext_authz_prefix=\"spendgate\"}": "0x10 3x60",
          "envoy_http_ext_authz_error{envoy_ext_authz_prefix=\"another\"}": "0x10 7x60"},
         (({}, "3 times Envoy gave up waiting for spendgate in ten minutes"),)),
    Case("SpendgateEnvoyTimeouts", "none", "1h", {f"spendgate_envoy_message_timeouts{at()}": "0x60"}),
    *(Case("SpendgateUnmeteredMoney", f"two dollars {why}", "30m",
           {f"spendgate_unmetered_usd_total{at(team='ml', reason=why)}": "0x10 2x60"},
           (({"team": "ml", "reason": why}, f"Team ml was charged $2.00 unmetered in an hour: {why}"),))
      for why in ("late", "drained", "unreadable", "attempts")),
    Case("SpendgateUnmeteredMoney", "cents, and what has alerts of its own", "30m",
         {f"spendgate_unmetered_usd_total{at(team='ml', reason='late')}": "0x10 0.5x60",
          f"spendgate_unmetered_usd_total{at(team='ml', reason='aborted')}": "0x10 9x60"}),
    Case("SpendgateAborted", "six percent of a day", "26h",
         {f"spendgate_unmetered_usd_total{at(team='ml', reason='aborted')}": "0+0.06x1600", **cost("0+1x1600")},
         ((ML, "Of team ml's spend of a day $86.40 is for calls that clients left"),)),
    Case("SpendgateAborted", "four percent of a day", "26h",
         {f"spendgate_unmetered_usd_total{at(team='ml', reason='aborted')}": "0+0.04x1600", **cost("0+1x1600")}),
    Case("SpendgateAborted", "cents", "26h",
         {f"spendgate_unmetered_usd_total{at(team='ml', reason='aborted')}": "0x100 0.05x1600",
          **cost("0x100 0.1x1600")}),
    Case("SpendgateInvoiceDrift", "more than a tenth apart, either way, seen by two replicas", "10m",
         {'spendgate_invoice_drift_ratio{provider="openai",model="(all)",instance="a"}': "-0.12x30",
          'spendgate_invoice_drift_ratio{provider="openai",model="(all)",instance="b"}': "-0.12x30"},
         (({"provider": "openai"}, "The invoice of openai and what was metered are 12% apart"),)),
    Case("SpendgateInvoiceDrift", "one model alone, or a tenth", "1h",
         {'spendgate_invoice_drift_ratio{provider="openai",model="gpt-4o"}': "0.9x120",
          'spendgate_invoice_drift_ratio{provider="openai",model="(all)"}': "0.1x120"}),
    Case("SpendgateUnpriced", "the first request of a new model", "10m",
         {f"spendgate_unpriced_requests_total{at(model='gpt-9')}": "_x6 1x90"},
         (({"model": "gpt-9"}, "The model gpt-9 has no price"),)),
    Case("SpendgateUnpriced", "two hours later", "150m",
         {f"spendgate_unpriced_requests_total{at(model='gpt-9')}": "_x6 1x200"}),
    Case("SpendgateWebSocketsPass", "a socket passed", "10m",
         {f"spendgate_websockets_total{at(team='ml', action='pass')}": "_x6 3x60"},
         ((ML, "Team ml opened 3 WebSockets in 15 minutes"),)),
    Case("SpendgateWebSocketsPass", "sockets were refused", "10m",
         {f"spendgate_websockets_total{at(team='ml', action='reject')}": "_x6 3x60"}),
    Case("SpendgateWorkersHang", "one hung", "10m",
         {f"spendgate_hung_workers_total{at()}": "0x5 1x60"},
         (({"job": "gateways", "instance": "a:9090"}, "1 workers of a:9090 hung and were replaced"),)),
    Case("SpendgateWorkersHang", "none did", "10m", {f"spendgate_hung_workers_total{at()}": "0x60"}),
    Case("SpendgatePricesOld", "looked at two months ago", "1442h",
         {f"spendgate_price_catalogue_checked_timestamp_seconds{at()}": "1x2000"},
         (({}, "The built-in prices were last compared with their sources 60d 1h 59m 59s ago"),), every="1h"),
    Case("SpendgatePricesOld", "it does not remind for ever", "2000h",
         {f"spendgate_price_catalogue_checked_timestamp_seconds{at()}": "1x2100"}, every="1h"),
    Case("SpendgatePricesOld", "one gateway is of a newer release", "1442h",
         {f"spendgate_price_catalogue_checked_timestamp_seconds{at()}": "1x2000",
          f"spendgate_price_catalogue_checked_timestamp_seconds{at(instance='b')}": "3000000x2000"}, every="1h"),
    Case("SpendgateUsageLogLosing", "a full disk", "10m",
         {f"spendgate_usage_log_errors_total{at()}": "5x60"},
         (({}, "5 usage lines could not be written in 15 minutes"),)),
    Case("SpendgateUsageLogLosing", "none lost", "10m", {f"spendgate_usage_log_errors_total{at()}": "0x60"}),
    Case("SpendgatePolicyReloadRefused", "refused", "10m",
         {f"spendgate_policy_reload_errors_total{at()}": "1x60"},
         (({}, "A changed policy or price file was refused; the last valid one stays in force"),)),
    Case("SpendgatePolicyReloadRefused", "none refused", "10m",
         {f"spendgate_policy_reload_errors_total{at()}": "0x60"}),
    Case("SpendgatePolicyStale", "no replica hears it", "30m",
         {f"spendgate_apiserver_silent_seconds{at()}": "0+60x60",
          f"spendgate_apiserver_silent_seconds{at(instance='b')}": "0+60x60"},
         (({}, "The controller has not heard from the API server for 30m 0s"),)),
    Case("SpendgatePolicyStale", "one replica hears it", "30m",
         {f"spendgate_apiserver_silent_seconds{at()}": "0+60x60",
          f"spendgate_apiserver_silent_seconds{at(instance='b')}": "5x60"}),
    Case("SpendgateGatewayPolicyStale", "not confirmed for ten minutes", "30m",
         {f"spendgate_gateway_policy_confirmed_timestamp_seconds{at()}": "1+60x10 600x60"},
         (({"job": "gateways", "instance": "a:9090"}, "The gateway a:9090 enforces an old policy"),)),
    Case("SpendgateGatewayPolicyStale", "behind the controller", "30m",
         {f"spendgate_gateway_policy_generation{at()}": "3x60",
          f"spendgate_gateway_policy_generation{at(instance='b')}": "3x5 4x60",
          f"spendgate_policy_generation{at(instance='c')}": "3x5 4x60"},
         (({"job": "gateways", "instance": "a:9090"}, "The gateway a:9090 enforces an old policy"),)),
    Case("SpendgateGatewayPolicyStale", "confirmed, and the newest", "30m",
         {f"spendgate_gateway_policy_confirmed_timestamp_seconds{at()}": "1+60x60",
          f"spendgate_gateway_policy_generation{at()}": "3x10 4x60",
          f"spendgate_policy_generation{at(instance='c')}": "3x8 4x60"}),
    Case("SpendgateGatewayPolicyStale", "policy from files", "30m", ALIVE),
    Case("SpendgateAlertsUndelivered", "Slack is away", "30m", {f"spendgate_alerts_pending{at()}": "0x5 2x60"},
         (({}, "2 posts to Slack or a webhook wait for their delivery"),)),
    Case("SpendgateAlertsUndelivered", "delivered within minutes", "30m",
         {f"spendgate_alerts_pending{at()}": "0x5 2x5 0x60"}),
    Case("SpendgateReconcileFailing", "again and again", "40m",
         {f"spendgate_reconcile_failures_total{at()}": "0x5 0+1x60"},
         (({}, "Comparing or rebuilding the ledger failed 34 times in an hour"),)),
    Case("SpendgateReconcileFailing", "all done", "40m",
         {f"spendgate_reconcile_failures_total{at()}": "0x60"}),
    Case("SpendgateControllerLeaderless", "two followers", "10m",
         {f"spendgate_controller_leading{at()}": "0x60", f"spendgate_controller_leading{at(instance='b')}": "0x60"},
         (({}, "No controller replica leads"),)),
    Case("SpendgateControllerLeaderless", "one leads", "10m",
         {f"spendgate_controller_leading{at()}": "0x60", f"spendgate_controller_leading{at(instance='b')}": "1x60"}),
    Case("SpendgateControllerLeaderless", "no controller in use", "10m", ALIVE),
    Case("SpendgateControllerLeaderless", "both die", "6h",
         {f"spendgate_controller_leading{at()}": "1x10 stale",
          f"spendgate_controller_leading{at(instance='b')}": "0x10 stale",
          f"spendgate_gateway_policy_generation{at(instance='g')}": "7x400"},
         (({}, "No controller replica leads"),)),
    Case("SpendgateBudgetInvalid", "one, told by a leader after another", "10m", {
        f"spendgate_budget_faulty{at(**FAULTY)}": "1x7 stale",
        f"spendgate_budget_faulty{at(instance='b', **FAULTY)}": "_x8 1x60"},
        ((FAULTY,
          "LLMBudget pay/main (team payments) is not in force as written: invalid"),)),
    Case("SpendgateBudgetInvalid", "all in force", "10m", {f"spendgate_budgets{at(state='in_force')}": "3x60"}),
    Case("SpendgateTeamsLapsed", "two teams", "10m",
         {f"spendgate_teams_lapsed{at()}": "2x60", f"spendgate_teams_lapsed{at(instance='b')}": "2x60"},
         (({}, "2 teams are refused because no budget written for them may bind"),)),
    Case("SpendgateTeamsLapsed", "none", "10m", {f"spendgate_teams_lapsed{at()}": "0x60"}),
    Case("SpendgateStatusFailing", "a right is missing", "30m",
         {f"spendgate_status_errors_total{at(reason='Forbidden')}": "0+1x60"},
         (({}, "The API server did not take 15 statuses in 15 minutes"),)),
    Case("SpendgateStatusFailing", "now and then one", "2h",
         {f"spendgate_status_errors_total{at(reason='Unavailable')}": "0x30 1x30 2x60"}),
    Case("SpendgateUnattributed", "nobody is named any more", "8h",
         cost("0+1x600") | cost("0+1x600", team="unattributed") | left("900x600"),
         (({}, "50% of the spend is nobody's"),)),
    Case("SpendgateUnattributed", "a little", "8h",
         cost("0+19x600") | cost("0+1x600", team="unattributed") | left("900x600")),
    Case("SpendgateUnattributed", "nobody uses teams here", "8h",
         cost("0+1x600", team="unattributed") | left("900x600", team="unattributed")),
    Case("SpendgateUnbudgeted", "a team of another name than its budget", "8h",
         cost("0+1x600", team="ml-platform") | cost("0+1x600") | left("900x600"),
         (({}, "50% of the spend is of teams without a budget"),)),
    Case("SpendgateUnbudgeted", "all have one", "8h", cost("0+1x600") | left("900x600")),
    Case("SpendgateUnbudgeted", "no budgets are used, or their gauges are gone", "8h", cost("0+1x600")),
]  # fmt: skip


def severity(name: str) -> str:
    return next(a.severity for a in ALERTS if a.name == name)


def promtool_test(case: Case) -> dict[str, Any]:
    expected = [
        {
            "exp_labels": {"severity": severity(case.alert), **labels},
            "exp_annotations": {
                "summary": summary,
                "description": "-",
                "runbook_url": f"runbooks/{case.alert}.md",
            },
        }
        for labels, summary in case.fires
    ]
    return {
        "name": case.name,
        "interval": case.every,
        "input_series": [{"series": k, "values": v} for k, v in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a.name)
def test_an_alert_fires_when_it_should_and_only_then(alert: Alert, tmp_path: Path) -> None:
    # descriptions quote other series; they have a test of their own
    plain = Group("g", (replace(alert, description="-"),))
    (tmp_path / "rules.yaml").write_text(as_yaml(rule_file((plain,), "runbooks")))
    mine = [c for c in CASES if c.alert == alert.name]
    assert any(c.fires for c in mine), "no case sees it firing"
    assert any(not c.fires for c in mine), "no case sees it silent"
    for every in sorted({c.every for c in mine}):
        tests = [promtool_test(c) for c in mine if c.every == every]
        document = {"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": tests}
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
        promtool("test", "rules", tmp_path / "test.yaml")


def test_a_text_shows_what_its_own_team_has_left(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(as_yaml(rule_file(GROUPS)))
    series = used("ml", "0.9x60") | left("812.5x60") | left("3x60", team="aaa") | left("814x60", instance="b")
    alert = next(a for a in ALERTS if a.name == "LLMBudget80Percent")
    text = "$812.50 of this month's budget remain." + alert.description.partition("remain.")[2]
    annotations = {
        "summary": "Team ml has used 90% of its monthly LLM budget; $812.50 remain",
        "description": text,
        "runbook_url": "docs/runbooks/LLMBudget80Percent.md",
    }
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": "10m",
                        "alertname": "LLMBudget80Percent",
                        "exp_alerts": [
                            {
                                "exp_labels": {"severity": "warning", "team": "ml"},
                                "exp_annotations": annotations,
                            }
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    promtool("test", "rules", tmp_path / "test.yaml")


def test_the_share_of_calls_that_clients_left_is_the_operators() -> None:
    told = CliRunner().invoke(render, ["rules", "--aborted-percent", "12.5"])
    rules = {r["alert"]: r for g in yaml.safe_load(told.output)["groups"] for r in g["rules"] if "alert" in r}
    assert rules["SpendgateAborted"]["expr"].endswith("> 0.125")
    assert set(rules) == {a.name for a in ALERTS}


def test_the_expressions_in_the_how_to_are_promql(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "dashboards-and-alerts.md"
    found = re.findall(r"```promql\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    rules = [{"alert": f"Shown{i}", "expr": expr} for i, expr in enumerate(found)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_the_operators_kind_holds_the_same_rules() -> None:
    document = yaml.safe_load(as_yaml(prometheus_rule(GROUPS)))
    assert document["kind"] == "PrometheusRule"
    assert document["spec"] == yaml.safe_load(as_yaml(rule_file(GROUPS)))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a.name)
def test_every_alert_has_a_runbook_that_says_what_to_do(alert: Alert) -> None:
    page = (Path(__file__).parents[3] / "docs" / "runbooks" / f"{alert.name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert.name}\n")
    for heading in ("## What it means", "## Look", "## Do"):
        assert f"\n{heading}\n" in page


def test_no_runbook_is_of_an_alert_that_is_not() -> None:
    files = {p.stem for p in (Path(__file__).parents[3] / "docs" / "runbooks").glob("*.md")} - {"README"}
    assert files == {a.name for a in ALERTS}
