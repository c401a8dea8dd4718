"""A month's spend out of a real Prometheus, by the lives of gateways that counted it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.prometheus import Prometheus

from spendgate.rebuild.counter_resets import STARTED, read_totals
from spendgate.rebuild.prometheus import COST, Counters

MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
HOUR = 3600
APRIL_MS = (MARCH + 31 * 24 * HOUR) * 1000
SCRAPE_S = 60


class Replica:
    """A gateway as Prometheus sees it: scraped every minute, from an hour of March on, with lives that begin at
    certain hours; `counts`: (hour, app, USD) of every spend."""

    def __init__(
        self, name: str, lives: list[tuple[float, float]], counts: list[tuple[float, str, float]]
    ) -> None:
        self.name, self.lives, self.counts = name, lives, counts

    def lines(self) -> tuple[list[str], list[str]]:
        cost, started = [], []
        for begin, end in self.lives:
            began = MARCH + begin * HOUR
            at = int(began) + SCRAPE_S // 2
            while at < MARCH + end * HOUR:
                started.append(f'{STARTED}{{instance="{self.name}"}} {began} {at}')
                sums: dict[str, float] = {}
                for hour, app, usd in self.counts:
                    if began <= MARCH + hour * HOUR <= at:
                        sums[app] = sums.get(app, 0.0) + usd
                for app, usd in sums.items():
                    labels = f'team="red",app="{app}",model="gpt-4o",instance="{self.name}"'
                    cost.append(f"{COST}{{{labels}}} {usd} {at}")
                at += SCRAPE_S
        return cost, started


REPLICAS = [
    # counted $100 before March, then on and on
    Replica("old", [(-40, 60)], [(-30, "a", 100), (1, "a", 1), (30, "a", 2), (59.9, "b", 0.5)]),
    # killed and started anew in place, once past its old value: 5 + 9, and twice within five minutes
    Replica(
        "restarts",
        [(10, 20), (20, 30), (30, 30.05), (30.06, 40)],
        [(12, "a", 5), (22, "a", 9), (30.01, "a", 3), (35, "a", 0.25)],
    ),
    # died at two in the night, and was never seen again
    Replica("died", [(20, 26)], [(21, "a", 4), (25.9, "c", 1)]),
    # first scraped with money in it, over a midnight
    Replica("newborn", [(47, 49)], [(47, "a", 8), (48.5, "a", 1)]),
]
BLUE_OLD = [  # a release that does not say when it began: read sample by sample
    f'{COST}{{team="blue",app="x",model="m",instance="legacy"}} {usd} {int(MARCH + hour * HOUR)}'
    for hour, usd in ((-2, 50), (1, 51), (20, 60), (21, 3), (30, 4))
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    cost, started = list(BLUE_OLD), []
    for replica in REPLICAS:
        c, s = replica.lines()
        cost += c
        started += s
    text = "\n".join(["# TYPE llm_cost_usd counter", *cost, f"# TYPE {STARTED} gauge", *started, "# EOF", ""])
    with Prometheus(tmp_path_factory.mktemp("prometheus"), blocks=text) as running:
        yield running


def usd(prometheus: Prometheus, hour: float, month: str = "202603") -> dict[tuple[str, str], Decimal]:
    with Counters(prometheus.url) as counters:
        totals = read_totals(counters, month, int((MARCH + hour * HOUR) * 1000))
    out: dict[tuple[str, str], Decimal] = {}
    for (team, app, _), days in totals.days.items():
        out[team, app] = Decimal(sum(days.values())) / 10**9
    return out


def truth(hour: float) -> dict[tuple[str, str], Decimal]:
    out: dict[tuple[str, str], Decimal] = {}
    for replica in REPLICAS:
        for at, app, amount in replica.counts:
            if 0 <= at <= hour:
                out["red", app] = out.get(("red", app), Decimal(0)) + Decimal(str(amount))
    return out


@pytest.mark.parametrize("hour", [2, 19, 25, 29.99, 36, 48.9, 60, 200])
def test_restarts_deaths_newborns_and_the_months_edge_lose_and_double_nothing(
    prometheus: Prometheus, hour: float
) -> None:
    found = {k: v for k, v in usd(prometheus, hour).items() if k[0] == "red"}
    assert found == truth(hour)


def test_a_gateway_without_a_start_time_is_read_by_its_samples(prometheus: Prometheus) -> None:
    assert usd(prometheus, 60)["blue", "x"] == 10 + 4


def test_the_month_before_has_only_its_own(prometheus: Prometheus) -> None:
    # of a life that began in February nothing was scraped before: it counts whole
    assert usd(prometheus, 60, "202602") == {("red", "a"): 100, ("blue", "x"): 50}


def test_days_are_the_days_on_which_it_was_counted(prometheus: Prometheus) -> None:
    with Counters(prometheus.url) as counters:
        totals = read_totals(counters, "202603", APRIL_MS)
    days = totals.days["red", "a", "gpt-4o"]
    assert sum(days.values()) == int(truth(999)["red", "a"] * 10**9)
    assert days["20260302"] == int((2 + 3 + 0.25 + 8) * 10**9)  # hours 30, 30.01, 35, 47
    assert days["20260303"] == 10**9


def test_an_empty_prometheus_knows_nothing(prometheus: Prometheus) -> None:
    with Counters(prometheus.url) as counters:
        totals = read_totals(counters, "202505", 1_748_000_000_000)
    assert (totals.days, totals.reach_us) == ({}, 0)
