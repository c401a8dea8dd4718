"""Usage as OpenAI's chat API reports it, and the many that copy its shape.

`prompt_tokens` includes cached, cache-written, audio and image tokens; `completion_tokens` includes
reasoning, audio, and predictions accepted or rejected. `total_tokens` is the check sum: it held in all 1,410
recorded answers of six providers, and tells those apart that count reasoning outside.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import JsonObject, count_of, object_of
from spendgate.dialects.openai_request import SEARCH_MODEL
from spendgate.dialects.texts import MODEL_CHARACTERS_MAX, TIER_CHARACTERS_MAX, short
from spendgate.money import NANO_PER_USD
from spendgate.usage import COUNT_MAX, KINDS, Usage

TOLD_USD_MAX = 10_000
"""No answer costs more; a larger amount is not believed."""


class BadUsage(ValueError):
    """A count is negative, broken, of a wrong type, or not to be believed."""


def read(document: JsonObject, raw: object) -> Reading:
    """Read a usage object of an answer or chunk `document`. Never raises."""
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    tier = short(document.get("service_tier"), TIER_CHARACTERS_MAX)
    if raw is not None and not isinstance(raw, dict):
        return Reading({}, model, "bad_usage", service_tier=tier)
    if raw is None or not ("prompt_tokens" in raw or "completion_tokens" in raw):
        return Reading({}, model, "no_usage", service_tier=tier)
    try:
        usage, mismatch = _kinds(raw)
        searches = _optional(raw, "num_search_queries") or _optional(
            object_of(raw.get("server_tool_use")), "web_search_requests"
        )
    except BadUsage:
        return Reading({}, model, "bad_usage", service_tier=tier)
    usage["searches"] = searches or int(SEARCH_MODEL.search(model) is not None)
    usage["requests"] = 1
    usage = {kind: usage[kind] for kind in KINDS if usage.get(kind)}
    told = told_nanousd(raw)
    return Reading(usage, model, mismatch=mismatch, service_tier=tier, told_nanousd=told)


def told_nanousd(raw: JsonObject) -> int | None:
    """What the provider says that this answer costs: OpenRouter's `cost` in USD (with the vendor's own bill
    where the caller brought a key of theirs), Perplexity's `cost.total_cost`, xAI's `cost_in_usd_ticks` of
    10^-10 USD. None where it says nothing, or nothing believable."""
    ticks = count_of(raw.get("cost_in_usd_ticks"))
    if ticks is not None and ticks > 0:
        return -(-ticks // 10)
    cost = raw.get("cost")
    if isinstance(cost, dict):
        return _nano(cost.get("total_cost")) or None
    nano = _nano(cost)
    if nano is None or not (nano or "cost_details" in raw):
        return None  # a bare zero says less than a price list
    if raw.get("is_byok") is True:
        nano += _nano(object_of(raw.get("cost_details")).get("upstream_inference_cost")) or 0
    return nano


def _nano(usd: object) -> int | None:
    """An amount that JSON writes as a number, in nano-USD: the shortest text of a float is what was written."""
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd <= TOLD_USD_MAX:
        return None
    return int((Decimal(repr(usd)) * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def read_total(document: JsonObject) -> Reading:
    """Read the usage of an API without output, some of whose copies tell the total alone. Never raises."""
    raw = document.get("usage")
    if isinstance(raw, dict) and "prompt_tokens" not in raw and raw.get("total_tokens") is not None:
        raw = {**raw, "prompt_tokens": raw["total_tokens"]}
    return read(document, raw)


def _kinds(raw: JsonObject) -> tuple[Usage, bool]:
    """Split both sides into disjoint kinds; True where the provider's numbers contradict each other."""
    prompt = _count(raw, "prompt_tokens")
    completion = _count(raw, "completion_tokens") if "completion_tokens" in raw else 0
    inside = object_of(raw.get("prompt_tokens_details"))
    cached = (
        _optional(inside, "cached_tokens")
        or _optional(raw, "prompt_cache_hit_tokens")
        or _optional(raw, "num_cached_tokens")
        or _optional(raw, "cached_tokens")
    )
    # Where cached tokens are also audio or images, the dearer kind keeps them.
    usage, input_mismatch = _split(
        prompt,
        "input",
        {
            "input_audio": _optional(inside, "audio_tokens"),
            "input_image": _optional(inside, "image_tokens"),
            "input_video": _optional(inside, "video_tokens"),
            "cache_write_5m": _optional(inside, "cache_write_tokens"),
            "cached_input": cached,
        },
    )
    made = object_of(raw.get("completion_tokens_details"))
    reasoning = _optional(made, "reasoning_tokens")
    total = _optional(raw, "total_tokens") or prompt + completion
    difference = total - prompt - completion
    outside = reasoning > 0 and difference == reasoning
    beyond = max(difference, 0)
    output, output_mismatch = _split(
        completion + beyond,
        "output",
        {
            "output_audio": _optional(made, "audio_tokens"),
            "output_image": _optional(made, "image_tokens"),
            "reasoning": reasoning,
        },
    )
    mismatch = input_mismatch or output_mismatch or (difference != 0 and not outside)
    usage |= output
    if sum(usage.values()) > 2 * COUNT_MAX:
        raise BadUsage("the counts add up to more than any model can use")
    return usage, mismatch


def _split(total: int, plain: str, parts: Usage) -> tuple[Usage, bool]:
    """Take the parts out of a total, in their order; what is left is plain. A part above the total
    contradicts it: then all parts are charged on top of what they can not be inside of."""
    usage: Usage = {}
    mismatch = any(part > total for part in parts.values())
    left = total
    for kind, part in parts.items():
        usage[kind] = part if mismatch else min(part, left)
        left -= min(usage[kind], left)
    usage[plain] = total if mismatch else left
    return usage, mismatch


def _count(raw: JsonObject, key: str) -> int:
    count = count_of(raw.get(key))
    if count is None:
        raise BadUsage(key)
    return count


def _optional(raw: JsonObject, key: str) -> int:
    """A count that may be absent or null (vLLM writes null)."""
    return 0 if raw.get(key) is None else _count(raw, key)
