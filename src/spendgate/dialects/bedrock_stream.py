"""Metering of streamed Bedrock Converse answers."""

from __future__ import annotations

from spendgate.dialects import bedrock_usage
from spendgate.dialects.event_meter import MessageMeter
from spendgate.dialects.jsonbody import JsonObject, object_of


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
                self._reading = bedrock_usage.read_document(event)
