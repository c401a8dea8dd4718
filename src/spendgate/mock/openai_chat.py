"""OpenAI chat completions as the mock speaks them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, json_tokens, piece, text, text_tokens
from spendgate.mock.sse import DONE, Event, data

MESSAGE_TOKENS = 4
PRIMING_TOKENS = 3
"""What frames each message, its role included, and what starts the answer (OpenAI cookbook, "How to count
tokens": 3 a message plus the tokens of its role, which is one; "Hello!" is billed as 9)."""

KINDS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_exceeded"}


def read(document: dict[str, Any], deployment: str = "") -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    model = deployment or document.get("model")
    messages = document.get("messages")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("'messages' must be a list of objects")
    options = document.get("stream_options")
    stream = document.get("stream") is True
    if options is not None and not stream:
        raise BadRequest("the 'stream_options' parameter is only allowed when 'stream' is enabled")
    tokens = PRIMING_TOKENS + json_tokens(document.get("tools")) + json_tokens(document.get("functions"))
    for message in messages:
        tokens += (
            MESSAGE_TOKENS + text_tokens(message.get("content")) + json_tokens(message.get("tool_calls"))
        )
    return Order(
        model=model,
        prompt_tokens=tokens,
        cap=_limit(document, "max_completion_tokens") or _limit(document, "max_tokens"),
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        choices=_limit(document, "n") or 1,
    )


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    content = text(answer.visible)
    document = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": i,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": None,
                "finish_reason": _finish(answer),
            }
            for i in range(answer.choices)
        ],
        "system_fingerprint": "fp_mock",
    }
    reported = falsify(usage(answer), answer.usage)
    return document if reported is None else {**document, "usage": reported}


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream: with `include_usage` every chunk has `usage: null` but the last, which has no
    choices; without it none has the field."""
    asked = answer.include_usage and answer.usage != "none"
    head = {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": "fp_mock",
    }
    tail = {"usage": None} if asked else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data({**head, "choices": [choice], **tail})

    for index in range(answer.choices):
        yield Event(chunk(index, {"role": "assistant", "content": "", "refusal": None}))
    for i in range(answer.visible):
        for index in range(answer.choices):
            yield Event(chunk(index, {"content": piece(i)}), 1)
    for index in range(answer.choices):
        yield Event(chunk(index, {}, _finish(answer)))
    if asked:
        yield Event(data({**head, "choices": [], "usage": falsify(usage(answer), answer.usage)}))
    yield Event(DONE)


def usage(answer: Answer) -> dict[str, Any]:
    """The usage object: the details are parts of the totals."""
    prompt = answer.prompt
    details = {"cached_tokens": prompt["cached_input"], "audio_tokens": prompt["input_audio"]}
    if written := prompt["cache_write_5m"] + prompt["cache_write_1h"]:
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.prompt_tokens + answer.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": answer.choices * answer.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def error(status: int, message: str, request_id: str) -> bytes:
    """An error in OpenAI's shape."""
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = kind if status == 429 else None
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _finish(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def _limit(document: dict[str, Any], field: str) -> int | None:
    value = document.get(field)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise BadRequest(f"{field!r} must be a whole number above 0")
    return value
