"""Metering of streamed Bedrock model invocations: binary messages that hold the vendor's chunks in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from spendgate.dialects import anthropic_usage, bedrock_invoke_usage, bedrock_usage, eventstream, jsonbody
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import JsonObject, object_of
from spendgate.dialects.streamed import StreamedTokens
from spendgate.usage import Usage

_TEXT_KEYS = (
    "outputText",
    "generation",
    "text",
    "completion",
    "thinking",
    "partial_json",
    "content",
    "reasoning",
)


class BedrockInvokeStreamMeter:
    """Meters one stream of messages. The last chunk carries Bedrock's own metrics; nothing is taken out."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._framer = eventstream.Framer()
        self._tokens = StreamedTokens(count)
        self._own = Reading({}, problem="no_usage")
        self._anthropic: JsonObject = {}
        self._metrics: Reading | None = None
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
        return self._metrics is not None

    @property
    def failed(self) -> bool:
        return self._failed

    def result(self) -> Reading:
        own = anthropic_usage.read("", self._anthropic) if self._anthropic else self._own
        if self._metrics is None:
            return Reading(own.usage, "", self._unread or "truncated", own.mismatch)
        return bedrock_invoke_usage.reconcile(own, self._metrics)

    def partial(self) -> tuple[Usage, int]:
        return dict(self.result().usage), self._tokens.total

    def _read(self, message: eventstream.Message) -> None:
        if message.headers.get(":message-type", "event") != "event":
            self._failed = True
            return
        try:
            outer = object_of(jsonbody.parse(message.payload))
            inner = outer.get("bytes")
            chunk = jsonbody.parse(base64.b64decode(inner)) if isinstance(inner, str) else outer
        except (jsonbody.NotJson, binascii.Error):
            self._unread = self._unread or "not_json"
            return
        if isinstance(chunk, dict):
            self._read_chunk(chunk)

    def _read_chunk(self, chunk: JsonObject) -> None:
        match chunk.get("type"):
            case "message_start":
                anthropic_usage.merge(self._anthropic, object_of(chunk.get("message")).get("usage"))
            case "message_delta":
                anthropic_usage.merge(self._anthropic, chunk.get("usage"))
            case "error":
                self._failed = True
            case _:
                self._read_vendor(chunk)
        if bedrock_invoke_usage.METRICS in chunk:
            self._metrics = bedrock_invoke_usage.metrics(chunk)
        self._add_texts(chunk)

    def _read_vendor(self, chunk: JsonObject) -> None:
        """The usage of a vendor that tells one whole (Nova, OpenAI); others tell it in parts, as the metrics
        do once more."""
        nova = object_of(chunk.get("metadata")).get("usage")
        if nova is not None:
            self._own = bedrock_usage.read(nova)
        elif chunk.get("usage") is not None:
            self._own = bedrock_invoke_usage.vendor(chunk)

    def _add_texts(self, chunk: JsonObject) -> None:
        """The text of a chunk, whichever vendor's: at the top, in `delta`, in Nova's or OpenAI's places."""
        holders = [chunk, object_of(chunk.get("delta"))]
        holders.append(object_of(object_of(chunk.get("contentBlockDelta")).get("delta")))
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            holders.append(object_of(object_of(choice).get("delta")))
        for holder in holders:
            for key in _TEXT_KEYS:
                self._add(holder.get(key))

    def _add(self, text: Any) -> None:
        if text and isinstance(text, str):
            self._tokens.add(text)
