"""Usage as Ollama reports it, in a JSON answer or on the last line (`done: true`) of a stream.

`prompt_eval_count` is left out where the whole prompt was cached: then the input as counted is charged;
`eval_count` includes thinking.
"""

from __future__ import annotations

from spendgate.dialects.base import Reading
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, short
from spendgate.dialects.response.meters import ObjectMeter
from spendgate.dialects.wire.json_read import JsonObject, count_of, object_of
from spendgate.usage import KINDS


def read(document: object) -> Reading:
    """Read an answer, or the last line of one. Never raises."""
    if not isinstance(document, dict):
        return Reading({}, problem="no_usage")
    model = short(document.get("model"), MODEL_CHARACTERS_MAX)
    if document.get("eval_count") is None and document.get("prompt_eval_count") is None:
        return Reading({}, model, "no_usage")
    counts = [
        0 if document.get(k) is None else count_of(document[k]) for k in ("prompt_eval_count", "eval_count")
    ]
    if None in counts:
        return Reading({}, model, "bad_usage")
    usage = {"input": counts[0] or 0, "output": counts[1] or 0, "requests": 1}
    return Reading({kind: usage[kind] for kind in KINDS if usage.get(kind)}, model)


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
