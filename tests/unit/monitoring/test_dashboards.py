"""The dashboards as Grafana gets them."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as model
from support.scripts import load_script

from spendgate.cli.render import command
from spendgate.monitoring.dashboards import DASHBOARDS
from spendgate.monitoring.recorded import SPENT

ROOT = Path(__file__).parents[3]
FILES: dict[str, str] = load_script("build_monitoring").files()
COMPONENT = "k8s/components/monitoring"
SEVEN = {
    "Monthly Spend by Team": "barchart",
    "Budget Utilization by Team": "gauge",
    "Spend by Model (All Teams)": "piechart",
    "Spend by App per Team": "table",
    "Daily Spend Trend": "timeseries",
    "Requests Rejected (Budget Limits)": "stat",
    "Model Routing Decisions": "timeseries",
}


HEADLINE = {
    "Spent": "stat",
    "Budget": "stat",
    "Forecast at the Month's End": "stat",
    "Forecast of Budget": "stat",
    "Teams over Budget": "stat",
    "Teams": "table",
}
MACROS = {"chargeback": (), "operations": ("__rate_interval", "__range")}


def exprs(document: dict[str, Any]) -> list[str]:
    return [t["expr"] for p in document["panels"] for t in p["targets"]]


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_file_is_what_is_rendered(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")
    assert committed == FILES[name], "run .venv/bin/python scripts/build_monitoring.py and commit"


def titled(name: str, title: str) -> dict[str, Any]:
    [found] = [p for p in DASHBOARDS[name]("")["panels"] if p["title"] == title]
    return found


def test_the_chargeback_dashboard_has_a_headline_the_table_of_teams_and_the_seven_panels() -> None:
    panels = [(p["title"], p["type"]) for p in DASHBOARDS["chargeback"]("")["panels"]]
    assert panels == [*HEADLINE.items(), *SEVEN.items()]


def test_the_table_of_teams_says_what_finance_opens_it_for() -> None:
    panel = titled("chargeback", "Teams")
    merge, organize = panel["transformations"]
    assert merge["id"] == "merge"
    order = organize["options"]["indexByName"]
    shown = [organize["options"]["renameByName"][field] for field in sorted(order, key=order.__getitem__)]
    assert shown == ["Team", "Budget", "Spent", "Left", "Used", "Forecast", "Exhausted on"]
    units = {
        o["matcher"]["options"]: v["value"]
        for o in panel["fieldConfig"]["overrides"]
        for v in o["properties"]
        if v["id"] == "unit"
    }
    assert units == {
        "Budget": "currencyUSD", "Spent": "currencyUSD", "Left": "currencyUSD", "Used": "percentunit",
        "Forecast": "currencyUSD", "Exhausted on": "dateTimeAsIso",
    }  # fmt: skip
    assert panel["options"]["sortBy"] == [{"displayName": "Used", "desc": True}]
    assert {"Value #" + t["refId"] for t in panel["targets"]} | {"team"} == set(order)
    for target in panel[
        "targets"
    ]:  # rows are joined where all labels are the same: `team` alone, and no metric's name
        assert re.match(r"(1000 \* )?(max|min) by \(team\) \(", target["expr"])


def test_a_team_far_past_its_budget_is_not_shown_as_one_at_100_percent() -> None:
    panel = titled("chargeback", "Budget Utilization by Team")
    assert panel["fieldConfig"]["defaults"]["max"] == 1.5


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_no_chart_has_one_element_for_each_of_300_teams(name: str) -> None:
    for panel in DASHBOARDS[name]("")["panels"]:
        for target in panel["targets"]:
            by_team = "{{team}}" in target.get("legendFormat", "")
            if panel["type"] != "table" and by_team:
                assert re.search(r"topk\(\d+", target["expr"]), panel["title"]


def test_what_is_drawn_over_a_month_is_a_recorded_series() -> None:
    panel = titled("chargeback", "Daily Spend Trend")
    assert panel["targets"]
    for target in panel["targets"]:
        assert not re.search(r"(?<!:)\bspendgate_\w+(?!:)\b", target["expr"].replace(SPENT, ""))


def test_utilization_changes_colour_where_budgets_act() -> None:
    panel = titled("chargeback", "Budget Utilization by Team")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    colours = [(s["value"], s["color"]) for s in steps]
    assert colours == [(None, "green"), (0.5, "yellow"), (0.8, "orange"), (1.0, "red")]


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_it_shows_its_time_in_utc_for_the_datasource_and_teams_chosen(name: str) -> None:
    document = DASHBOARDS[name]("")
    assert document["timezone"] == "utc"
    begin = {"chargeback": "now/M", "operations": "now-6h"}[name]
    assert document["time"] == {"from": begin, "to": "now"}
    variables = {v["name"]: v for v in document["templating"]["list"]}
    assert set(variables) == {"datasource", "team"}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["team"]["includeAll"] is True
    assert variables["team"]["current"]["value"] == "$__all"


def lost(given: Any, read: Any, at: str = "") -> list[str]:
    """Where a document has what its reader does not know."""
    if isinstance(given, dict):
        known = read if isinstance(read, dict) else {}
        return [x for k, v in given.items() for x in lost(v, known.get(k), f"{at}.{k}")]
    if isinstance(given, list):
        if not isinstance(read, list) or len(read) != len(given):
            return [at]
        return [x for i, v in enumerate(given) for x in lost(v, read[i], f"{at}[{i}]")]
    return [] if given == read else [at]


def as_grafana_reads(document: dict[str, Any]) -> Any:
    """Through Grafana's own typed model of dashboards and panels, which drops what it has no field for."""
    register_default_plugins()
    return json.loads(json.dumps(model.Dashboard.from_json(copy.deepcopy(document)), cls=JSONEncoder))


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_grafanas_schema_knows_every_field(name: str) -> None:
    document = DASHBOARDS[name]("")
    assert lost(document, as_grafana_reads(document)) == []


@pytest.mark.parametrize("at", ["options", "targets"])
def test_a_field_that_the_schema_does_not_have_would_be_seen(at: str) -> None:
    document = DASHBOARDS["chargeback"]("")
    panel = document["panels"][0]
    inside = panel["targets"][0] if at == "targets" else panel[at]
    inside["noSuchField"] = 1
    [where] = lost(document, as_grafana_reads(document))
    assert where.endswith(".noSuchField")


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_every_panel_has_its_place_its_source_and_says_what_it_shows(name: str) -> None:
    panels = DASHBOARDS[name]("")["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"]
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine, f"{panel['title']} covers another panel"
        assert max(x for x, _ in mine) < 24
        cells |= mine
    assert len({p["id"] for p in panels}) == len(panels)


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_no_query_asks_for_a_job_or_an_unknown_variable(name: str) -> None:
    for expr in exprs(DASHBOARDS[name]("")):
        assert "job" not in expr
        assert set(re.findall(r"\$(\w+)", expr)) <= {"team", *MACROS[name]}


def test_rates_of_the_operations_dashboard_fit_the_step_and_the_scrape() -> None:
    windows = {
        w for e in exprs(DASHBOARDS["operations"]("")) for w in re.findall(r"\brate\([^[]*\[([^]]+)\]", e)
    }
    assert windows == {"$__rate_interval"}


QUESTIONS = {
    "decisions": "spendgate_exchanges_total", "latency": "spendgate_decision_seconds_bucket",
    "fail-open": "spendgate_fail_open_total", "fail-open of Envoy": "envoy_http_ext_proc_failure_mode_allowed",
    "controllers": "spendgate_controller_leading", "statuses": "spendgate_status_backlog",
    "refused statuses": "spendgate_status_errors_total", "backlog": "spendgate_spool_depth",
    "unattributed": "unattributed", "drift": "spendgate_reconcile_drift_ratio",
    "invoices": "spendgate_invoice_drift_ratio", "provider errors": 'outcome="failed"',
    "unknown APIs": "spendgate_unknown_api_requests_total", "memory": "spendgate_inflight_bytes",
}  # fmt: skip


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_the_operations_dashboard_answers_what_is_asked_on_call(question: str) -> None:
    assert any(QUESTIONS[question] in e for e in exprs(DASHBOARDS["operations"]("")))


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_panels_link_to_runbooks_that_are_there(name: str) -> None:
    links = [x["url"] for p in DASHBOARDS[name]("https://wiki/r")["panels"] for x in p.get("links", [])]
    assert links
    for url in links:
        assert (ROOT / "docs" / "runbooks" / url.removeprefix("https://wiki/r/")).is_file()
    assert not any(p.get("links") for p in DASHBOARDS[name]("")["panels"])


@pytest.mark.parametrize(
    ("argv", "file"),
    [
        (["dashboard", "--name", "chargeback"], "chargeback.json"),
        (["dashboard", "--name", "operations"], "operations.json"),
    ],
)
def test_the_command_prints_it(argv: list[str], file: str) -> None:
    result = CliRunner().invoke(command, argv)
    assert result.exit_code == 0, result.output
    assert result.output == FILES[f"{COMPONENT}/{file}"]


@pytest.mark.parametrize(
    ("argv", "file"), [([], "rules.yaml"), (["-o", "prometheusrule"], "prometheusrule.yaml")]
)
def test_the_command_prints_the_rules(argv: list[str], file: str) -> None:
    result = CliRunner().invoke(command, ["rules", *argv])
    assert result.exit_code == 0, result.output
    assert result.output == FILES[f"{COMPONENT}/{file}"].partition("\n")[2]
