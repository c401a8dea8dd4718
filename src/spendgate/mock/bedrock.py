"""Bedrock's Converse as the mock speaks it, its stream in Amazon's binary messages. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import orjson

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, json_tokens, piece, text, text_tokens
from spendgate.mock.sse import Event

MESSAGES = b"application/vnd.amazon.eventstream"


def read(document: dict[str, Any], model: str, stream: bool) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("messages: a list of objects is required")
    tokens = text_tokens(document.get("system") or []) + json_tokens(document.get("toolConfig"))
    tokens += sum(text_tokens(m.get("content")) for m in messages)
    return Order(model, tokens, (document.get("inferenceConfig") or {}).get("maxTokens"), stream)


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    message = {"role": "assistant", "content": [{"text": text(answer.visible)}]}
    document = {"output": {"message": message}, "stopReason": _stop(answer), "metrics": {"latencyMs": 1}}
    reported = falsify(_usage(answer), answer.usage)
    return document if reported is None else {**document, "usage": reported}


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream of binary messages; the last one carries the usage."""
    yield Event(_message("messageStart", {"role": "assistant"}))
    for i in range(answer.visible):
        delta = {"contentBlockIndex": 0, "delta": {"text": piece(i)}}
        yield Event(_message("contentBlockDelta", delta), 1)
    yield Event(_message("contentBlockStop", {"contentBlockIndex": 0}))
    yield Event(_message("messageStop", {"stopReason": _stop(answer)}))
    reported = falsify(_usage(answer), answer.usage)
    metadata = {"metrics": {"latencyMs": 1}} | ({} if reported is None else {"usage": reported})
    yield Event(_message("metadata", metadata))


def error(status: int, message: str, request_id: str) -> bytes:
    """An error in Bedrock's shape."""
    return orjson.dumps({"message": message})


def _usage(answer: Answer) -> dict[str, Any]:
    """Cached tokens are apart from the input."""
    prompt = answer.prompt
    read_, written = prompt["cached_input"], prompt["cache_write_5m"] + prompt["cache_write_1h"]
    plain = prompt["input"] + prompt["input_audio"]
    usage: dict[str, Any] = {
        "inputTokens": plain,
        "outputTokens": answer.output_tokens,
        "totalTokens": plain + read_ + written + answer.output_tokens,
        "cacheReadInputTokens": read_,
        "cacheWriteInputTokens": written,
    }
    if prompt["cache_write_1h"]:
        usage["cacheDetails"] = [{"ttl": "1h", "inputTokens": prompt["cache_write_1h"]}]
    return usage


def _stop(answer: Answer) -> str:
    return "max_tokens" if answer.cut else "end_turn"


def _message(kind: str, payload: dict[str, Any]) -> bytes:
    """One binary message (AWS, "Event stream encoding")."""
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in (
            (":event-type", kind), (":content-type", "application/json"), (":message-type", "event"),
        )
    )  # fmt: skip
    body = orjson.dumps(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))
