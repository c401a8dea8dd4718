"""Usage as Ollama reports it, in a JSON answer or on the last line (`done: true`) of a stream.

`prompt_eval_count` is left out where the whole prompt was cached: then the input as counted is charged;
`eval_count` includes thinking.
"""

from __future__ import annotations

from types import MappingProxyType

from spendgate.dialects.base import Reading
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, short
from spendgate.dialects.response.counts import BadUsage, optional, tidy
from spendgate.dialects.response.meters import ObjectMeter
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.dialects.wire.traits import MODEL, UsageFields

FIELDS: UsageFields = MappingProxyType(
    {MODEL: ("model",), "input": ("prompt_eval_count",), "output": ("eval_count",)}
)
"""Where an answer tells what was used."""


def read(document: object) -> Reading:
    """Read an answer, or the last line of one. Never raises."""
    if not isinstance(document, dict):
        return Reading({}, problem="no_usage")
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    if document.get("eval_count") is None and document.get("prompt_eval_count") is None:
        return Reading({}, model, "no_usage")
    try:
        usage = {"input": optional(document, "prompt_eval_count"), "output": optional(document, "eval_count")}
    except BadUsage:
        return Reading({}, model, "bad_usage")
    return Reading(tidy(usage | {"requests": 1}), model)


class OllamaStreamMeter(ObjectMeter):
    """The last line says `done` and carries the usage."""

    def take(self, event: JsonObject) -> None:
        self._model = short(event.get("model"), MODEL_CHARACTERS_MAX) or self._model
        if event.get("error"):
            self._failed = True
        message = object_of(event.get("message"))
        for text in (
            event.get("response"),
            event.get("thinking"),
            message.get("content"),
            message.get("thinking"),
        ):
            self._add(text)
        if event.get("thinking") or message.get("thinking"):
            self._hidden = True
        if calls := message.get("tool_calls"):
            self._add_json(calls)
        if event.get("done") is True:
            self._reading = read(event)
