"""What finance asks of a request: its tags in the usage log, in a chargeback of their own and in FOCUS; and a markup,
kept apart from the true cost."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

from click.testing import CliRunner
from support.calls import chat
from support.gateway import Gateway
from support.policy import budget, policy

from spendgate.cli import report

CONFIG = {"tags": {"project": {"baggage": "project"}, "centre": {"header": "X-Cost-Centre"}}}
POLICY = policy(budget("tagged", 10), budget("marked-up", 10))
PRICES = """
models: {house-1: {input: 1000, output: 4000}}
discounts: [{percent: -15, model: "house-*"}]
"""


def test_they_are_in_the_log_in_a_chargeback_and_in_focus(gateway: Gateway) -> None:
    for project in ("alpha", "beta", "beta"):
        headers = {"baggage": f"other=1,project={project}", "x-cost-centre": "4711"}
        chat(gateway, "tagged", headers=headers, more={"user": "ann"})
    chat(gateway, "tagged", headers={"baggage": "project=" + "x" * 200})
    lines = gateway.lines("tagged", 4)
    assert [x.get("tags") for x in lines] == [
        {"project": "alpha", "centre": "4711"},
        *[{"project": "beta", "centre": "4711"}] * 2,
        None,
    ]
    assert [(x["user"], x.get("end_user")) for x in lines] == [("", "ann")] * 3 + [("", None)]
    month = lines[0]["time"][:7]
    log = str(gateway.data_dir / "usage.jsonl")
    common = ["chargeback", "--month", month, "--source", "log", "--log", log, "--team", "tagged"]
    out = CliRunner().invoke(report.command, [*common, "--by-tag", "project", "-o", "csv"]).stdout
    rows = [r for r in csv.DictReader(io.StringIO(out)) if r["kind"] == "requests"]
    assert {(r["project"], r["requests"]) for r in rows} == {("alpha", "1"), ("beta", "2"), ("(none)", "1")}
    focus = CliRunner().invoke(report.command, [*common, "-o", "focus"]).stdout
    tagged = {json.loads(r["Tags"]).get("project") for r in csv.DictReader(io.StringIO(focus))}
    assert tagged == {"alpha", "beta", None}


def test_a_markup_is_charged_and_kept_apart_from_what_the_provider_bills(gateway: Gateway) -> None:
    chat(gateway, "marked-up", model="house-1")
    line = gateway.line("marked-up")
    charged, effective = Decimal(line["cost_usd"]), Decimal(line["effective_cost_usd"])
    assert charged == effective * Decimal("1.15") > 0
    assert line["list_cost_usd"] == line["effective_cost_usd"]
    assert gateway.spent("marked-up", 1) == charged
    common = ["chargeback", "--month", line["time"][:7], "--team", "marked-up"]
    ledger = ["--data-dir", str(gateway.data_dir)]
    out = CliRunner().invoke(report.command, [*common, *ledger, "-o", "csv"]).stdout
    [row] = [r for r in csv.DictReader(io.StringIO(out)) if r["kind"] == "requests"]
    assert (Decimal(row["list_cost_usd"]), Decimal(row["effective_cost_usd"])) == (effective, effective)
    focus = CliRunner().invoke(report.command, [*common, *ledger, "-o", "focus"]).stdout
    rows = list(csv.DictReader(io.StringIO(focus)))
    assert sum(Decimal(r["BilledCost"]) for r in rows) == charged
    assert sum(Decimal(r["EffectiveCost"]) for r in rows) == effective
