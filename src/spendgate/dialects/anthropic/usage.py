"""Usage as Anthropic's messages API reports it.

`input_tokens`, `cache_creation_input_tokens` and `cache_read_input_tokens` are disjoint; `output_tokens`
includes thinking. The split of cache writes by lifetime can be incomplete (recorded in every answer with web
searches): what is left is priced as 5-minute writes. `iterations` lists each model call of an answer, some
of other models; the top level leaves some of them out (recorded: advisor and compaction calls), so their sum
is the bill.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from spendgate.dialects.anthropic.request import tier_of
from spendgate.dialects.base import Reading
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, TIER_CHARACTERS_MAX, short
from spendgate.dialects.response import told_cost
from spendgate.dialects.response.counts import BadUsage, optional, required, tidy
from spendgate.dialects.response.growing import lay_over
from spendgate.dialects.response.told_cost import told_nanousd
from spendgate.dialects.wire import traits
from spendgate.dialects.wire.json_read import JsonObject, count_of, object_of
from spendgate.dialects.wire.traits import UsageFields
from spendgate.usage import COUNT_MAX, INPUT_KINDS, OUTPUT_KINDS, Usage, total

ITERATIONS_MAX = 10_000

FIELDS: UsageFields = MappingProxyType(
    {
        traits.MODEL: ("model",),
        "input": ("usage.input_tokens",),
        "cached_input": ("usage.cache_read_input_tokens",),
        "cache_write_5m": (
            "usage.cache_creation_input_tokens", "usage.cache_creation.ephemeral_5m_input_tokens",
        ),
        "cache_write_1h": ("usage.cache_creation.ephemeral_1h_input_tokens",),
        "output": ("usage.output_tokens",),
        "reasoning": ("usage.output_tokens_details.thinking_tokens",),
        "searches": ("usage.server_tool_use.web_search_requests",),
        traits.PARTS: ("usage.iterations[]",),
        traits.TIER: ("usage.service_tier", "usage.speed"),
        traits.PLACE: ("usage.inference_geo",),
        traits.TOLD: told_cost.FIELDS,
    }
)  # fmt: skip
"""Where an answer tells what was used."""


def read(model: object, raw: object) -> Reading:
    """Read a usage object, of a whole answer or merged from a stream. Never raises."""
    name = short(model, MODEL_CHARACTERS_MAX)
    if raw is not None and not isinstance(raw, dict):
        return Reading({}, name, "bad_usage")
    if raw is not None and not ("input_tokens" in raw or "output_tokens" in raw):
        raw = _in_own_words(raw)
    if raw is None or not ("input_tokens" in raw or "output_tokens" in raw):
        return Reading({}, name, "no_usage")
    tier, place = tier_of(raw), short(raw.get("inference_geo"), TIER_CHARACTERS_MAX)
    try:
        usage, mismatch = _kinds(raw)
        parts = _iterations(name, raw.get("iterations"))
        searches = optional(object_of(raw.get("server_tool_use")), "web_search_requests")
    except BadUsage:
        return Reading({}, name, "bad_usage", service_tier=tier, residency=place)
    if parts:
        usage, parts, short_of = _reconcile(name, usage, parts)
        mismatch = mismatch or short_of
    usage["searches"] = searches
    usage["requests"] = 1
    if name in parts and len(parts) > 1:
        parts[name] = parts[name] | {"searches": searches, "requests": 1}
    listed = tuple((model, tidy(part)) for model, part in parts.items()) if len(parts) > 1 else ()
    return Reading(
        tidy(usage), name, mismatch=mismatch, parts=listed, service_tier=tier, residency=place,
        told_nanousd=told_nanousd(raw),
    )  # fmt: skip


def _in_own_words(raw: JsonObject) -> JsonObject:
    """A usage in the words of OpenAI's chat, as some proxies pass it on: its prompt includes what was cached."""
    prompt, details = count_of(raw.get("prompt_tokens")), object_of(raw.get("prompt_tokens_details"))
    if prompt is None or "completion_tokens" not in raw:
        return raw
    cached = count_of(details.get("cached_tokens") or raw.get("cache_read_input_tokens") or 0) or 0
    return {
        **raw,
        "input_tokens": max(prompt - cached, 0),
        "cache_read_input_tokens": cached,
        "output_tokens": raw["completion_tokens"],
    }


def unbilled(model: object) -> Reading:
    """The reading of a message that was declined before any output."""
    return Reading({"requests": 1}, short(model, MODEL_CHARACTERS_MAX), flags=("unbilled_refusal",))


def is_unbilled_refusal(stop_reason: object, raw: object, *, has_content: bool) -> bool:
    """Did the model decline before it made anything? Such a request is not billed, though its input is told
    (Anthropic's guide to streaming refusals)."""
    return (
        stop_reason == "refusal"
        and not has_content
        and not count_of(object_of(raw).get("output_tokens") or 0)
    )


def read_message(document: JsonObject) -> Reading:
    """Read a whole answer. Never raises."""
    raw = document.get("usage")
    if is_unbilled_refusal(document.get("stop_reason"), raw, has_content=bool(document.get("content"))):
        return unbilled(document.get("model"))
    return read(document.get("model"), raw)


def merge(known: JsonObject, update: object) -> None:
    """Lay a `message_delta`'s usage over what `message_start` said."""
    if isinstance(update, dict):
        lay_over(known, update)


def _kinds(raw: JsonObject) -> tuple[Usage, bool]:
    """Split into disjoint kinds; True where the provider's numbers contradict each other."""
    split = object_of(raw.get("cache_creation"))
    five_minutes = optional(split, "ephemeral_5m_input_tokens")
    one_hour = optional(split, "ephemeral_1h_input_tokens")
    written = optional(raw, "cache_creation_input_tokens")
    output = required(raw, "output_tokens")
    thinking = optional(object_of(raw.get("output_tokens_details")), "thinking_tokens")
    known = five_minutes + one_hour
    usage = {
        "input": required(raw, "input_tokens"),
        "cached_input": optional(raw, "cache_read_input_tokens"),
        "cache_write_5m": five_minutes + max(written - known, 0),
        "cache_write_1h": one_hour,
        "output": max(output - thinking, 0),
        "reasoning": thinking,
    }
    contradicted = thinking > output or (
        known > written and raw.get("cache_creation_input_tokens") is not None
    )
    return usage, contradicted


def _iterations(name: str, iterations: Any) -> dict[str, Usage]:
    """The usage of each model in `iterations`, summed; empty where there are none."""
    parts: dict[str, Usage] = {}
    if iterations is None or iterations == []:
        return parts
    if not isinstance(iterations, list) or len(iterations) > ITERATIONS_MAX:
        raise BadUsage("iterations")
    fallback = max((at for at, each in enumerate(iterations) if _is_fallback(each)), default=-1)
    for at, iteration in enumerate(iterations):
        if not isinstance(iteration, dict):
            raise BadUsage("iterations")
        usage, _ = _kinds(iteration)
        if at < fallback and not usage["output"] and not usage["reasoning"]:
            continue  # declined before any output, and another model took over: not billed
        part = parts.setdefault(short(iteration.get("model"), MODEL_CHARACTERS_MAX) or name, {})
        for kind, count in usage.items():
            part[kind] = part.get(kind, 0) + count
            if part[kind] > COUNT_MAX:
                raise BadUsage("iterations")
    return parts


def _is_fallback(iteration: object) -> bool:
    return str(object_of(iteration).get("type", "")).startswith("fallback")


def _reconcile(name: str, top: Usage, parts: dict[str, Usage]) -> tuple[Usage, dict[str, Usage], bool]:
    """Choose between the top level and the sum of iterations: the sum, unless it is the smaller one on a
    side (then the answer contradicts itself and the top level is charged)."""
    summed = {kind: sum(part.get(kind, 0) for part in parts.values()) for kind in top}
    if total(summed, INPUT_KINDS) < total(top, INPUT_KINDS) or total(summed, OUTPUT_KINDS) < total(
        top, OUTPUT_KINDS
    ):
        return top, {}, True
    thought = top["reasoning"] - summed["reasoning"]
    own = parts.get(name)
    if thought > 0 and own is not None and thought <= own["output"]:
        # Only the top level tells thinking apart from the rest of the output.
        own["output"] -= thought
        own["reasoning"] += thought
        summed["output"] -= thought
        summed["reasoning"] += thought
    return summed, parts, False
