"""Anthropic messages as the mock speaks them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, json_tokens, piece, text, text_tokens
from spendgate.mock.sse import Event, named

MESSAGE_TOKENS = 3
TOOL_PREAMBLE_TOKENS = 346
"""Anthropic's hidden system prompt for tool use (tool use guide, "Pricing")."""

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read(document: dict[str, Any]) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    model, cap = document.get("model"), document.get("max_tokens")
    if not isinstance(model, str) or not model:
        raise BadRequest("model: Field required")
    if type(cap) is not int or cap < 1:
        raise BadRequest("max_tokens: Field required, a whole number above 0")
    return Order(model, prompt_tokens(document), cap, document.get("stream") is True)


def prompt_tokens(document: dict[str, Any]) -> int:
    """Count the input, as `/v1/messages/count_tokens` reports it. Raises BadRequest."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("messages: Input should be a list of objects")
    tokens = text_tokens(document.get("system"))
    if document.get("tools"):
        tokens += TOOL_PREAMBLE_TOKENS + json_tokens(document["tools"])
    return tokens + sum(MESSAGE_TOKENS + text_tokens(m.get("content")) for m in messages)


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    document = {**_message(answer), "content": [{"type": "text", "text": text(answer.visible)}]}
    document["stop_reason"] = _stop(answer)
    reported = falsify({**_input(answer), **_output(answer)}, answer.usage)
    return document if reported is None else {**document, "usage": reported}


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream: usage of the input at the start, of the output (cumulative) before the end."""
    start: dict[str, Any] = {"type": "message_start", "message": {**_message(answer), "content": []}}
    first = falsify({**_input(answer), "output_tokens": 1}, answer.usage)
    if first is not None:
        start["message"]["usage"] = first
    yield Event(named(start))
    block = {"type": "text", "text": ""}
    yield Event(named({"type": "content_block_start", "index": 0, "content_block": block}))
    yield Event(named({"type": "ping"}))
    for i in range(answer.visible):
        delta = {"type": "text_delta", "text": piece(i)}
        yield Event(named({"type": "content_block_delta", "index": 0, "delta": delta}), 1)
    yield Event(named({"type": "content_block_stop", "index": 0}))
    end: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _stop(answer), "stop_sequence": None},
    }
    last = falsify({**_totals(answer), **_output(answer)}, answer.usage)
    if last is not None:
        end["usage"] = last
    yield Event(named(end))
    yield Event(named({"type": "message_stop"}))


def error(status: int, message: str, request_id: str) -> bytes:
    """An error in Anthropic's shape."""
    kind = KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return orjson.dumps(body)


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _totals(answer: Answer) -> dict[str, Any]:
    """The three input figures are disjoint; audio, which the API does not have, counts as plain."""
    prompt = answer.prompt
    return {
        "input_tokens": prompt["input"] + prompt["input_audio"],
        "cache_creation_input_tokens": prompt["cache_write_5m"] + prompt["cache_write_1h"],
        "cache_read_input_tokens": prompt["cached_input"],
    }


def _input(answer: Answer) -> dict[str, Any]:
    split = {
        "ephemeral_5m_input_tokens": answer.prompt["cache_write_5m"],
        "ephemeral_1h_input_tokens": answer.prompt["cache_write_1h"],
    }
    return {**_totals(answer), "cache_creation": split, "service_tier": "standard"}


def _output(answer: Answer) -> dict[str, Any]:
    output: dict[str, Any] = {"output_tokens": answer.output_tokens}
    if answer.reasoning:
        output["output_tokens_details"] = {"thinking_tokens": answer.reasoning}
    return output


def _stop(answer: Answer) -> str:
    return "max_tokens" if answer.cut else "end_turn"
