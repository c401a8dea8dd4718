"""The chargeback dashboard of 300 teams, on a real Prometheus: charts stay readable, the table has all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.prometheus import Prometheus, for_prometheus

from spendgate.monitoring import recorded
from spendgate.monitoring.dashboards import DASHBOARDS
from spendgate.monitoring.rules import as_yaml, rule_file

TEAMS = 300
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
BUDGET = 1000.0
PANELS = {p["title"]: p for p in DASHBOARDS["chargeback"]("")["panels"]}


def spent(team: int) -> float:
    """Team 299 is at 149.5 % of its budget, team 0 has spent nothing."""
    return 5.0 * team


def samples() -> Iterator[str]:
    gauges: dict[str, Callable[[int], float]] = {
        "spendgate_spend_usd": spent,
        "spendgate_budget_usd": lambda _: BUDGET,
        "spendgate_forecast_usd": lambda t: 1.5 * spent(t),
        "llm_budget_utilization_ratio": lambda t: spent(t) / BUDGET,
        "llm_budget_remaining_usd": lambda t: BUDGET - spent(t),
        "spendgate_month_refusals": lambda t: t,
    }
    for name, value in gauges.items():
        yield f"# TYPE {name} gauge\n"
        cell = ',app="a",model="m"' if name == "spendgate_spend_usd" else ""
        for team in range(TEAMS):
            for n in range(-300, 3):  # a day and an hour
                at = NOW + n * STEP
                grown = value(team) * (0.9 + 0.0003 * (n + 300)) if "refusals" in name else value(team)
                yield f'{name}{{team="team-{team:03}"{cell}}} {grown} {at.timestamp()}\n'
    yield "# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("teams")
    with Prometheus(folder, blocks="".join(samples())) as scraped:
        scraped.record(as_yaml(rule_file(recorded.GROUPS)), NOW - timedelta(hours=25), NOW, STEP)
    with Prometheus(folder) as running:
        yield running


def shown(prometheus: Prometheus, title: str) -> list[dict[str, float]]:
    """What each query of a panel shows, by team (empty: of all)."""
    return [
        {dict(k).get("team", ""): v for k, v in found.items()}
        for target in PANELS[title]["targets"]
        for found in [prometheus.query(for_prometheus(target["expr"]), NOW.timestamp())]
    ]


@pytest.mark.parametrize(
    ("title", "most"),
    [
        ("Monthly Spend by Team", 20),
        ("Budget Utilization by Team", 12),
        ("Daily Spend Trend", 10),
        ("Requests Rejected (Budget Limits)", 12),
    ],
)
def test_a_chart_shows_the_teams_with_the_most(prometheus: Prometheus, title: str, most: int) -> None:
    assert set(shown(prometheus, title)[0]) == {f"team-{t:03}" for t in range(TEAMS - most, TEAMS)}


def test_the_others_are_one_line(prometheus: Prometheus) -> None:
    assert set(shown(prometheus, "Daily Spend Trend")[1]) == {""}


def test_the_table_has_every_team(prometheus: Prometheus) -> None:
    budget, used, left, share, forecast, _ = shown(prometheus, "Teams")
    assert len(budget) == len(used) == len(left) == len(share) == len(forecast) == TEAMS
    assert (used["team-299"], left["team-299"], share["team-299"]) == (1495, -495, 1.495)


def test_the_headline_is_the_sum_of_all_teams(prometheus: Prometheus) -> None:
    whole = sum(spent(t) for t in range(TEAMS))
    assert shown(prometheus, "Spent") == [{"": whole}]
    assert shown(prometheus, "Budget") == [{"": TEAMS * BUDGET}]
    assert shown(prometheus, "Forecast at the Month's End") == [{"": 1.5 * whole}]
    assert shown(prometheus, "Teams over Budget") == [{"": 100}]
