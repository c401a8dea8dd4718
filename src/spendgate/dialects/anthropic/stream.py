"""Metering of streamed Anthropic messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from spendgate.dialects.anthropic import usage as anthropic_usage
from spendgate.dialects.base import Reading
from spendgate.dialects.response.growing import believed
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire.json_read import object_of
from spendgate.usage import Usage

_TEXT_KEYS = ("text", "thinking", "partial_json")


class AnthropicStreamMeter(EventMeter):
    """Meters one stream of events.

    `message_start` carries the input side and a placeholder of the output; `message_delta` the cumulative
    rest, laid over it field by field.
    """

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._usage: jsonbody.JsonObject = {}
        self._broken = False
        self._final = False
        self._has_content = False
        self._stop_reason: object = None
        self._stopped = False

    @property
    def complete(self) -> bool:
        return self._final or self._stopped

    def result(self) -> Reading:
        if self._broken:
            return Reading({}, self._model, "bad_usage")
        if not self._usage:
            problem = self._unread or ("no_usage" if self.complete else "truncated")
            return Reading({}, self._model, problem)
        if self._final and anthropic_usage.is_unbilled_refusal(
            self._stop_reason, self._usage, has_content=self._has_content
        ):
            return anthropic_usage.unbilled(self._model)
        reading = believed(anthropic_usage.read(self._model, self._usage), self._tokens)
        if reading.problem is None and not self._final:
            return replace(reading, problem="truncated")
        return reading

    def partial(self) -> tuple[Usage, int]:
        """The usage's output is the larger of what was reported (at first a placeholder) and counted."""
        streamed = self._tokens.total
        usage = dict(anthropic_usage.read(self._model, self._usage).usage)
        reported = usage.get("output", 0) + usage.get("reasoning", 0)
        if usage and streamed > reported:
            usage["output"] = usage.get("output", 0) + streamed - reported
        return usage, streamed

    def take(self, event: jsonbody.JsonObject, name: bytes) -> None:
        match event.get("type"):
            case "content_block_delta":
                self._has_content = True
                delta = object_of(event.get("delta"))
                for key in _TEXT_KEYS:
                    self._add(delta.get(key))
            case "content_block_start":
                self._has_content = True
                kind = object_of(event.get("content_block")).get("type")
                # server_tool_use: a tool that the provider runs, whose results are billed as input
                if kind in ("thinking", "redacted_thinking", "server_tool_use"):
                    self._hidden = True
            case "message_start":
                message = object_of(event.get("message"))
                if isinstance(model := message.get("model"), str):
                    self._model = jsonbody.clean(model[:256])
                self._merge(message.get("usage"))
            case "message_delta":
                self._stop_reason = object_of(event.get("delta")).get("stop_reason")
                if event.get("usage") is not None:
                    self._merge(event["usage"])
                    self._final = True
            case "message_stop":
                self._stopped = True
            case "error":
                self._failed = True
            case _:
                if name == b"error" or event.get("error"):
                    self._failed = True

    def _merge(self, usage: object) -> None:
        if usage is not None and not isinstance(usage, dict):
            self._broken = True
        anthropic_usage.merge(self._usage, usage)


_BLOCK = re.compile(rb'"type"\s*:\s*"content_block_start"\s*,\s*"index"\s*:\s*(\d{1,4})')
_TAIL_BYTES = 80


class MessageTerminator:
    """Ends a stream of messages as `max_tokens` does, which an application knows how to read."""

    def __init__(self) -> None:
        self._block = 0
        self._tail = b""

    def see(self, piece: bytes) -> None:
        """Note the content block that is open."""
        seen = self._tail + piece
        for match in _BLOCK.finditer(seen):
            self._block = int(match[1])
        self._tail = seen[-_TAIL_BYTES:]

    def end(self, model: str, output_tokens: int) -> bytes:
        events: list[tuple[str, dict[str, object]]] = [
            ("content_block_stop", {"type": "content_block_stop", "index": self._block}),
            (
                "message_delta",
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
                    "usage": {"output_tokens": output_tokens},
                },
            ),
            ("message_stop", {"type": "message_stop"}),
        ]
        return b"".join(f"event: {name}\ndata: {jsonbody.dumps(data)}\n\n".encode() for name, data in events)
