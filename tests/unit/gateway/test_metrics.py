"""Counters are added up a batch, and say what adding each by itself would."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.samples import Sample
from unit.gateway.test_settler import ending

from spendgate.gateway.histograms import SummedHistogram
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


BOUNDS = (0.1, 0.25, 1.0)


@given(st.lists(st.lists(st.sampled_from([*BOUNDS, 0.0, 0.2, 7.0, math.inf]) | st.floats(0, 3))))
def test_what_is_added_up_is_scraped_as_if_each_had_been_observed(ticks: list[list[float]]) -> None:
    plain = Histogram("x", "x", buckets=BOUNDS, registry=None)
    summed = SummedHistogram("x", "x", buckets=BOUNDS, registry=None)
    for seen in ticks:
        for seconds in seen:
            plain.observe(seconds)
            summed.observe(seconds)
        summed.flush()

    def samples(of: Histogram) -> dict[str, float]:
        found: list[Sample] = [x for metric in of.collect() for x in metric.samples]
        return {f"{x.name} {x.labels}": x.value for x in found if x.name != "x_created"}

    assert samples(summed) == pytest.approx(samples(plain))


def test_a_scrape_of_this_process_sees_what_was_not_flushed() -> None:
    registry = CollectorRegistry()
    Metrics(registry).decided.observe(0.3)
    assert registry.get_sample_value("spendgate_decision_seconds_count") == 1
    assert registry.get_sample_value("spendgate_decision_seconds_sum") == 0.3
