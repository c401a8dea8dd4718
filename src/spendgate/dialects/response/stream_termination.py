"""How a stream is ended before its provider would: politely, in its own words, as if its length was reached.

A bare end of the body ends an SDK's loop without an exception, and an application takes the short answer for
a whole one; `finish_reason: "length"` and `stop_reason: "max_tokens"` are what it knows how to read.
Sources: OpenAI's and Anthropic's API references of streamed events.
"""

from __future__ import annotations

import re

from spendgate.dialects.wire import json_read

_BLOCK = re.compile(rb'"type"\s*:\s*"content_block_start"\s*,\s*"index"\s*:\s*(\d{1,4})')
_TAIL_BYTES = 80


def can_end(dialect: str) -> bool:
    """Is it known how to end a stream of this dialect?"""
    return dialect in ("openai-chat", "anthropic-messages")


def boundary(piece: bytes) -> int:
    """Where the last event that ends within this piece ends; -1 where none does."""
    return max((piece.rfind(end) + len(end) for end in (b"\n\n", b"\r\n\r\n") if end in piece), default=-1)


class StreamTerminator:
    """Sees a stream's bytes pass and knows how to end it at an event's boundary."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._block = 0
        self._tail = b""

    def see(self, piece: bytes) -> None:
        """Note the open content block of an Anthropic stream."""
        if self._dialect != "anthropic-messages":
            return
        seen = self._tail + piece
        for match in _BLOCK.finditer(seen):
            self._block = int(match[1])
        self._tail = seen[-_TAIL_BYTES:]

    def end(self, model: str, output_tokens: int) -> bytes:
        """The events that end the stream."""
        if self._dialect == "openai-chat":
            chunk = {
                "id": "",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": model,
                "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
            }
            return b"data: " + json_read.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
        events: list[tuple[str, dict[str, object]]] = [
            ("content_block_stop", {"type": "content_block_stop", "index": self._block}),
            (
                "message_delta",
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
                    "usage": {"output_tokens": output_tokens},
                },
            ),
            ("message_stop", {"type": "message_stop"}),
        ]
        return b"".join(f"event: {name}\ndata: {json_read.dumps(data)}\n\n".encode() for name, data in events)
