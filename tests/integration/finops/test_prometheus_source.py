"""`report chargeback --source prometheus` against a real Prometheus with planted samples."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.asks import end
from support.prometheus import Prometheus

from spendgate.cli.main import main
from spendgate.finops.chargeback.chargeback import chargeback
from spendgate.finops.chargeback.differences import differences
from spendgate.finops.chargeback.from_prometheus import COST, PrometheusError, PrometheusSource, growth
from spendgate.ledger.accounts import DayCell
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table

MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
HOUR = 3600
NOW_MS = (MARCH + 60 * 24 * HOUR) * 1000


def counter(name: str, labels: str, samples: list[tuple[float, float]]) -> list[str]:
    """OpenMetrics lines of one series: (hours since March began, value)."""
    return [f"{name}{{{labels}}} {value} {int(MARCH + hour * HOUR)}" for hour, value in samples]


def series(app: str, instance: str = "a", team: str = "red") -> str:
    return f'team="{team}",app="{app}",model="gpt-4o",instance="{instance}"'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    cost = [
        # counted $100 before March, $7.5 in it, and on into April
        *counter(COST, series("old"), [(-30, 90), (-1, 100), (1, 101), (500, 107.5), (745, 200)]),
        # first scraped with $5 already in it
        *counter(COST, series("newborn"), [(100, 5), (101, 5.25)]),
        # restarted within a day: 10 + (2 + 1) and again over midnight: + 4
        *counter(COST, series("reset"), [(50, 10), (52, 2), (53, 3), (71.9, 3), (72.1, 1), (80, 4)]),
        # started anew over midnight and past its old value within the day: 6 + 9
        *counter(COST, series("past"), [(95, 6), (97, 1), (99, 9)]),
        # two instances, one of them gone for a week
        *counter(COST, series("two", "a"), [(10, 1), (20, 2)]),
        *counter(COST, series("two", "b"), [(10, 1), (300, 4)]),
        *counter(COST, series('odd \\"name\\"', team="blue"), [(10, 0.5), (11, 0.25)]),
    ]
    tokens = counter(
        "spendgate_tokens_total", 'team="red",model="gpt-4o",kind="input"', [(5, 1000), (99, 5175)]
    )
    tokens += counter(
        "spendgate_tokens_total", series("app", team="green") + ',kind="input"', [(5, 7), (40, 9)]
    )
    others: list[tuple[str, str, list[tuple[float, float]]]] = [
        # one of the six was counted when its hold expired, at $0.05, and again at its end
        ("spendgate_requests", "spendgate_requests_total", [(5, 3), (40, 6)]),
        ("spendgate_corrected_requests", "spendgate_corrected_requests_total", [(40, 1)]),
        ("spendgate_corrected_usd", "spendgate_corrected_usd_total", [(40, 0.05)]),
        ("spendgate_refused", "spendgate_refused_total", [(5, 1), (40, 1)]),
        (
            "spendgate_routing_saved_usd",
            "spendgate_routing_saved_usd_total",
            [(5, 0.1), (40, 0.30000000000000004)],
        ),
        ("spendgate_routing_added_usd", "spendgate_routing_added_usd_total", [(41, 0.05)]),
    ]
    cost += counter(COST, series("app", team="green"), [(5, 0.1), (40, 0.35000000000000003)])
    text = "\n".join(
        [
            *("# TYPE llm_cost_usd counter", *cost, "# TYPE spendgate_tokens counter", *tokens),
            *(
                x
                for family, name, samples in others
                for x in (f"# TYPE {family} counter", *counter(name, series("app", team="green"), samples))
            ),
            *("# EOF", ""),
        ]
    )
    with Prometheus(tmp_path_factory.mktemp("prometheus"), blocks=text) as running:
        yield running


RED = {"old": "7.50", "newborn": "5.25", "reset": "17.00", "past": "15.00", "two": "6.00"}


def test_resets_newborns_and_other_months_are_told_apart(prometheus: Prometheus) -> None:
    with PrometheusSource(prometheus.url) as source:
        cells = source.cells("202603", NOW_MS)
    spent: dict[tuple[str, str], Decimal] = {}
    for c in cells:
        spent[c.team, c.app] = spent.get((c.team, c.app), Decimal(0)) + Decimal(c.cost_nanousd) / 10**9
    assert spent == {("red", app): Decimal(usd) for app, usd in RED.items()} | {
        ("blue", 'odd "name"'): Decimal("0.75"),
        ("green", "app"): Decimal("0.3"),
    }
    assert sum(c.tokens.get("input", 0) for c in cells if c.team == "red") == 5175


def test_every_number_of_the_ledger_comes_back_by_day(prometheus: Prometheus) -> None:
    with PrometheusSource(prometheus.url) as source:
        cells = source.cells("202603", NOW_MS, "green")
    ledger = [
        DayCell("green", "20260301", "app", "gpt-4o", 3, 10**8, {"input": 7}, saved_nanousd=10**8, refused=1),
        DayCell("green", "20260302", "app", "gpt-4o", 2, 2 * 10**8, {"input": 2}, saved_nanousd=15 * 10**7),
    ]
    assert cells == ledger
    books = [chargeback("202603", name, ledger, table()) for name in ("prometheus", "ledger")]
    assert differences(*books) == []


def test_a_running_month_ends_now(prometheus: Prometheus) -> None:
    with PrometheusSource(prometheus.url) as source:
        cells = source.cells("202603", (MARCH + 51 * HOUR) * 1000, "red")
    spent: dict[str, int] = {}
    for c in cells:
        spent[c.app] = spent.get(c.app, 0) + c.cost_nanousd // 10**9
    assert spent == {"old": 1, "reset": 10, "two": 3}


async def test_the_command_prints_what_differs_from_the_ledger(
    prometheus: Prometheus, ledger: RedisLedger, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    at_ms = (MARCH + 10 * HOUR) * 1000
    total = sum(map(Decimal, RED.values()))
    await ledger.settle(
        [
            end("x1", int(total * 10**9) + 5, at_ms=at_ms),
            end("x2", 750_000_000, team="blue", at_ms=at_ms),
        ],
        at_ms,
    )
    arguments = [
        "--source",
        "prometheus",
        "--prometheus",
        prometheus.url,
        "--redis",
        server.url,
        "-o",
        "json",
    ]
    # in a thread of its own: the command runs an event loop
    await asyncio.to_thread(main_quietly, ["report", "chargeback", "--month", "2026-03", *arguments])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["source"], report["cost_usd"]) == ("prometheus", "51.80")
    told = err.splitlines()
    assert (
        "spendgate report: red / chat / gpt-4o: prometheus has cost_usd 0.00 against 50.750000005" in told[0]
    )
    assert any(
        x.startswith("spendgate report: green / app / gpt-4o: prometheus has cost_usd 0.30 ") for x in told
    )


def main_quietly(argv: list[str]) -> None:
    """Run the command; only its failure is an error."""
    try:
        main(argv)
    except SystemExit as e:
        assert not e.code


def test_what_is_no_prometheus_is_an_error_that_says_so() -> None:
    with (
        PrometheusSource("http://127.0.0.1:1") as source,
        pytest.raises(PrometheusError, match="does not answer"),
    ):
        source.cells("202603", NOW_MS)


def test_growth_over_samples() -> None:
    samples = [Decimal(n) for n in (5, 7, 2, 2, 3)]
    assert growth(samples, None) == 10
    assert growth(samples, Decimal(4)) == 6
    assert growth(samples, Decimal(6)) == 5 + 2 + 3
    assert growth([], Decimal(6)) == 0
