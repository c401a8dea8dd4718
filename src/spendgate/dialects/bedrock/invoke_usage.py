"""Usage of Bedrock's model invocations: by headers, by a stream's metrics, or by the vendor's own usage.

`x-amzn-bedrock-input-token-count` and its siblings, and `amazon-bedrock-invocationMetrics`, count for every
vendor (recorded: Anthropic, Nova, Titan, Llama, Cohere, AI21, OpenAI). Cached tokens are apart from the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from spendgate.dialects.anthropic import usage as anthropic_usage
from spendgate.dialects.base import Reading
from spendgate.dialects.bedrock import converse_usage, guardrails
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.response.counts import tidy
from spendgate.dialects.wire.json_read import JsonObject, count_of, list_of, object_of
from spendgate.dialects.wire.traits import TIER, UsageFields, merged
from spendgate.usage import Usage, input_total, output_total

_PREFIX = "x-amzn-bedrock-"
_HEADERS = {
    "input-token-count": "inputTokens",
    "output-token-count": "outputTokens",
    "cache-read-input-token-count": "cacheReadInputTokens",
    "cache-write-input-token-count": "cacheWriteInputTokens",
}
METRICS = "amazon-bedrock-invocationMetrics"
_METRICS = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
}


_BY_HEADER: UsageFields = MappingProxyType(
    {
        TIER: (f"header {_PREFIX}service-tier",),
        "input": (f"header {_PREFIX}input-token-count",),
        "cached_input": (f"header {_PREFIX}cache-read-input-token-count",),
        "cache_write_5m": (f"header {_PREFIX}cache-write-input-token-count",),
        "output": (f"header {_PREFIX}output-token-count",),
    }
)
_BY_TRACE: UsageFields = MappingProxyType(
    {
        kind: (f"amazon-bedrock-trace.guardrail.input.GUARDRAIL.invocationMetrics.usage.{counter}",)
        for counter, kind in guardrails.UNITS.items()
    }
)
_BY_LLAMA_AND_TITAN: UsageFields = MappingProxyType(
    {
        "input": ("prompt_token_count", "inputTextTokenCount"),
        "output": ("generation_token_count", "results[].tokenCount"),
    }
)
_OWN = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "output", "reasoning")
_OF_VENDORS = (
    {kind: tuple(p for p in of.get(kind, ()) if p.startswith("usage.")) for kind in _OWN}
    for of in (converse_usage.FIELDS, anthropic_usage.FIELDS, openai_usage.FIELDS)
)
FIELDS: UsageFields = merged(_BY_HEADER, *_OF_VENDORS, _BY_LLAMA_AND_TITAN, _BY_TRACE)
"""Where an answer tells what was used: Bedrock's headers, or what the vendor's own API has."""


def read(document: object, headers: Mapping[str, str]) -> Reading:
    """Read a whole answer. Never raises."""
    own = vendor(document) if isinstance(document, dict) else Reading({}, problem="no_usage")
    counted: dict[str, object] = {}
    for name, key in _HEADERS.items():
        text = headers.get(_PREFIX + name, "")
        if text:
            counted[key] = int(text) if text.isascii() and text.isdigit() else text
    return with_guardrails(reconcile(own, converse_usage.read(counted or None)), document)


TRACE = "amazon-bedrock-trace"


def with_guardrails(reading: Reading, document: object) -> Reading:
    """The reading with what a guardrail checked, where the answer has its trace."""
    checked = guardrails.read(object_of(document).get(TRACE))
    return replace(reading, usage=tidy({**reading.usage, **checked})) if checked else reading


def metrics(document: JsonObject) -> Reading:
    """Read a stream's metrics. Never raises."""
    raw = document.get(METRICS)
    if not isinstance(raw, dict):
        return Reading({}, problem="no_usage")
    return converse_usage.read({new: raw[old] for old, new in _METRICS.items() if old in raw} or None)


def reconcile(own: Reading, counted: Reading) -> Reading:
    """The vendor's own reading, which tells more, if Bedrock's count agrees with it; else the larger one."""
    if own.problem is not None:
        return counted if counted.problem is None or own.problem == "no_usage" else own
    if counted.problem is not None:
        return own
    ours, theirs = _sides(own.usage), _sides(counted.usage)
    if ours == theirs:
        return own
    larger = own if sum(ours) >= sum(theirs) else counted
    return Reading(larger.usage, own.model, mismatch=True, parts=larger.parts, service_tier=own.service_tier)


def vendor(document: JsonObject) -> Reading:
    """The usage in a vendor's own answer. Never raises."""
    raw = object_of(document.get("usage"))
    if "inputTokens" in raw or "outputTokens" in raw:
        return converse_usage.read(raw)
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        return openai_usage.read(document, raw)
    if "input_tokens" in raw:
        return anthropic_usage.read(document.get("model"), raw)
    counts = _llama(document) or _titan(document)
    if not counts:
        return Reading({}, problem="no_usage")
    return converse_usage.read(counts)


def _llama(document: JsonObject) -> JsonObject:
    if "generation_token_count" not in document and "prompt_token_count" not in document:
        return {}
    return {
        "inputTokens": document.get("prompt_token_count"),
        "outputTokens": document.get("generation_token_count"),
    }


def _titan(document: JsonObject) -> JsonObject:
    if "inputTextTokenCount" not in document:
        return {}
    results = document.get("results")
    made = [object_of(r).get("tokenCount") for r in list_of(results)]
    counts = [count_of(n) for n in made]
    return {
        "inputTokens": document["inputTextTokenCount"],
        "outputTokens": -1 if None in counts else sum(n or 0 for n in counts),
    }


def _sides(usage: Usage) -> tuple[int, int]:
    return input_total(usage), output_total(usage)
