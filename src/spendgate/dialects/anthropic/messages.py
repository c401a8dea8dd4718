"""Anthropic messages: `POST …/v1/messages`. Counting tokens is free, and batches are priced elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.anthropic import request
from spendgate.dialects.anthropic import usage as anthropic_usage
from spendgate.dialects.anthropic.stream import AnthropicStreamMeter, MessageTerminator
from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.traits import UsageFields


class AnthropicMessages(JsonApi):
    """The dialect `anthropic-messages`."""

    name = "anthropic-messages"
    title = "Anthropic messages"
    provider = "anthropic"
    copied = True
    paths: tuple[str, ...] = ("/v1/messages",)
    path_marks: tuple[str, ...] = ("/v1/messages", "/v1/complete")
    usage_fields: UsageFields = anthropic_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType(
        {"message": "`message_start`", "": "`message_delta` over it"}
    )
    logged = True
    usage_closes = True
    not_metered: tuple[str, ...] = (
        "hours of code execution beyond the 1,550 that are free in a month (0.05 USD each)",
    )
    path_regex = "/+v1/+messages"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return request.read(body)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """See `anthropic.request.rewrite`. Streams always carry usage: `ask_usage` changes nothing."""
        return request.rewrite(body, facts, model=model, output_cap=output_cap)

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return anthropic_usage.read_message(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> AnthropicStreamMeter:
        return AnthropicStreamMeter(count=count)

    def stream_terminator(self) -> MessageTerminator | None:
        return MessageTerminator()

    def error_body(self, rejection: Rejection) -> bytes:
        error = {
            "type": rejection.type,
            "message": rejection.message,
            "code": rejection.code,
            "details": rejection.details,
        }
        return json_read.dumps({"type": "error", "error": error}).encode()
