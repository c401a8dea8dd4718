"""Four books of one month agree: the ledger's, the usage log's and the mock provider's to the nano-dollar, and
Prometheus' within what sums of floats can be off. `make month` plays a million exchanges."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest
from support import invoice
from support.prometheus import Prometheus
from support.scripted_month import LAST_MS, MONTH, TEAMS, Month, run
from unit.exchange.driver import policy_of

from spendgate.finops.chargeback.chargeback import Chargeback, chargeback
from spendgate.finops.chargeback.differences import differences
from spendgate.finops.chargeback.from_prometheus import PrometheusSource
from spendgate.finops.log_cells import cells_of
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table
from spendgate.records.reader import read

COUNT = int(os.environ.get("SPENDGATE_MONTH_EXCHANGES", "3000"))
PRICES = table()


def told(name: str, report: Chargeback) -> str:
    return (
        f"{name}: {report.requests:,} exchanges, {report.tokens:,} tokens, {report.cost_nanousd:,} nano-USD, "
        f"{report.saved_nanousd:,} saved, {report.refused:,} refused"
    )


@pytest.mark.timeout(3600)
async def test_ledger_log_prometheus_and_the_providers_books_say_the_same(
    ledger: RedisLedger, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    month: Month = await run(COUNT, server.url, tmp_path, policy_of)
    assert month.sent == COUNT

    books = chargeback(MONTH, "ledger", await ledger.cells(sorted(TEAMS), MONTH), PRICES)
    log = chargeback(MONTH, "log", cells_of(read([month.log]), MONTH), PRICES)
    with (
        Prometheus(tmp_path / "prometheus", blocks=month.openmetrics) as prometheus,
        PrometheusSource(prometheus.url) as source,
    ):
        scraped = chargeback(MONTH, "prometheus", source.cells(MONTH, LAST_MS + 1000), PRICES)
    billed = month.books.invoice()

    # the ledger and the usage log: every line, every kind, to the nano-dollar
    assert differences(log, books) == []
    assert (books.saved_nanousd, books.refused) == (log.saved_nanousd, log.refused)
    # the provider's books, at its own list, computed without any code of ours
    assert Decimal(books.cost_nanousd) / 10**9 == invoice.total(billed)
    tokens: dict[tuple[str, str], int] = {}
    for line in books.lines:
        for k in line.kinds:
            if k.tokens:
                tokens[line.model, k.kind] = tokens.get((line.model, k.kind), 0) + k.tokens
    assert tokens == {(m, k): n for m, line in billed["models"].items() for k, n in line["tokens"].items()}
    assert sum(x.requests for x in books.lines) == sum(x["requests"] for x in billed["models"].values())
    # Prometheus alone: counts exactly, money within n x S x 2^-53
    bound = COUNT * books.cost_nanousd // 2**53 + 1
    lines = {(x.team, x.app, x.model): x for x in scraped.lines}
    for ours in books.lines:
        theirs = lines.pop((ours.team, ours.app, ours.model))
        assert (theirs.requests, theirs.tokens, theirs.refused) == (ours.requests, ours.tokens, ours.refused)
        assert abs(theirs.cost_nanousd - ours.cost_nanousd) <= bound
        assert abs(theirs.saved_nanousd - ours.saved_nanousd) <= bound
    assert lines == {}
    # and the month had everything that a month has
    assert month.before.lines and month.books.errors and books.refused
    assert {x.saved_nanousd > 0 for x in books.lines if x.saved_nanousd} == {True, False}
    assert sum(x["aborted"] for x in billed["models"].values()) > 0
    with capsys.disabled():
        off = scraped.cost_nanousd - books.cost_nanousd
        print("", told("ledger", books), told("usage log", log), told("Prometheus", scraped), sep="\n  ")
        print(
            f"  the provider's invoice: {invoice.total(billed)} USD; Prometheus is {off} nano-USD off, {bound} allowed"
        )
