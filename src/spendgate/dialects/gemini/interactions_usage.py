"""Usage as Gemini's interactions report it, in a JSON answer or in a stream's last event.

`total_input_tokens` includes cached tokens and leaves out what tools read; `total_output_tokens` leaves out
thoughts; `total_tokens` is the sum (it held in all 18 recorded answers).
"""

from __future__ import annotations

from types import MappingProxyType

from spendgate.dialects.base import Reading
from spendgate.dialects.gemini import usage as gemini_usage
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, TIER_CHARACTERS_MAX, short
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import traits
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.dialects.wire.traits import UsageFields

_COUNTS = {
    "total_input_tokens": "promptTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_tokens": "totalTokenCount",
}
_LISTS = {
    "input_tokens_by_modality": "promptTokensDetails",
    "cached_tokens_by_modality": "cacheTokensDetails",
    "output_tokens_by_modality": "candidatesTokensDetails",
}
_ENDS = ("interaction.completed", "interaction.complete")
_SEARCH_STEPS = ("google_search_call", "google_maps_call")


FIELDS: UsageFields = MappingProxyType(
    {
        traits.MODEL: ("model", "agent"),
        "input": ("usage.total_input_tokens",),
        "cached_input": ("usage.total_cached_tokens",),
        "input_audio": ("usage.input_tokens_by_modality[modality=audio].tokens",),
        "input_image": ("usage.input_tokens_by_modality[modality=image].tokens",),
        "input_video": ("usage.input_tokens_by_modality[modality=video].tokens",),
        "tool_input": ("usage.total_tool_use_tokens",),
        "output": ("usage.total_output_tokens",),
        "reasoning": ("usage.total_thought_tokens",),
        "output_image": ("usage.output_tokens_by_modality[modality=image].tokens",),
        "output_audio": ("usage.output_tokens_by_modality[modality=audio].tokens",),
        "searches": ("steps[type=google_search_call].arguments.queries[]",),
        traits.TOTAL: ("usage.total_tokens",),
        traits.TIER: ("service_tier",),
    }
)
"""Where an answer tells what was used."""


def read(document: object) -> Reading:
    """Read an interaction. Never raises."""
    if not isinstance(document, dict):
        return Reading({}, problem="no_usage")
    model = short(document.get("model") or document.get("agent"), MODEL_CHARACTERS_MAX)
    raw = document.get("usage")
    if isinstance(raw, dict):
        raw = _renamed(raw)
    elif raw is None and document.get("status") == "in_progress":
        return Reading({}, model, "deferred")
    reading = gemini_usage.read(model, raw, {"searches": _searches(document, model)})
    tier = short(document.get("service_tier"), TIER_CHARACTERS_MAX)
    return Reading(reading.usage, model, reading.problem, reading.mismatch, service_tier=tier)


def _renamed(raw: JsonObject) -> JsonObject:
    """The counts under `generateContent`'s names, whose rules are the same."""
    known = {new: raw[old] for old, new in _COUNTS.items() if old in raw}
    for old, new in _LISTS.items():
        details = raw.get(old)
        known[new] = [
            {"modality": str(d.get("modality")).upper(), "tokenCount": d.get("tokens")}
            for d in list_of(details)
            if isinstance(d, dict)
        ]
    return known


def _searches(document: JsonObject, model: str) -> int:
    """The searches billed: from Gemini 3 on each query, before that the grounded prompt."""
    queries = 0
    for key in ("steps", "outputs"):
        steps = document.get(key)
        for step in list_of(steps):
            if isinstance(step, dict) and step.get("type") in _SEARCH_STEPS:
                asked = object_of(step.get("arguments")).get("queries")
                queries += len(asked) if isinstance(asked, list) else 1
    return min(queries, 1) if model.startswith(("gemini-1", "gemini-2")) else queries


class InteractionsStreamMeter(EventMeter):
    """The last event holds the interaction with its usage."""

    def take(self, event: JsonObject, name: bytes) -> None:
        interaction = object_of(event.get("interaction"))
        self._model = short(interaction.get("model"), MODEL_CHARACTERS_MAX) or self._model
        kind = event.get("event_type") or name.decode("ascii", "replace")
        if kind in _ENDS:
            self._reading = read({"model": self._model, **interaction})
        elif kind == "error" or event.get("error"):
            self._failed = True
        else:
            delta = object_of(event.get("delta"))
            if str(delta.get("type", "")).startswith("thought"):
                self._hidden = True
            text = delta.get("text")
            if text and isinstance(text, str):
                self._add(text)
            elif delta.get("type") in ("function_call", "arguments_delta"):
                self._add_json(delta)
