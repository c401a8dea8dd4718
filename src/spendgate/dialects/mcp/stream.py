"""Metering of MCP's answers: messages of JSON-RPC, alone, in a batch, or as server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.usage import Usage

REFUSED = -32000
"""The first code that JSON-RPC leaves to servers; MCP's SDKs raise it as their own error, and our refusals have it."""
_UNKNOWN_ENDS = frozenset({REFUSED, -32001})
"""The codes by which MCP's SDKs say that a connection was lost, and that a wait ran out (`ConnectionClosed`,
`RequestTimeout`): whoever says it had sent the call on."""


class Answers:
    """What messages tell of the calls that they answer. Notifications and the server's own requests tell nothing."""

    def __init__(self) -> None:
        self._made = 0
        self._refused: set[str] = set()
        """Which requests were refused, by their ids: the same one twice is one."""

    def take(self, message: JsonObject) -> None:
        """Read one message."""
        if "method" in message:
            return
        error = message.get("error")
        if "result" not in message and _refuses(error):
            self._refused.add(repr(message.get("id")))
        elif "result" in message or error:
            self._made += 1

    @property
    def usage(self) -> Usage:
        """A request for each call that was made, or may have been."""
        return {"requests": self._made} if self._made else {}

    def reading(self, problem: str) -> Reading:
        """What is known; `problem` where nothing was made."""
        refused = len(self._refused)
        if self._made:
            return Reading(self.usage, refused=refused)
        return Reading({}, problem=problem, error=refused > 0, refused=refused)


def _refuses(error: object) -> bool:
    """Does an error say that the call was not made? One that cannot be read does not."""
    code = object_of(error).get("code")
    ours = code == REFUSED and "reason" in object_of(object_of(error).get("data"))
    return type(code) is int and (code not in _UNKNOWN_ENDS or ours)


def reading_of(messages: Iterable[Any]) -> Reading:
    """What the messages of a whole answer tell."""
    answers = Answers()
    for message in messages:
        if isinstance(message, dict):
            answers.take(message)
    return answers.reading("no_usage")


class McpStreamMeter(EventMeter):
    """The stream ends after the answers; progress and the server's own requests come before them."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._answers = Answers()

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
        self._answers.take(event)

    @property
    def complete(self) -> bool:
        return bool(self._answers.usage)

    @property
    def failed(self) -> bool:
        return self.result().error

    def result(self) -> Reading:
        return self._answers.reading(self._unread or "truncated")

    def partial(self) -> tuple[Usage, int]:
        return self._answers.usage, 0
