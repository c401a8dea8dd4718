"""Usage as Bedrock's Converse reports it, in a JSON answer or in a stream's `metadata` event.

`inputTokens`, `cacheReadInputTokens` and `cacheWriteInputTokens` are disjoint; `totalTokens` is their sum with
`outputTokens` (it held in all 215 recorded answers). Each cache figure stands twice, as `…Tokens` and as
`…TokenCount`: the second is the first. `cacheDetails` splits what was written by its lifetime.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.bedrock import guardrails
from spendgate.dialects.bedrock.api import OPTIMIZED
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, TIER_CHARACTERS_MAX, short
from spendgate.dialects.response.counts import BadUsage, believable, optional, tidy
from spendgate.dialects.wire import traits
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.dialects.wire.traits import UsageFields
from spendgate.usage import Usage

FIELDS: UsageFields = MappingProxyType(
    {
        traits.MODEL: ("trace.promptRouter.invokedModelId",),
        "input": ("usage.inputTokens",),
        "cached_input": ("usage.cacheReadInputTokens", "usage.cacheReadInputTokenCount"),
        "cache_write_5m": ("usage.cacheWriteInputTokens", "usage.cacheWriteInputTokenCount"),
        "cache_write_1h": ("usage.cacheDetails[ttl=1h].inputTokens",),
        "output": ("usage.outputTokens",),
        **{
            kind: (f"trace.guardrail.inputAssessment.GUARDRAIL.invocationMetrics.usage.{counter}",)
            for counter, kind in guardrails.UNITS.items()
        },
        traits.TOTAL: ("usage.totalTokens",),
        traits.TIER: ("serviceTier.type", "performanceConfig.latency"),
    }
)
"""Where an answer tells what was used."""


def read(raw: object) -> Reading:
    """Read a `usage`. Never raises."""
    if raw is not None and not isinstance(raw, dict):
        return Reading({}, problem="bad_usage")
    if raw is None or not ("inputTokens" in raw or "outputTokens" in raw):
        return Reading({}, problem="no_usage")
    try:
        usage, mismatch = _kinds(raw)
    except BadUsage:
        return Reading({}, problem="bad_usage")
    usage["requests"] = 1
    return Reading(tidy(usage), mismatch=mismatch)


def read_document(document: JsonObject) -> Reading:
    """Read a whole answer, or a stream's `metadata`: with the tier and speed that served it, and the model that a
    prompt router chose. Never raises."""
    reading = read(document.get("usage"))
    tier = short(object_of(document.get("serviceTier")).get("type"), TIER_CHARACTERS_MAX)
    latency = object_of(document.get("performanceConfig")).get("latency")
    if latency == OPTIMIZED:
        tier = OPTIMIZED
    elif latency == "standard":
        tier = tier or "default"  # what was asked for may have been another
    trace = object_of(document.get("trace"))
    model = short(object_of(trace.get("promptRouter")).get("invokedModelId"), MODEL_CHARACTERS_MAX)
    usage = reading.usage
    if checked := guardrails.read(trace):
        usage = tidy({**usage, **checked})
    return replace(reading, usage=usage, service_tier=tier, model=model)


def of_openai(reading: Reading) -> Reading:
    """The same of a model of OpenAI's, which counts what it writes into the cache within its input (and Bedrock adds it
    to the total once more)."""
    usage = dict(reading.usage)
    written = usage.get("cache_write_5m", 0) + usage.get("cache_write_1h", 0)
    if not written or usage.get("input", 0) < written:
        return reading
    usage["input"] -= written
    return replace(reading, usage={kind: n for kind, n in usage.items() if n})


def _kinds(raw: JsonObject) -> tuple[Usage, bool]:
    """Split into disjoint kinds; True where the provider's numbers contradict each other."""
    plain, output = optional(raw, "inputTokens"), optional(raw, "outputTokens")
    cached = optional(raw, "cacheReadInputTokens") or optional(raw, "cacheReadInputTokenCount")
    written = optional(raw, "cacheWriteInputTokens") or optional(raw, "cacheWriteInputTokenCount")
    details: Any = raw.get("cacheDetails")
    one_hour = sum(
        optional(detail, "inputTokens")
        for detail in list_of(details)
        if isinstance(detail, dict) and detail.get("ttl") == "1h"
    )
    parts = plain + cached + max(written, one_hour) + output
    difference = (optional(raw, "totalTokens") or parts) - parts
    usage = {
        "input": plain,
        "cached_input": cached,
        "cache_write_5m": max(written - one_hour, 0),
        "cache_write_1h": one_hour,
        "output": output + max(difference, 0),
    }
    return believable(usage), difference != 0 or one_hour > written
