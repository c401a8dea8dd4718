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
from spendgate.finops.prometheus import COST, PrometheusError, PrometheusSource, growth
from spendgate.ledger.embedded import EmbeddedRedis
from spendgate.ledger.redis_ledger import RedisLedger

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
    text = "\n".join(
        ["# TYPE llm_cost_usd counter", *cost, "# TYPE spendgate_tokens counter", *tokens, "# EOF", ""]
    )
    with Prometheus(tmp_path_factory.mktemp("prometheus"), blocks=text) as running:
        yield running


RED = {"old": "7.50", "newborn": "5.25", "reset": "17.00", "past": "15.00", "two": "6.00"}


def test_resets_newborns_and_other_months_are_told_apart(prometheus: Prometheus) -> None:
    with PrometheusSource(prometheus.url) as source:
        cells = source.cells("202603", NOW_MS)
    spent = {(c.team, c.app): Decimal(c.cost_nanousd) / 10**9 for c in cells}
    assert spent == {("red", app): Decimal(usd) for app, usd in RED.items()} | {
        ("blue", 'odd "name"'): Decimal("0.75")
    }
    assert sum(c.tokens.get("input", 0) for c in cells) == 5175


def test_a_running_month_ends_now(prometheus: Prometheus) -> None:
    with PrometheusSource(prometheus.url) as source:
        cells = source.cells("202603", (MARCH + 51 * HOUR) * 1000, "red")
    assert {c.app: c.cost_nanousd // 10**9 for c in cells} == {"old": 1, "reset": 10, "two": 3}


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
    assert (report["source"], report["cost_usd"]) == ("prometheus", "51.50")
    assert err == (
        "spendgate report: team red: the lines add up to 50.75 USD, its budget counts 50.750000005, "
        "-0.000000005 apart\n"
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
