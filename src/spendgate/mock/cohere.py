"""Cohere's chat, version 2, as the mock speaks it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, json_tokens, piece, text, text_tokens
from spendgate.mock.sse import DONE, Event, named

PREAMBLE_TOKENS = 490
"""Hidden tokens that are counted and not billed."""


def read(document: dict[str, Any]) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    model, messages = document.get("model"), document.get("messages")
    if not isinstance(model, str) or not model:
        raise BadRequest("model is required")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("messages: a list of objects is required")
    tokens = sum(text_tokens(m.get("content")) for m in messages) + json_tokens(document.get("tools"))
    return Order(model, tokens, document.get("max_tokens"), document.get("stream") is True)


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    message = {"role": "assistant", "content": [{"type": "text", "text": text(answer.visible)}]}
    document = {"id": answer.id, "finish_reason": _finish(answer), "message": message}
    reported = falsify(_usage(answer), answer.usage)
    return document if reported is None else {**document, "usage": reported}


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream; the usage comes with its end."""
    start = {"type": "message-start", "id": answer.id, "delta": {"message": {"role": "assistant"}}}
    yield Event(named(start))
    block = {"message": {"content": {"type": "text", "text": ""}}}
    yield Event(named({"type": "content-start", "index": 0, "delta": block}))
    for i in range(answer.visible):
        delta = {"message": {"content": {"text": piece(i)}}}
        yield Event(named({"type": "content-delta", "index": 0, "delta": delta}), 1)
    yield Event(named({"type": "content-end", "index": 0}))
    end: dict[str, Any] = {"finish_reason": _finish(answer)}
    reported = falsify(_usage(answer), answer.usage)
    if reported is not None:
        end["usage"] = reported
    yield Event(named({"type": "message-end", "delta": end}) + DONE)


def error(status: int, message: str, request_id: str) -> bytes:
    """An error in Cohere's shape."""
    return orjson.dumps({"id": request_id, "message": message})


def _usage(answer: Answer) -> dict[str, Any]:
    came, went = float(answer.prompt_tokens), float(answer.output_tokens)
    return {
        "billed_units": {"input_tokens": came, "output_tokens": went},
        "tokens": {"input_tokens": came + PREAMBLE_TOKENS, "output_tokens": went},
    }


def _finish(answer: Answer) -> str:
    return "MAX_TOKENS" if answer.cut else "COMPLETE"
