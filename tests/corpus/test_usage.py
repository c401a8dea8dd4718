"""Recorded traffic of real providers through the dialects: every usage is metered, and to the token."""

from __future__ import annotations

import re
from collections import Counter

from support.recorded import Exchange, exchanges, path_of, recordings, totals

from spendgate.usage import COUNT_MAX, input_total, output_total

NO_DIALECT = {
    r"/v1/threads": "OpenAI's assistants were retired in August 2026; an unknown API",
}
"""Answers with a usage that no dialect claims (a pattern of the path), and why."""

CONTRADICTIONS = {
    "TestInvokeModelWithStreamResponse.test_invoke": "Claude says 130 output tokens, Bedrock's metrics 98",
    "test_nova_completion_with_events_with_no_content": (
        "a guardrail changed the answer: its usage says 0 output tokens, Bedrock's headers 51"
    ),
}
"""Answers that contradict themselves: the larger reading is charged, and flagged."""


def name(exchange: Exchange) -> str:
    return str(exchange.recording.source)


def contradicts(exchange: Exchange) -> bool:
    return any(part in name(exchange) for part in CONTRADICTIONS)


def test_every_exchange_with_usage_has_a_dialect_or_a_reason() -> None:
    claimed = {e.recording.source for e in exchanges()}
    left = [r for r in recordings() if r.source not in claimed and totals(r) is not None]
    used: Counter[str] = Counter()
    for recording in left:
        reasons = [pattern for pattern in NO_DIALECT if re.search(pattern, path_of(recording))]
        assert reasons, f"{recording.source}: {path_of(recording)} tells its usage and no dialect claims it"
        used.update(reasons)
    assert set(used) == set(NO_DIALECT), "a reason that nothing needs"


def test_every_exchange_with_usage_is_metered_without_a_mismatch() -> None:
    faults = []
    metered = 0
    for exchange in exchanges():
        if totals(exchange.recording) is None:
            continue
        reading = exchange.reading()
        metered += 1
        if reading.problem is not None or reading.mismatch != contradicts(exchange):
            faults.append(f"{name(exchange)}: {exchange.dialect.name}: {reading}")
    assert not faults, "\n".join(faults)
    assert metered > 2_000


def test_the_metered_usage_is_what_the_provider_counted() -> None:
    faults = []
    for exchange in exchanges():
        told = totals(exchange.recording)
        if told is None or contradicts(exchange):
            continue
        usage = exchange.own_usage()
        cached = usage.get("cached_input", 0)
        written = usage.get("cache_write_5m", 0) + usage.get("cache_write_1h", 0)
        own = (input_total(usage), output_total(usage), cached, written, usage.get("reasoning", 0))
        expected = (told.input, told.output, told.cached, told.written, told.reasoning)
        if own != expected:
            faults.append(
                f"{name(exchange)}: {exchange.dialect.name}: {own} but the provider says {expected}"
            )
    assert not faults, "\n".join(faults)


def test_a_contradiction_is_charged_by_the_larger_reading() -> None:
    outputs = {output_total(e.reading().usage) for e in exchanges() if contradicts(e)}
    assert outputs == {130, 51}


def test_every_request_with_usage_can_be_read() -> None:
    unread = [name(e) for e in exchanges() if e.facts is None and totals(e.recording) is not None]
    assert not unread


def test_no_count_is_out_of_bounds() -> None:
    assert all(0 < n <= COUNT_MAX for e in exchanges() for n in e.reading().usage.values())
