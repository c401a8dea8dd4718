"""Metering of streamed Cohere answers."""

from __future__ import annotations

from spendgate.dialects.cohere import usage as cohere_usage
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire.json_read import JsonObject, object_of

_FAILURES = ("ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT")


class CohereStreamMeter(EventMeter):
    """`message-end` carries the usage."""

    def take(self, event: JsonObject, name: bytes) -> None:
        delta = object_of(event.get("delta"))
        if event.get("type") == "message-end":
            self._reading = cohere_usage.read(delta.get("usage"))
            # A failure that was billed says so in its usage; one without is billed by what flowed.
            failure = delta.get("finish_reason") in _FAILURES
            self._failed = self._failed or (failure and self._reading.problem is not None)
        elif name == b"error" or event.get("type") == "error":
            self._failed = True
        else:
            self._read_message(object_of(delta.get("message")))

    def _read_message(self, message: JsonObject) -> None:
        self._add(message.get("tool_plan"))
        content = object_of(message.get("content"))
        self._add(content.get("text"))
        if thought := content.get("thinking"):
            self._hidden = True
            self._add(thought)
        function = object_of(object_of(message.get("tool_calls")).get("function"))
        self._add(function.get("name"))
        self._add(function.get("arguments"))
