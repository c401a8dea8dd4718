"""Writing server-sent events. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

DONE = b"data: [DONE]\n\n"


class Event(NamedTuple):
    """One event's bytes, and how many tokens of the answer's text it carries."""

    raw: bytes
    tokens: int = 0


def data(value: Any) -> bytes:
    """An unnamed event, as OpenAI sends them."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """An event named by its `type`, as Anthropic sends them."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


def comment(length: int) -> bytes:
    """A comment of so many bytes (at least 3), which clients skip."""
    return b":" + b"p" * max(0, length - 3) + b"\n\n"
