"""Metering of streamed MCP answers: messages of JSON-RPC as server-sent events, of which the answer is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.json_read import JsonObject


def reading_of(messages: Iterable[Any]) -> Reading:
    """What messages tell: one request for each result. Notifications and the server's own requests tell nothing."""
    results = errors = 0
    for message in messages:
        if isinstance(message, dict) and "method" not in message:
            results += "result" in message
            errors += bool(message.get("error"))
    if results:
        return Reading({"requests": results})
    return Reading({}, problem="no_usage", error=errors > 0)


class McpStreamMeter(EventMeter):
    """The stream ends after the answer; progress and the server's own requests come before it."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._results = 0

    def read(self, data: bytes, name: bytes) -> bool:
        """Read one event: a message, or a batch of them. False: the client sees them all."""
        try:
            value = json_read.parse(data)
        except json_read.NotJson:
            self._garbled()
            return False
        for message in value if isinstance(value, list) else [value]:
            if isinstance(message, dict):
                self.take(message, name)
        return False

    def take(self, event: JsonObject, name: bytes) -> None:
        told = reading_of([event])
        if told.usage:
            self._results += 1
            self._reading, self._failed = Reading({"requests": self._results}), False
        elif told.error:
            self._failed = not self._results
