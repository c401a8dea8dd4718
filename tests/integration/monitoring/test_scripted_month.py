"""Six weeks as a gateway would have shown them, put into a real Prometheus: panels agree with the ledger's days
over a month's turn, whichever copy of a gauge comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.prometheus import Prometheus

from spendgate.monitoring import recorded
from spendgate.monitoring.budget_alerts import ALERTS
from spendgate.monitoring.dashboards import CHARGEBACK
from spendgate.monitoring.rules import Group, as_yaml, rule_file

SPENT = tuple(Group(g.name, tuple(r for r in g.rules if r.name == recorded.SPENT)) for g in recorded.GROUPS)
START = datetime(2026, 9, 20, tzinfo=UTC)
DAYS = 22
STEP = timedelta(minutes=4)
TREND = next(p for p in CHARGEBACK if p.title == "Daily Spend Trend").queries[0][0].replace("$team", ".*")
MONTH = next(p for p in CHARGEBACK if p.title == "Monthly Spend by Team").queries[0][0].replace("$team", ".*")


def of_day(team: str, day: datetime) -> int:
    """USD that a team spends on a day: `late` has spent nothing before September 25th and nothing in October."""
    if team == "late":
        return 300 if day.month == 9 and day.day >= 25 else 0
    return 10 * day.day


def month_to_date(team: str, at: datetime) -> float:
    """What the ledger says at a moment; a day's money flows evenly."""
    day = at.replace(hour=0, minute=0, second=0)
    first = max(day.replace(day=1), START)
    whole = sum(of_day(team, first + timedelta(days=n)) for n in range((day - first).days))
    return whole + of_day(team, day) * ((at - day) / timedelta(days=1))


def samples() -> Iterator[str]:
    yield "# TYPE spendgate_spend_usd gauge\n"
    steps = int(timedelta(days=DAYS) / STEP)
    for team in ("steady", "late"):
        for instance in ("a", "b"):
            for n in range(steps):
                at = START + n * STEP + timedelta(seconds=7 if instance == "a" else 133)
                if instance == "b" and at.hour in (3, 4, 23):
                    continue  # this copy is away for hours, and over each midnight
                value = month_to_date(team, at)
                if value:
                    labels = f'team="{team}",app="x",model="m",instance="{instance}"'
                    yield f"spendgate_spend_usd{{{labels}}} {value} {at.timestamp()}\n"
    yield "# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With the recorded series that it would have written meanwhile."""
    folder = tmp_path_factory.mktemp("month")
    with Prometheus(folder, blocks="".join(samples())) as scraped:
        scraped.record(as_yaml(rule_file(SPENT)), START, START + timedelta(days=DAYS), STEP)
    with Prometheus(folder) as running:
        yield running


def shown(prometheus: Prometheus, expr: str, at: datetime) -> dict[str, float]:
    return {dict(k)["team"]: v for k, v in prometheus.query(expr, at.timestamp()).items()}


@pytest.mark.parametrize("number", range(2, DAYS))
def test_each_days_point_is_that_days_money(prometheus: Prometheus, number: int) -> None:
    midnight = START + timedelta(days=number)
    day = midnight - timedelta(days=1)
    seen = shown(prometheus, TREND, midnight)
    for team in ("steady", "late"):
        # the last scrape of a day is at most one step old
        assert seen.get(team, 0) == pytest.approx(of_day(team, day), abs=2 * 300 * (STEP / timedelta(days=1)))


def test_by_day_the_trend_follows_the_last_24_hours(prometheus: Prometheus) -> None:
    noon = datetime(2026, 10, 5, 12, tzinfo=UTC)
    assert shown(prometheus, TREND, noon) == {"steady": pytest.approx(45, abs=0.5)}


def test_on_the_first_the_trend_begins_anew(prometheus: Prometheus) -> None:
    noon = datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert shown(prometheus, TREND, noon) == {"steady": pytest.approx(5, abs=0.5)}


def test_a_past_month_shows_what_it_came_to(prometheus: Prometheus) -> None:
    end = datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC)
    whole = sum(10 * d for d in range(20, 31))
    assert shown(prometheus, MONTH, end) == {
        "steady": pytest.approx(whole, abs=1),
        "late": pytest.approx(1800, abs=1),
    }


BUDGET = 500
RESTART = datetime(2026, 10, 4, 15, tzinfo=UTC)
"""The gateway restarts: its counters begin anew."""


def budget_samples() -> Iterator[str]:
    """What a gateway shows of team steady and its budget: two copies of each gauge, and a counter that restarts."""
    gauges: dict[str, Callable[[datetime], float]] = {
        "llm_budget_utilization_ratio": lambda at: month_to_date("steady", at) / BUDGET,
        "llm_budget_remaining_usd": lambda at: BUDGET - month_to_date("steady", at),
    }
    moments = [START + n * STEP for n in range(int(timedelta(days=DAYS) / STEP))]
    for name, value in gauges.items():
        yield f"# TYPE {name} gauge\n"
        for instance in ("a", "b"):
            for at in moments:
                yield f'{name}{{team="steady",instance="{instance}"}} {value(at)} {at.timestamp()}\n'
    yield "# TYPE llm_cost_usd counter\n"
    for at in moments:
        since = month_since(at) - (month_since(RESTART) if at >= RESTART else 0)
        yield f'llm_cost_usd_total{{team="steady",app="x",model="m",instance="a"}} {since} {at.timestamp()}\n'
    yield "# EOF\n"


def month_since(at: datetime) -> float:
    """All that team steady has spent since START, over the month's turn."""
    day = at.replace(hour=0, minute=0, second=0)
    whole = sum(of_day("steady", START + timedelta(days=n)) for n in range((day - START).days))
    return whole + of_day("steady", day) * ((at - day) / timedelta(days=1))


@pytest.fixture(scope="module")
def budgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("budgets"), blocks="".join(budget_samples())) as running:
        yield running


# $10 on the first of October, $20 on the second, and so on, of $500: 280 after the 7th, 450 after the 9th
@pytest.mark.parametrize(
    ("alert", "silent", "fires"),
    [
        ("LLMBudget50Percent", "2026-10-07T12:00", "2026-10-07T20:00"),  # 245 and 268
        ("LLMBudget80Percent", "2026-10-09T10:00", "2026-10-09T12:00"),  # 397 and 405
        ("LLMBudget100Percent", "2026-10-10T11:00", "2026-10-10T13:00"),  # 496 and 504
        # 375 left at 50 a day is seven days and a half; 320 at 60 a day less than six
        ("LLMBudgetBurnRate", "2026-10-05T12:00", "2026-10-06T12:00"),
    ],
)
def test_an_alerts_condition_comes_true_on_its_day_of_the_month(
    budgets: Prometheus, alert: str, silent: str, fires: str
) -> None:
    expr = next(a.expr for a in ALERTS if a.name == alert)

    def at(moment: str) -> dict[str, float]:
        return shown(budgets, expr, datetime.fromisoformat(moment).replace(tzinfo=UTC))

    assert at(silent) == {}
    assert set(at(fires)) == {"steady"}


def test_a_burn_rate_is_the_time_that_is_left(budgets: Prometheus) -> None:
    expr = next(a.expr for a in ALERTS if a.name == "LLMBudgetBurnRate")
    noon = datetime(2026, 10, 6, 12, tzinfo=UTC)
    left = (BUDGET - month_to_date("steady", noon)) / of_day("steady", noon) * 86400
    assert shown(budgets, expr, noon) == {"steady": pytest.approx(left, rel=0.01)}


def test_an_exhausted_budget_burns_no_more_and_the_months_turn_ends_all(budgets: Prometheus) -> None:
    exprs = {a.name: a.expr for a in ALERTS}
    after = datetime(2026, 10, 11, 12, tzinfo=UTC)
    assert shown(budgets, exprs["LLMBudgetBurnRate"], after) == {}
    turn = datetime(2026, 10, 1, 0, 30, tzinfo=UTC)
    for name in ("LLMBudget50Percent", "LLMBudget80Percent", "LLMBudget100Percent"):
        assert set(shown(budgets, exprs[name], turn - timedelta(hours=1))) == {"steady"}
        assert shown(budgets, exprs[name], turn) == {}
