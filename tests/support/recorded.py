"""The recorded traffic as the tests see it, and a second, independent reading of the usage in it.

The reading here shares no code with the dialects: answers are split by the formats' own simplest rules (event
streams of Amazon by botocore), and each provider's totals are added up as its documentation says.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any

from botocore.eventstream import EventStreamBuffer

from spendgate.dialects import registry
from spendgate.dialects.base import Dialect, Reading, RequestFacts, StreamMeter
from spendgate.errors import RequestError
from spendgate.usage import Usage
from support.scripts import load_script

_FETCH = load_script("fetch_corpus")
Recording = _FETCH.Recording

REDACTED_APIS = {
    "langchain_openai": ("/v1/responses", "/v1/chat/completions"),  # and embeddings, by the file's name
    "langchain_anthropic": ("/v1/messages", "/v1/messages"),
}
"""Packages whose cassettes hide the URL → the paths that they call, told apart by the body."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A recorded exchange that a dialect claims."""

    recording: Any
    dialect: Dialect
    path: str
    facts: RequestFacts | None
    """None where the dialect cannot read the request."""
    is_stream: bool

    @property
    def model(self) -> str:
        """The model asked for."""
        return self.facts.model if self.facts is not None else ""

    def reading(self) -> Reading:
        """The dialect's reading of the whole answer."""
        if self.is_stream:
            meter = self.meter()
            meter.feed(self.recording.answer, True)
            return meter.result()
        return self.dialect.read_answer(self.recording.answer, self.recording.headers)

    def own_usage(self) -> Usage:
        """What the answering model itself is billed for: without images that a tool had another model draw."""
        reading = self.reading()
        drawn = sum(
            part.get("output_image", 0) for model, part in reading.parts if model.startswith("gpt-image")
        )
        usage = dict(reading.usage)
        if drawn:
            usage["output_image"] -= drawn
        return {kind: n for kind, n in usage.items() if n}

    def meter(self) -> StreamMeter:
        """A fresh meter that counts words."""
        return self.dialect.stream_meter(hide_usage=False, count=lambda text: len(text.split()) or 1)


@cache
def recordings() -> tuple[Any, ...]:
    """Every successful recording of a POST."""
    return tuple(r for r in _FETCH.recordings() if 200 <= r.status < 300 and r.method == "POST")


@cache
def exchanges() -> tuple[Exchange, ...]:
    """Every recording that a dialect claims."""
    found = []
    for recording in recordings():
        path = path_of(recording)
        dialect = registry.find(recording.method, path, recording.request_headers.get("content-type", ""))
        if dialect is not None:
            found.append(_exchange(recording, dialect, path))
    return tuple(found)


def path_of(recording: Any) -> str:
    """The path of a recording; told by the body where the cassette hides it, `` where nothing tells it."""
    if recording.url:
        return str(recording.path)
    paths = REDACTED_APIS.get(recording.source.partition(":")[0])
    if paths is None:
        return ""
    try:
        body = json.loads(recording.request)
    except ValueError:  # an upload
        return ""
    if "embeddings" in recording.source:
        return "/v1/embeddings"
    return paths[0] if "input" in body else paths[1]


def _exchange(recording: Any, dialect: Dialect, path: str) -> Exchange:
    try:
        facts = dialect.read_request(recording.request, path, recording.request_headers)
    except RequestError:
        facts = None
    asked = facts is not None and facts.stream
    kind = recording.headers.get("content-type", "").partition(";")[0].strip().lower()
    whole = recording.answer.lstrip()[:1] in (b"{", b"[")
    is_stream = dialect.streams(kind, asked) if kind else not whole  # some cassettes have no headers
    return Exchange(recording, dialect, path, facts, is_stream)


# -- the second reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Totals:
    """What the provider says it counted: each side's own total, and what it names apart."""

    input: int
    output: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0


def totals(recording: Any) -> Totals | None:
    """Read the provider's totals out of an answer; None where it tells none."""
    usage: dict[str, Any] = {}
    for document in documents(recording):
        for found in _usages(document):
            usage.update({k: v for k, v in found.items() if v is not None})
    if usage.get("iterations"):  # Anthropic: several calls, some left out of the top level
        return _sum([_totals(u) for u in usage["iterations"]])
    if not usage:
        usage = _header_counts(recording)
    return _totals(usage) if usage else None


def _sum(parts: list[Totals | None]) -> Totals:
    known = [astuple(part) for part in parts if part is not None]
    return Totals(*map(sum, zip(*known, strict=True)))


def documents(recording: Any) -> Iterator[Any]:
    """The JSON documents of an answer: the whole, its events, its lines, or its messages."""
    answer = recording.answer
    if b":message-type" in answer[:400]:
        buffer = EventStreamBuffer()
        buffer.add_data(answer)
        for event in buffer:
            yield from _payload(event.payload)
        return
    try:
        whole = json.loads(answer)
    except ValueError:
        for line in answer.splitlines():
            text = line.removeprefix(b"data:").strip()
            if text.startswith(b"{"):
                try:
                    yield json.loads(text)
                except ValueError:
                    continue
        return
    yield from whole if isinstance(whole, list) else [whole]


def _payload(raw: bytes) -> Iterator[Any]:
    document = json.loads(raw) if raw else {}
    inner = base64.b64decode(document["bytes"]) if isinstance(document.get("bytes"), str) else b""
    yield json.loads(inner) if inner.startswith(b"{") else document


def _usages(document: Any) -> Iterator[dict[str, Any]]:
    """The usage objects of a document, wherever its API puts them."""
    if not isinstance(document, dict):
        return
    for holder in (
        document,
        *(document.get(k) for k in ("message", "response", "delta", "interaction", "x_groq")),
    ):
        if not isinstance(holder, dict):
            continue
        for key in ("usage", "usageMetadata"):
            if isinstance(holder.get(key), dict):
                yield holder[key]
    metrics = document.get("amazon-bedrock-invocationMetrics")
    if isinstance(metrics, dict):
        yield {"metric_" + k: v for k, v in metrics.items()}
    response = document.get("response")
    for meta in (document.get("meta"), response.get("meta") if isinstance(response, dict) else None):
        if isinstance(meta, dict) and isinstance(meta.get("billed_units"), dict):
            yield meta
    if document.get("done") is not False and ("eval_count" in document or "prompt_eval_count" in document):
        yield {k: document[k] for k in ("prompt_eval_count", "eval_count") if k in document}


def _header_counts(recording: Any) -> dict[str, Any]:
    prefix = "x-amzn-bedrock-"
    found = {k.removeprefix(prefix): v for k, v in recording.headers.items() if k.startswith(prefix)}
    return {"header_" + k: int(v) for k, v in found.items() if k.endswith("token-count")}


def _totals(u: dict[str, Any]) -> Totals | None:  # noqa: C901  # a table: a case for each provider
    def n(*keys: str) -> int:
        return next((int(u[k]) for k in keys if isinstance(u.get(k), int | float)), 0)

    def inside(key: str, *names: str) -> int:
        details = u.get(key)
        return next((int(details[x]) for x in names if isinstance(details, dict) and details.get(x)), 0)

    if "metric_inputTokenCount" in u:
        cached, written = n("metric_cacheReadInputTokenCount"), n("metric_cacheWriteInputTokenCount")
        return Totals(
            n("metric_inputTokenCount") + cached + written, n("metric_outputTokenCount"), cached, written
        )
    if "promptTokenCount" in u or "candidatesTokenCount" in u:
        return Totals(
            n("promptTokenCount") + n("toolUsePromptTokenCount"),
            n("candidatesTokenCount") + n("thoughtsTokenCount"),
            n("cachedContentTokenCount"),
            reasoning=n("thoughtsTokenCount"),
        )
    if "total_input_tokens" in u:  # Gemini interactions
        return Totals(
            n("total_input_tokens") + n("total_tool_use_tokens"),
            n("total_output_tokens") + n("total_thought_tokens"),
            n("total_cached_tokens"),
            reasoning=n("total_thought_tokens"),
        )
    if "inputTokens" in u:
        cached, written = (
            n("cacheReadInputTokens", "cacheReadInputTokenCount"),
            n("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        )
        return Totals(n("inputTokens") + cached + written, n("outputTokens"), cached, written)
    if "billed_units" in u:
        billed = u["billed_units"]
        return Totals(int(billed.get("input_tokens") or 0), int(billed.get("output_tokens") or 0))
    if "prompt_tokens" in u or "completion_tokens" in u:
        cached = inside("prompt_tokens_details", "cached_tokens") or n(
            "prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"
        )
        return Totals(
            n("prompt_tokens"),
            n("completion_tokens"),
            cached,
            inside("prompt_tokens_details", "cache_write_tokens"),
            inside("completion_tokens_details", "reasoning_tokens"),
        )
    if "input_tokens_details" in u or ("total_tokens" in u and "input_tokens" in u):
        return Totals(
            n("input_tokens"),
            n("output_tokens"),
            inside("input_tokens_details", "cached_tokens"),
            inside("input_tokens_details", "cache_write_tokens"),
            inside("output_tokens_details", "reasoning_tokens"),
        )
    if "input_tokens" in u or "output_tokens" in u:  # Anthropic: disjoint
        cached, written = n("cache_read_input_tokens"), n("cache_creation_input_tokens")
        thought = inside("output_tokens_details", "thinking_tokens")
        return Totals(n("input_tokens") + cached + written, n("output_tokens"), cached, written, thought)
    if "eval_count" in u or "prompt_eval_count" in u:
        return Totals(n("prompt_eval_count"), n("eval_count"))
    if "header_input-token-count" in u:
        cached, written = n("header_cache-read-input-token-count"), n("header_cache-write-input-token-count")
        return Totals(
            n("header_input-token-count") + cached + written, n("header_output-token-count"), cached, written
        )
    return None
