"""A sample of each API's recorded traffic through a real Envoy: byte for byte, and metered to the token."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import pytest
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.raw_upstream import RawUpstream, fixed, pieces
from support.recorded import Exchange, exchanges, totals

EACH_MAX = 2
BYTES_MAX = 200_000
VERTEX = "/v1/projects/p/locations/eu/publishers/anthropic/models/"


@cache
def sample() -> dict[str, tuple[Exchange, str]]:
    """Name → (exchange, path): up to two whole answers and two streams of each dialect. Claude on Vertex AI
    answers as Anthropic does: its recordings serve for both."""
    chosen: dict[str, tuple[Exchange, str]] = {}
    for exchange in exchanges():
        recording = exchange.recording
        small = len(recording.answer) < BYTES_MAX and len(recording.request) < BYTES_MAX
        if (
            not (recording.url and recording.headers.get("content-type") and small)
            or totals(recording) is None
        ):
            continue
        kind = "stream" if exchange.is_stream else "json"
        query = recording.url.partition("?")[2]
        path = exchange.path + (f"?{query}" if query else "")
        for name, way in _names(exchange, kind, path):
            number = sum(key.startswith(f"{name}-{kind}-") for key in chosen)
            if number < EACH_MAX:
                chosen[f"{name}-{kind}-{number}"] = (exchange, way)
    return chosen


def _names(exchange: Exchange, kind: str, path: str) -> list[tuple[str, str]]:
    named = [(exchange.dialect.name, path)]
    if exchange.dialect.name == "anthropic-messages":
        verb = "streamRawPredict" if kind == "stream" else "rawPredict"
        named.append(("anthropic-vertex", f"{VERTEX}{exchange.model}:{verb}"))
    return named


RAW_POLICY = policy(*(budget(name, 100_000) for name in sample()))


@pytest.mark.parametrize("name", sample())
def test_a_recorded_exchange_passes_unchanged_and_is_metered(
    raw_gateway: Gateway, upstream: RawUpstream, name: str
) -> None:
    exchange, path = sample()[name]
    recording = exchange.recording
    content = f"content-type: {recording.headers['content-type']}"
    counts = [f"{k}: {v}" for k, v in recording.headers.items() if k.startswith("x-amzn-bedrock")]
    cut = [recording.answer[i : i + 1000] for i in range(0, len(recording.answer), 1000)]
    upstream.reply = (
        pieces(cut, content, *counts, pause_s=0)
        if exchange.is_stream
        else fixed(recording.answer, content, *counts)
    )
    headers = {"content-type": recording.request_headers.get("content-type", "application/json"), **who(name)}
    got = httpx.post(
        raw_gateway.url + path, content=recording.request, headers=headers, trust_env=False, timeout=60
    )
    assert (got.status_code, got.content) == (200, recording.answer)
    assert upstream.last.target == path
    if exchange.facts is not None and not exchange.facts.usage_hidden:
        assert upstream.last.body == recording.request
    line: dict[str, Any] = raw_gateway.line(name)
    expected = {kind: n for kind, n in exchange.reading().usage.items() if kind != "requests"}
    if "input_missing" in line["flags"]:  # Ollama leaves out a prompt that was cached: it is counted here
        assert "input" not in expected
        expected["input"] = line["tokens"]["input"]
    assert (line["tokens"], line["outcome"]) == (expected, "complete")
    assert line["dialect"] == name.rsplit("-", 2)[0]


def test_every_dialect_with_recorded_traffic_is_in_the_sample() -> None:
    recorded = {
        e.dialect.name for e in exchanges() if e.recording.headers.get("content-type") and totals(e.recording)
    }
    assert {name.rsplit("-", 2)[0] for name in sample()} == recorded | {"anthropic-vertex"}
