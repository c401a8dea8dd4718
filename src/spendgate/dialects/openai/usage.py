"""Usage as OpenAI's chat API reports it, and the many that copy its shape.

`prompt_tokens` includes cached, cache-written, audio and image tokens; `completion_tokens` includes
reasoning, audio, and predictions accepted or rejected. `total_tokens` is the check sum: it held in all 1,410
recorded answers of six providers, and tells those apart that count reasoning outside. Cached and written tokens stand
under many names (`_CACHED`, `_WRITTEN`): proxies write several of them, some with zeros, so the largest counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from spendgate.dialects.base import Reading
from spendgate.dialects.openai.model_traits import traits_of
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, TIER_CHARACTERS_MAX, short
from spendgate.dialects.response import header_usage, told_cost
from spendgate.dialects.response.counts import BadUsage, believable, optional, required, seconds_of, tidy
from spendgate.dialects.response.told_cost import told_nanousd
from spendgate.dialects.wire import traits
from spendgate.dialects.wire.json_read import JsonObject, count_of, list_of, object_of
from spendgate.dialects.wire.traits import UsageFields
from spendgate.usage import COUNT_MAX, Usage

_CACHED = frozenset(
    {"cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens", "cache_read_input_tokens"}
)
"""Names of tokens read from a cache (OpenAI, DeepSeek, vLLM, LiteLLM, Databricks), among the details or beside them."""
_WRITTEN = frozenset({"cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"})
"""Names of tokens written into one: OpenAI, LiteLLM, DashScope."""
_LIFETIMES = frozenset({"cache_creation_token_details", "cache_creation"})
"""Where the written ones are split by how long they are kept, by Anthropic's names."""
_INSIDE, _MADE = "usage.prompt_tokens_details", "usage.completion_tokens_details"


def _beside_or_inside(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for name in sorted(names) for place in (_INSIDE, "usage"))


FIELDS: UsageFields = MappingProxyType(
    {
        traits.MODEL: ("model",),
        "input": ("usage.prompt_tokens", "x_groq.usage.prompt_tokens", "choices[].usage.prompt_tokens"),
        "cached_input": (*_beside_or_inside(_CACHED), f"header {header_usage.CACHED}"),
        "cache_write_5m": _beside_or_inside(_WRITTEN),
        "cache_write_1h": _beside_or_inside(f"{name}.ephemeral_1h_input_tokens" for name in _LIFETIMES),
        "input_audio": (f"{_INSIDE}.audio_tokens",),
        "input_image": (f"{_INSIDE}.image_tokens",),
        "input_video": (f"{_INSIDE}.video_tokens",),
        "cached_input_audio": (f"{_INSIDE}.cached_tokens_details.audio_tokens",),
        "cached_input_image": (f"{_INSIDE}.cached_tokens_details.image_tokens",),
        "seconds": ("usage.prompt_audio_seconds",),
        "output": (
            "usage.completion_tokens",
            "x_groq.usage.completion_tokens",
            "choices[].usage.completion_tokens",
        ),
        "tool_input": ("usage.citation_tokens",),
        "reasoning": (f"{_MADE}.reasoning_tokens", "usage.reasoning_tokens"),
        "output_audio": (f"{_MADE}.audio_tokens",),
        "output_image": (f"{_MADE}.image_tokens",),
        "searches": (
            "usage.num_search_queries",
            "usage.server_tool_use.web_search_requests",
            "usage.num_sources_used",
        ),
        traits.TOTAL: ("usage.total_tokens",),
        traits.PARTS: ("usage_breakdown.models[]", "x_groq.usage_breakdown.models[]"),
        traits.TIER: ("service_tier",),
        traits.TOLD: told_cost.FIELDS,
    }
)
"""Where an answer of the chat API, or of one that copies it, tells what was used."""
TOTAL_FIELDS: UsageFields = MappingProxyType(
    {
        "input": ("usage.prompt_tokens", "usage.total_tokens"),
        traits.MODEL: ("model",),
        traits.TOLD: told_cost.FIELDS,
    }
)
"""The same of an API without output."""


def read(document: JsonObject, raw: object) -> Reading:
    """Read a usage object of an answer or chunk `document`. Never raises."""
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    tier = short(document.get("service_tier"), TIER_CHARACTERS_MAX)
    if raw is None:
        raw = of_choices(document.get("choices")) or object_of(document.get("x_groq")).get("usage")
    if raw is not None and not isinstance(raw, dict):
        return Reading({}, model, "bad_usage", service_tier=tier)
    if raw is not None and not ("prompt_tokens" in raw or "completion_tokens" in raw):
        told, raw = told_nanousd(raw), _in_chats_words(raw)
        if raw is None and told is not None:
            return Reading({"requests": 1}, model, service_tier=tier, told_nanousd=told)
    if raw is None:
        return Reading({}, model, "no_usage", service_tier=tier)
    try:
        reading = _read_plain(raw, model, tier) or _read_any(raw, model, tier)
    except BadUsage:
        return Reading({}, model, "bad_usage", service_tier=tier)
    return _broken_down(document, reading)


def _read_any(raw: JsonObject, model: str, tier: str) -> Reading:
    """What a usage object of the chat API tells, and of those that copy it. Raises BadUsage."""
    usage, mismatch = _kinds(raw)
    usage["searches"] = _searches_told(raw) or int(traits_of(model).searches)
    usage["requests"] = 1
    return Reading(tidy(usage), model, mismatch=mismatch, service_tier=tier, told_nanousd=told_nanousd(raw))


_PLAIN = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)


def _read_plain(raw: JsonObject, model: str, tier: str) -> Reading | None:
    """The same by a short way, of a usage that says no more than how much went in and came out, as most do. None where
    it may say more."""
    prompt, completion, total = map(raw.get, ("prompt_tokens", "completion_tokens", "total_tokens"))
    if not (type(prompt) is type(completion) is type(total) is int and _PLAIN.issuperset(raw)):
        return None
    if not (prompt > 0 < completion and prompt + completion == total <= COUNT_MAX):
        return None
    for details in (raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")):
        if details is None:
            continue
        if type(details) is not dict:
            return None
        for told in details.values():
            if told is not None and (type(told) is not int or told):
                return None
    if traits_of(model).searches:
        return None
    return Reading({"input": prompt, "output": completion, "requests": 1}, model, service_tier=tier)


def joined(readings: list[Reading]) -> Reading:
    """The reading of several answers in one: each is a part. One that cannot be charged is the problem of all."""
    problem = next((r.problem for r in readings if r.problem is not None), None if readings else "no_usage")
    if problem is not None:
        return Reading({}, problem=problem)
    whole: Usage = {}
    for reading in readings:
        for kind, n in reading.usage.items():
            whole[kind] = whole.get(kind, 0) + n
    told = [r.told_nanousd for r in readings if r.told_nanousd is not None]
    tiers = {r.service_tier for r in readings}
    return Reading(
        whole,
        mismatch=any(r.mismatch for r in readings),
        parts=tuple(part for r in readings for part in r.parts or ((r.model, r.usage),)),
        service_tier=tiers.pop() if len(tiers) == 1 else "",
        told_nanousd=sum(told) if len(told) == len(readings) else None,
    )


def _searches_told(raw: JsonObject) -> int:
    """Searches as Perplexity, Anthropic's copies, or xAI (the sources of its live search) tell them."""
    served = object_of(raw.get("server_tool_use"))
    return (
        optional(raw, "num_search_queries")
        or optional(served, "web_search_requests")
        or optional(raw, "num_sources_used")
    )


def _in_chats_words(raw: JsonObject) -> JsonObject | None:
    """A usage in the words of Responses or of Anthropic (whose input leaves out the cache), as some proxies pass it on;
    None where it is in neither."""
    if not ("input_tokens" in raw or "output_tokens" in raw):
        return None
    chat = {RESPONSES_WORDS.get(key, key): value for key, value in raw.items()}
    try:
        beside = optional(raw, "cache_read_input_tokens") + optional(raw, "cache_creation_input_tokens")
        if beside:
            chat["prompt_tokens"] = beside + (required(raw, "input_tokens") if "input_tokens" in raw else 0)
            chat["total_tokens"] = None
    except BadUsage:
        chat["prompt_tokens"] = None
    return chat


RESPONSES_WORDS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}
"""What Responses calls the parts of a usage → what the chat API calls them."""


def _broken_down(document: JsonObject, reading: Reading) -> Reading:
    """The reading with its parts, where the answer says which models a system asked (Groq's compound systems). What
    they do not add up to stays the system's own."""
    found = document.get("usage_breakdown") or object_of(document.get("x_groq")).get("usage_breakdown")
    if not found:
        return reading
    models = object_of(found).get("models")
    parts: list[tuple[str, Usage]] = []
    for each in list_of(models):
        raw, name = object_of(each).get("usage"), short(object_of(each).get("model"), MODEL_CHARACTERS_MAX)
        if not isinstance(raw, dict) or not name:
            return reading
        try:
            usage, _ = _kinds(raw)
        except BadUsage:
            return reading
        parts.append((name, {kind: n for kind, n in usage.items() if n}))
    if not parts:
        return reading
    whole: Usage = {}
    for _, usage in parts:
        for kind, n in usage.items():
            whole[kind] = whole.get(kind, 0) + n
    rest = {
        k: n - whole.get(k, 0) for k, n in reading.usage.items() if k != "requests" and n > whole.get(k, 0)
    }
    if searches := _searched(document):
        rest["searches"] = max(searches, rest.get("searches", 0))
    if rest:
        parts.append((reading.model, rest))
    for kind, n in rest.items():
        whole[kind] = whole.get(kind, 0) + n
    return replace(reading, usage={**whole, "requests": 1}, parts=tuple(parts))


def _searched(document: JsonObject) -> int:
    """The web searches among the tools that a system ran."""
    choices = document.get("choices")
    messages = [object_of(c).get("message") for c in list_of(choices)]
    ran = [t for m in messages for t in list_of(object_of(m).get("executed_tools"))]
    return sum(str(object_of(tool).get("type")) in ("search", "web_search") for tool in ran)


def read_total(document: JsonObject) -> Reading:
    """Read the usage of an API without output, some of whose copies tell the total alone. Never raises."""
    raw = document.get("usage")
    if isinstance(raw, dict) and "prompt_tokens" not in raw and raw.get("total_tokens") is not None:
        raw = {**raw, "prompt_tokens": raw["total_tokens"]}
    return read(document, raw)


def _kinds(raw: JsonObject) -> tuple[Usage, bool]:
    """Split both sides into disjoint kinds; True where the provider's numbers contradict each other."""
    prompt = required(raw, "prompt_tokens") if "prompt_tokens" in raw else 0
    completion = required(raw, "completion_tokens") if "completion_tokens" in raw else 0
    total = optional(raw, "total_tokens") or prompt + completion
    inside = object_of(raw.get("prompt_tokens_details"))
    (short_writes, long_writes), from_cache = _writes(inside, raw), _cached_media(inside)
    cached_media = sum(from_cache.values()) if from_cache else 0
    cached = max(_largest(inside, raw, _CACHED), cached_media)
    cache = cached + short_writes + long_writes
    seconds = seconds_of(raw["prompt_audio_seconds"]) if raw.get("prompt_audio_seconds") is not None else 0
    heard = total - prompt - completion if seconds else 0
    if heard > 0:  # Mistral's sound is billed by its seconds, and its tokens stand in the total alone
        total -= heard
        inside = {k: v for k, v in inside.items() if k != "audio_tokens"}
    made = object_of(raw.get("completion_tokens_details"))
    reasoning = optional(made, "reasoning_tokens")
    if not made and raw.get("reasoning_tokens") is not None:
        reasoning = optional(raw, "reasoning_tokens")
        if "citation_tokens" in raw or reasoning > completion:
            total += (
                reasoning  # Perplexity's deep research tells it beside what it made, and beside the total
            )
    if 0 < cache == total - prompt - completion and reasoning <= completion:
        prompt += cache  # a proxy that passes Anthropic's prompt on beside a total of its own
    elif prompt < cache and total == prompt + completion:
        prompt, total = _outside(raw, prompt, cache, total)
    # Where cached tokens are also audio or images, the dearer kind keeps them.
    usage, input_mismatch = _split(
        prompt,
        "input",
        {
            **_media(inside, from_cache),
            **from_cache,
            "cache_write_1h": long_writes,
            "cache_write_5m": short_writes,
            "cached_input": cached - cached_media,
        },
    )
    difference = total - prompt - completion
    if 0 < total == prompt + completion and reasoning > completion and raw.get("total_tokens"):
        reasoning = completion  # the check sum knows better
    outside = reasoning > 0 and difference == reasoning
    beyond = max(difference, 0)
    output, output_mismatch = _split(
        completion + beyond,
        "output",
        {
            "output_audio": optional(made, "audio_tokens") if made else 0,
            "output_image": optional(made, "image_tokens") if made else 0,
            "reasoning": reasoning,
        },
    )
    mismatch = input_mismatch or output_mismatch or (difference != 0 and not outside)
    usage |= output
    if seconds:
        usage["seconds"] = seconds
    if cited := optional(raw, "citation_tokens"):
        usage["tool_input"] = cited  # what Perplexity's searches brought in
    return believable(usage), mismatch


_MEDIA = (
    ("input_audio", "cached_input_audio", "audio_tokens"),
    ("input_image", "cached_input_image", "image_tokens"),
    ("input_video", "cached_input_video", "video_tokens"),
)
"""Kind, the same from a cache, and its word in the details."""
_NO_TOKENS: Usage = {}


def _media(inside: JsonObject, from_cache: Usage) -> Usage:
    """The parts of the input that are no text, and not from a cache."""
    if not inside:
        return _NO_TOKENS
    return {kind: max(optional(inside, word) - from_cache.get(c, 0), 0) for kind, c, word in _MEDIA}


def _cached_media(inside: JsonObject) -> Usage:
    """The parts of the cached tokens that are no text."""
    split = inside.get("cached_tokens_details")
    if not split or not isinstance(split, dict):
        return _NO_TOKENS
    return {kind: optional(split, word) for _, kind, word in _MEDIA}


def _largest(inside: JsonObject, raw: JsonObject, names: frozenset[str]) -> int:
    largest = 0
    for of in (inside, raw):
        if not names.isdisjoint(of):
            for name in names:
                largest = max(largest, optional(of, name))
    return largest


def _writes(inside: JsonObject, raw: JsonObject) -> tuple[int, int]:
    """Tokens written into a cache: (for minutes, for an hour)."""
    written, long = _largest(inside, raw, _WRITTEN), 0
    for of in (inside, raw):
        if _LIFETIMES.isdisjoint(of):
            continue
        for name in _LIFETIMES:
            split = object_of(of.get(name))
            long = max(long, optional(split, "ephemeral_1h_input_tokens"))
            written = max(written, long + optional(split, "ephemeral_5m_input_tokens"))
    return written - long, long


def _outside(raw: JsonObject, prompt: int, cache: int, total: int) -> tuple[int, int]:
    """Prompt and total where a proxy passes Anthropic's counts on under these names: the cache is beside the prompt.
    Only where it says so by Anthropic's own names; else the counts contradict each other."""
    if any(optional(raw, name) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")):
        return prompt + cache, total + cache
    return prompt, total


def of_choices(choices: object) -> JsonObject | None:
    """The usage that stands in the choices (Moonshot's streams): the prompt once, the completions of all."""
    if not isinstance(choices, list):
        return None
    found = [of for c in choices if isinstance(c, dict) and isinstance(of := c.get("usage"), dict)]
    if len(found) < 2:
        return found[0] if found else None
    made = [count_of(of.get("completion_tokens")) or 0 for of in found]
    return {k: v for k, v in found[0].items() if k != "total_tokens"} | {"completion_tokens": sum(made)}


def _split(total: int, plain: str, parts: Usage) -> tuple[Usage, bool]:
    """Take the parts out of a total, in their order; what is left is plain. A part above the total
    contradicts it: then all parts are charged on top of what they cannot be inside of."""
    if max(parts.values()) > total:
        return {**parts, plain: total}, True
    usage: Usage = {}
    left = total
    for kind, part in parts.items():
        if part:
            usage[kind] = part = min(part, left)
            left -= part
    usage[plain] = left
    return usage, False
