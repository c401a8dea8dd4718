"""Six weeks as a gateway would have shown them, put into a real Prometheus: panels agree with the ledger's days
over a month's turn, whichever copy of a gauge comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.prometheus import Prometheus

from spendgate.monitoring.dashboards import CHARGEBACK

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
    with Prometheus(tmp_path_factory.mktemp("month"), blocks="".join(samples())) as running:
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
