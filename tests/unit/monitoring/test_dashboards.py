"""The dashboards as Grafana gets them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.scripts import load_script

from spendgate.cli.render import command
from spendgate.monitoring.dashboards import DASHBOARDS

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


def exprs(document: dict[str, Any]) -> list[str]:
    return [t["expr"] for p in document["panels"] for t in p["targets"]]


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_file_is_what_is_rendered(name: str) -> None:
    committed = (ROOT / name).read_text(encoding="utf-8")
    assert committed == FILES[name], "run .venv/bin/python scripts/build_monitoring.py and commit"


def test_the_chargeback_dashboard_has_the_seven_panels() -> None:
    assert {p["title"]: p["type"] for p in DASHBOARDS["chargeback"]("")["panels"]} == SEVEN


def test_utilization_changes_colour_where_budgets_act() -> None:
    panel = DASHBOARDS["chargeback"]("")["panels"][1]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    colours = [(s["value"], s["color"]) for s in steps]
    assert colours == [(None, "green"), (0.5, "yellow"), (0.8, "orange"), (1.0, "red")]


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_it_shows_this_month_in_utc_for_the_datasource_and_teams_chosen(name: str) -> None:
    document = DASHBOARDS[name]("")
    assert document["timezone"] == "utc"
    assert document["time"] == {"from": "now/M", "to": "now"}
    variables = {v["name"]: v for v in document["templating"]["list"]}
    assert set(variables) == {"datasource", "team"}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["team"]["includeAll"] is True
    assert variables["team"]["current"]["value"] == "$__all"


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
def test_no_query_asks_for_a_job_or_a_grafana_macro(name: str) -> None:
    for expr in exprs(DASHBOARDS[name]("")):
        assert "job" not in expr
        assert not re.search(r"\$(?!team\b)", expr)


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
