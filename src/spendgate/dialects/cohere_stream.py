"""Metering of streamed Cohere answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.dialects import cohere_usage, jsonbody
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import object_of
from spendgate.dialects.streamed import Passage, StreamedTokens
from spendgate.usage import Usage

_FAILURES = ("ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT")


class CohereStreamMeter:
    """Meters one stream of events. `message-end` carries the usage; nothing is ever taken out."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._passage = Passage(self, hide=False)
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._failed = False
        self._unread = ""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        return self._passage.feed(piece, end)

    @property
    def complete(self) -> bool:
        return self._reading is not None

    @property
    def failed(self) -> bool:
        return self._failed

    def result(self) -> Reading:
        return self._reading or Reading({}, problem=self._unread or "truncated")

    def partial(self) -> tuple[Usage, int]:
        return dict(self._reading.usage) if self._reading else {}, self._tokens.total

    def oversize(self) -> None:
        self._unread = "truncated"

    def read(self, data: bytes, name: bytes) -> bool:
        """Read one event. False: the client sees them all."""
        if data == b"[DONE]":
            return False
        try:
            event = jsonbody.parse(data)
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return False
        if not isinstance(event, dict):
            return False
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
        return False

    def _read_message(self, message: jsonbody.JsonObject) -> None:
        self._add(message.get("tool_plan"))
        content = object_of(message.get("content"))
        self._add(content.get("text"))
        self._add(content.get("thinking"))
        function = object_of(object_of(message.get("tool_calls")).get("function"))
        self._add(function.get("name"))
        self._add(function.get("arguments"))

    def _add(self, text: Any) -> None:
        if text and isinstance(text, str):
            self._tokens.add(text)
