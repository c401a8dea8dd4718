"""Usage as Gemini and Vertex AI report it (`usageMetadata`).

`promptTokenCount` includes cached tokens, and leaves out what tools read (`toolUsePromptTokenCount`);
`candidatesTokenCount` leaves out thoughts. `totalTokenCount` is the sum of all four (it held in all 427
recorded answers). The lists by modality may leave out text.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, TIER_CHARACTERS_MAX, short
from spendgate.dialects.response import growing
from spendgate.dialects.response.counts import BadUsage, believable, optional, tidy
from spendgate.dialects.wire import traits
from spendgate.dialects.wire.json_read import JsonObject, count_of, list_of, object_of
from spendgate.dialects.wire.traits import UsageFields
from spendgate.usage import Usage


def _by_modality(details: str, kind: str) -> dict[str, tuple[str, ...]]:
    return {
        f"{kind}_{m.lower()}": (f"usageMetadata.{details}[modality={m}].tokenCount",)
        for m in ("AUDIO", "IMAGE", "VIDEO")
    }


FIELDS: UsageFields = MappingProxyType(
    {
        traits.MODEL: ("modelVersion",),
        "input": ("usageMetadata.promptTokenCount",),
        "cached_input": ("usageMetadata.cachedContentTokenCount",),
        **_by_modality("promptTokensDetails", "input"),
        **_by_modality("cacheTokensDetails", "cached_input"),
        "tool_input": ("usageMetadata.toolUsePromptTokenCount",),
        "output": ("usageMetadata.candidatesTokenCount",),
        "reasoning": ("usageMetadata.thoughtsTokenCount",),
        "output_audio": ("usageMetadata.candidatesTokensDetails[modality=AUDIO].tokenCount",),
        "output_image": ("usageMetadata.candidatesTokensDetails[modality=IMAGE].tokenCount",),
        "searches": ("candidates[].groundingMetadata.webSearchQueries[]",),
        "maps": ("candidates[].groundingMetadata.groundingChunks[].maps",),
        traits.TOTAL: ("usageMetadata.totalTokenCount",),
        traits.TIER: (
            "usageMetadata.serviceTier",
            "usageMetadata.trafficType",
            "header x-gemini-service-tier",
        ),
    }
)
"""Where an answer tells what was used."""


def read(model: str, raw: object, fees: Usage | None = None) -> Reading:
    """Read `usageMetadata`. Never raises."""
    if raw is not None and not isinstance(raw, dict):
        return Reading({}, model, "bad_usage")
    if raw is None or not ("promptTokenCount" in raw or "candidatesTokenCount" in raw):
        return Reading({}, model, "no_usage")
    tier = short(raw.get("serviceTier") or raw.get("trafficType"), TIER_CHARACTERS_MAX)
    try:
        usage, mismatch = _kinds(raw)
    except BadUsage:
        return Reading({}, model, "bad_usage", service_tier=tier)
    usage |= {**(fees or {}), "requests": 1}
    return Reading(tidy(usage), model, mismatch=mismatch, service_tier=tier)


def lay_over(known: JsonObject, update: JsonObject) -> None:
    """Lay a later chunk's usage over what was told before: counts only grow. But for the prompt's, which Gemini does
    correct by a token in its last chunks (recorded): where it is not zero and the chunk's total agrees, the later
    one counts."""
    prompt = count_of(update.get("promptTokenCount"))
    parts = [count_of(update.get(key) or 0) or 0 for key in _SUMMED]
    growing.lay_over(known, update)
    if prompt and sum(parts) == count_of(update.get("totalTokenCount")):
        known["promptTokenCount"] = prompt
        known["totalTokenCount"] = max(sum(count_of(known.get(key) or 0) or 0 for key in _SUMMED), sum(parts))


_SUMMED = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")


def model_of(document: JsonObject) -> str:
    """The model that answered."""
    return short(document.get("modelVersion"), MODEL_CHARACTERS_MAX)


def fees_of(document: JsonObject, model: str) -> Usage:
    """What grounding is billed for. Searches: from Gemini 3 on each query, repeated and empty ones left out, before
    that the grounded prompt. Maps: the grounded prompt, from Gemini 3 on each query (Gemini price list, "Grounding
    with Google Search", "Grounding with Google Maps")."""
    searches = maps = 0
    candidates = document.get("candidates")
    for candidate in list_of(candidates):
        grounding = object_of(object_of(candidate).get("groundingMetadata"))
        asked = grounding.get("webSearchQueries")
        queries = {q for q in asked if isinstance(q, str) and q.strip()} if isinstance(asked, list) else set()
        chunks = grounding.get("groundingChunks")
        sources = [object_of(c) for c in list_of(chunks)]
        mapped = bool(grounding.get("googleMapsWidgetContextToken")) or any("maps" in s for s in sources)
        if mapped:
            maps = max(maps, 1)
        if mapped and queries and not any("web" in s for s in sources):
            maps = max(maps, len(queries))  # the queries were those of Maps
        else:
            searches = max(searches, len(queries))
    if model.startswith(("gemini-1", "gemini-2")):
        searches, maps = min(searches, 1), min(maps, 1)
    return {"searches": searches, "maps": maps}


def _kinds(raw: JsonObject) -> tuple[Usage, bool]:
    """Split into disjoint kinds; True where the provider's numbers contradict each other."""
    prompt, candidates = optional(raw, "promptTokenCount"), optional(raw, "candidatesTokenCount")
    thoughts, tools = optional(raw, "thoughtsTokenCount"), optional(raw, "toolUsePromptTokenCount")
    cached = optional(raw, "cachedContentTokenCount")
    total = optional(raw, "totalTokenCount") or prompt + candidates + thoughts + tools
    inside, cached_inside = _modalities(raw, "promptTokensDetails"), _modalities(raw, "cacheTokensDetails")
    made = _modalities(raw, "candidatesTokensDetails")
    inside_media = {kind: n for kind, n in inside.items() if kind in ("AUDIO", "IMAGE", "VIDEO")}
    from_cache = {
        f"cached_input_{kind.lower()}": min(cached_inside.get(kind, 0), inside.get(kind, 0), cached)
        for kind in ("AUDIO", "IMAGE", "VIDEO")
    }
    parts = {
        f"input_{kind.lower()}": inside.get(kind, 0) - from_cache[f"cached_input_{kind.lower()}"]
        for kind in ("AUDIO", "IMAGE", "VIDEO")
    }
    # What was cached and nobody says what it is: as much of it is text as can be, the least is saved by that
    untold = cached - sum(from_cache.values()) - max(prompt - sum(inside_media.values()), 0)
    for kind in ("VIDEO", "IMAGE", "AUDIO"):
        moved = min(max(untold, 0), parts[f"input_{kind.lower()}"])
        parts[f"input_{kind.lower()}"] -= moved
        from_cache[f"cached_input_{kind.lower()}"] += moved
        untold -= moved
    parts |= from_cache | {"cached_input": max(cached - sum(from_cache.values()), 0)}
    usage, input_mismatch = _split(prompt, "input", parts)
    difference = total - prompt - candidates - thoughts - tools
    output, output_mismatch = _split(
        candidates + max(difference, 0),
        "output",
        {"output_audio": made.get("AUDIO", 0), "output_image": made.get("IMAGE", 0)},
    )
    usage |= output | {"reasoning": thoughts, "tool_input": tools}
    return believable(usage), input_mismatch or output_mismatch or difference != 0


def _split(total: int, plain: str, parts: Usage) -> tuple[Usage, bool]:
    """Take the parts out of a total. Parts that add up to more contradict it: then they are charged on top."""
    left = total - sum(parts.values())
    if left < 0:
        return parts | {plain: total}, True
    return parts | {plain: left}, False


def _modalities(raw: JsonObject, key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    details: Any = raw.get(key)
    for detail in list_of(details):
        if isinstance(detail, dict):
            kind = short(detail.get("modality"), 20)
            found[kind] = found.get(kind, 0) + optional(detail, "tokenCount")
    return found
