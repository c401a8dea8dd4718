"""Metering of streamed OpenAI Responses."""

from __future__ import annotations

from spendgate.dialects.openai import responses_usage
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, short
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire.json_read import JsonObject, object_of

_ENDS = ("response.completed", "response.done", "response.incomplete", "response.failed")
_SOUND = "response.audio.delta"


class ResponsesStreamMeter(EventMeter):
    """The last event holds the whole response with its usage."""

    def take(self, event: JsonObject, name: bytes) -> None:
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = ""
        if kind.startswith("response.reasoning") or (
            kind == "response.output_item.added"
            and object_of(event.get("item")).get("type") not in ("message", "function_call")
        ):
            self._hidden = True  # it thinks, or a tool of the provider's runs
        if kind.endswith(".delta"):
            if kind != _SOUND:
                self._add(event.get("delta"))
        elif kind in _ENDS:
            response = object_of(event.get("response"))
            if response.get("usage") is None and event.get("usage") is not None:
                response = {**response, "usage": event["usage"]}
            self._end(response, failed=kind == "response.failed")
        elif kind == "error" or name == b"error" or event.get("error"):
            self._failed = True
        elif model := short(object_of(event.get("response")).get("model"), MODEL_CHARACTERS_MAX):
            self._model = model

    def _end(self, response: jsonbody.JsonObject, failed: bool) -> None:
        self._reading = responses_usage.read(response)
        # A failure that was billed says so in its usage; one without is billed by what flowed.
        self._failed = self._failed or (failed and self._reading.problem is not None)
