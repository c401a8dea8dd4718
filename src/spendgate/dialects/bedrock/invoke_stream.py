"""Metering of streamed Bedrock model invocations: binary messages that hold the vendor's chunks in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from spendgate.dialects.anthropic import usage as anthropic_usage
from spendgate.dialects.base import Reading
from spendgate.dialects.bedrock import converse_usage, invoke_usage
from spendgate.dialects.response.meters import MessageMeter
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
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


class BedrockInvokeStreamMeter(MessageMeter):
    """The last chunk carries Bedrock's own metrics, which are the reading; the vendor's usage stands beside them."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._own = Reading({}, problem="no_usage")
        self._anthropic: JsonObject = {}
        self._trace: JsonObject = {}

    def result(self) -> Reading:
        own = anthropic_usage.read("", self._anthropic) if self._anthropic else self._own
        if self._reading is None:
            return Reading(own.usage, "", self._unread or "truncated", own.mismatch)
        return invoke_usage.with_guardrails(invoke_usage.reconcile(own, self._reading), self._trace)

    def partial(self) -> tuple[Usage, int]:
        return dict(self.result().usage), self._tokens.total

    def take(self, event: JsonObject, kind: str) -> None:
        inner = event.get("bytes")
        if not isinstance(inner, str):
            self._read_chunk(event)
            return
        try:
            chunk = self._parsed(base64.b64decode(inner))
        except binascii.Error:
            self._garbled()
            return
        if chunk is not None:
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
        if invoke_usage.TRACE in chunk:
            self._trace = chunk
        if invoke_usage.METRICS in chunk:
            self._reading = invoke_usage.metrics(chunk)
        self._add_texts(chunk)

    def _read_vendor(self, chunk: JsonObject) -> None:
        """The usage of a vendor that tells one whole (Nova, OpenAI); others tell it in parts, as the metrics
        do once more."""
        nova = object_of(chunk.get("metadata")).get("usage")
        if nova is not None:
            self._own = converse_usage.read(nova)
        elif chunk.get("usage") is not None:
            self._own = invoke_usage.vendor(chunk)

    def _add_texts(self, chunk: JsonObject) -> None:
        """The text of a chunk, whichever vendor's: at the top, in `delta`, in Nova's or OpenAI's places."""
        holders = [chunk, object_of(chunk.get("delta"))]
        holders.append(object_of(object_of(chunk.get("contentBlockDelta")).get("delta")))
        choices = chunk.get("choices")
        for choice in list_of(choices):
            holders.append(object_of(object_of(choice).get("delta")))
        for holder in holders:
            for key in _TEXT_KEYS:
                self._add(holder.get(key))
                if key in ("thinking", "reasoning") and holder.get(key):
                    self._hidden = True
