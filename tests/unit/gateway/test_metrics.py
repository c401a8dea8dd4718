"""Counters are added up a batch, and say what adding each by itself would."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest
from unit.gateway.test_settler import ending

from spendgate.gateway.metrics import Metrics
from spendgate.records.outcome import Outcome


def test_a_batch_counts_as_each_of_its_exchanges_by_itself() -> None:
    one = ending(1)
    other = replace(
        one, record=replace(one.record, team="search", cost_nanousd=7_000_000_000, reason="hurry")
    )
    refused = replace(one, record=replace(one.record, outcome=Outcome.REFUSED))
    batch = [(one, False), (other, True), (one, True), (refused, False), (other, False)]
    seen = []
    for parts in ([batch], [[x] for x in batch]):
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        for part in parts:
            metrics.count_all(part)
        lines = generate_latest(registry).decode().splitlines()
        seen.append([x for x in lines if "_created" not in x])
    assert seen[0] == seen[1]
    assert any(x.startswith('spendgate_requests_total{app="') and x.endswith(" 2.0") for x in seen[0])
