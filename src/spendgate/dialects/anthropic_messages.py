"""Anthropic messages: `POST …/v1/messages`. Counting tokens is free, and batches are priced elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spendgate.dialects import anthropic_request, anthropic_usage, jsonbody
from spendgate.dialects.anthropic_stream import AnthropicStreamMeter
from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi


class AnthropicMessages(JsonApi):
    """The dialect `anthropic-messages`."""

    name = "anthropic-messages"
    path_regex = "/+v1/+messages"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return anthropic_request.read(body)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """See `anthropic_request.rewrite`. Streams always carry usage: `ask_usage` changes nothing."""
        return anthropic_request.rewrite(body, facts, model=model, output_cap=output_cap)

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return anthropic_usage.read_message(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> AnthropicStreamMeter:
        return AnthropicStreamMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        error = {
            "type": rejection.type,
            "message": rejection.message,
            "code": rejection.code,
            "details": rejection.details,
        }
        return jsonbody.dumps({"type": "error", "error": error}).encode()
