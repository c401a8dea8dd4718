"""Metering of streamed Bedrock Converse answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.dialects import bedrock_usage, eventstream, jsonbody
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import object_of
from spendgate.dialects.streamed import StreamedTokens
from spendgate.usage import Usage


class BedrockStreamMeter:
    """Meters one stream of messages. The last one, `metadata`, carries the usage; nothing is taken out."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._framer = eventstream.Framer()
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._failed = False
        self._unread = ""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        for message in self._framer.feed(piece):
            self._read(message)
        if self._framer.broken:
            self._unread = self._unread or "not_json"
        return None

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

    def _read(self, message: eventstream.Message) -> None:
        if message.headers.get(":message-type", "event") != "event":
            self._failed = True
            return
        try:
            payload = object_of(jsonbody.parse(message.payload))
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return
        match message.headers.get(":event-type"):
            case "contentBlockDelta":
                delta = object_of(payload.get("delta"))
                self._add(delta.get("text"))
                self._add(object_of(delta.get("toolUse")).get("input"))
                self._add(object_of(delta.get("reasoningContent")).get("text"))
            case "contentBlockStart":
                self._add(object_of(object_of(payload.get("start")).get("toolUse")).get("name"))
            case "metadata":
                self._reading = bedrock_usage.read(payload.get("usage"))

    def _add(self, text: Any) -> None:
        if text and isinstance(text, str):
            self._tokens.add(text)
