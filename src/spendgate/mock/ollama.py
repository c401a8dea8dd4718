"""Ollama's chat as the mock speaks it: lines of JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, piece, text, text_tokens
from spendgate.mock.sse import Event

LINES = b"application/x-ndjson"


def read(document: dict[str, Any]) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    model, messages = document.get("model"), document.get("messages")
    if not isinstance(model, str) or not model:
        raise BadRequest("model is required")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("messages: a list of objects is required")
    tokens = sum(text_tokens(m.get("content")) for m in messages)
    cap = (document.get("options") or {}).get("num_predict")
    return Order(model, tokens, cap, document.get("stream") is not False)


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    return _last(answer, text(answer.visible))


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream; the counts come with its last line."""
    for i in range(answer.visible):
        yield Event(orjson.dumps({**_message(answer, piece(i)), "done": False}) + b"\n", 1)
    yield Event(orjson.dumps(_last(answer, "")) + b"\n")


def error(status: int, message: str, request_id: str) -> bytes:
    """An error in Ollama's shape."""
    return orjson.dumps({"error": message})


def _message(answer: Answer, words: str) -> dict[str, Any]:
    return {
        "model": answer.model,
        "created_at": "2026-11-24T12:00:00Z",
        "message": {"role": "assistant", "content": words},
    }


def _last(answer: Answer, words: str) -> dict[str, Any]:
    counts = {"prompt_eval_count": answer.prompt_tokens, "eval_count": answer.output_tokens}
    reason = "length" if answer.cut else "stop"
    return {
        **_message(answer, words),
        "done": True,
        "done_reason": reason,
        **(falsify(counts, answer.usage) or {}),
    }
