"""Gemini as the mock speaks it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, json_tokens, piece, text, text_tokens
from spendgate.mock.sse import Event, data

STATUSES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


def read(document: dict[str, Any], model: str, verb: str) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    contents = document.get("contents")
    if not isinstance(contents, list) or not all(isinstance(c, dict) for c in contents):
        raise BadRequest("contents: a list of objects is required")
    system = document.get("systemInstruction") or {}
    tokens = text_tokens(system.get("parts")) + sum(text_tokens(c.get("parts")) for c in contents)
    tokens += json_tokens(document.get("tools"))
    config = document.get("generationConfig") or {}
    cap = config.get("maxOutputTokens")
    return Order(
        model, tokens, cap, verb == "streamGenerateContent", choices=config.get("candidateCount") or 1
    )


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    return _chunk(answer, text(answer.visible), last=True)


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream: every chunk with the usage so far, the last with all of it."""
    for i in range(answer.visible):
        chunk = _chunk(answer, piece(i), last=False)
        yield Event(data(chunk), answer.choices)
    yield Event(data(_chunk(answer, "", last=True)))


def error(status: int, message: str, request_id: str) -> bytes:
    """An error in Google's shape."""
    body = {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}
    return orjson.dumps({"error": body})


def _chunk(answer: Answer, words: str, *, last: bool) -> dict[str, Any]:
    stop = {"finishReason": "MAX_TOKENS" if answer.cut else "STOP"} if last else {}
    content = {"role": "model", "parts": [{"text": words}]}
    candidates = [{"index": i, "content": content, **stop} for i in range(answer.choices)]
    document = {"candidates": candidates, "modelVersion": answer.model, "responseId": answer.id}
    reported = falsify(_usage(answer) if last else {"promptTokenCount": answer.prompt_tokens}, answer.usage)
    return document if reported is None else {**document, "usageMetadata": reported}


def _usage(answer: Answer) -> dict[str, Any]:
    """Thoughts are apart from the candidates; cached tokens and sound are parts of the prompt."""
    made = answer.choices * answer.visible
    thoughts = answer.choices * answer.reasoning
    prompt, sound = answer.prompt_tokens, answer.prompt["input_audio"]
    usage: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": made,
        "totalTokenCount": prompt + made + thoughts,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": prompt - sound},
            {"modality": "AUDIO", "tokenCount": sound},
        ],
    }
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if cached := answer.prompt["cached_input"]:
        usage["cachedContentTokenCount"] = cached
    return usage
