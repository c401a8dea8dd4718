"""Metering of streamed Bedrock Converse answers."""

from __future__ import annotations

from spendgate.dialects.bedrock import converse_usage
from spendgate.dialects.response.meters import MessageMeter
from spendgate.dialects.wire.json_read import JsonObject, object_of


class BedrockStreamMeter(MessageMeter):
    """The last message, `metadata`, carries the usage."""

    def take(self, event: JsonObject, kind: str) -> None:
        match kind:
            case "contentBlockDelta":
                delta = object_of(event.get("delta"))
                self._add(delta.get("text"))
                self._add(object_of(delta.get("toolUse")).get("input"))
                self._add(object_of(delta.get("reasoningContent")).get("text"))
                if delta.get("reasoningContent"):
                    self._hidden = True
            case "contentBlockStart":
                self._add(object_of(object_of(event.get("start")).get("toolUse")).get("name"))
            case "messageStop":
                self._hidden = True  # the usage is still to come
            case "metadata":
                self._reading = converse_usage.read_document(event)
