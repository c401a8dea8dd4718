"""Reading and rewriting of Cohere chat requests."""

from __future__ import annotations

from typing import Any

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import fallbacks, hosted, rewriting, thinking
from spendgate.dialects.request.texts import Texts, parse_request, positive
from spendgate.dialects.wire.json_read import object_of
from spendgate.dialects.wire.numbers import truth_of

MESSAGE_TOKENS = 4
"""Framing of a message."""

IMAGE_TOKENS = 20_000
"""A bound: Oracle, who serves Command A Vision too, states some 1,610 tokens for 512 x 512 pixels, and its
image processor cuts an image into at most 12 tiles of that size."""


def read(body: bytes) -> RequestFacts:
    """Read the facts. Raises RequestError."""
    document = parse_request(body)
    model = fallbacks.asked_model(document)
    several = fallbacks.asked_at_once(document)
    texts = Texts()
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else [messages]:
        _read_message(texts, message)
    documents = document.get("documents")
    for item in documents if isinstance(documents, list) else [documents]:
        texts.add(item)
    if tools := document.get("tools"):
        texts.add(tools)
        texts.needs.add("tools")
    form = object_of(document.get("response_format"))
    if schema := form.get("json_schema") or form.get("schema"):
        texts.add(schema)
        texts.needs.add("json_schema")
    budget = positive(object_of(document.get("thinking")).get("token_budget")) or 0
    return RequestFacts(
        model=model,
        stream=truth_of(document.get("stream")),
        output_hidden=thinking.asked(document, thinking.THINKING),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=positive(document.get("max_tokens")),
        output_cap_min=budget + 1 if budget else 0,
        extra_output_tokens=budget,
        needs=frozenset(texts.needs),
        dear_kinds=frozenset(texts.dear_kinds),
        unseen_input=texts.unseen or hosted.runs_tools(tools) or hosted.has_server_keys(document),
        unseen_results=hosted.runs_tools(tools),
        turns=hosted.CALLS_DEFAULT + 1 if hosted.runs_tools(tools) else 1,
        fallbacks=fallbacks.read(document, model),
        fallbacks_add=several > 0,
        answers=several,
    )


def rewrite(body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None) -> bytes:
    """Edit the body. A cap is written into `max_tokens`, and only ever lowers the client's own.
    Raises RequestError."""
    return rewriting.rewrite(body, facts, "max_tokens", model=model, output_cap=output_cap)


def _read_message(texts: Texts, message: Any) -> None:
    if not isinstance(message, dict):
        texts.add(message)
        return
    texts.extra_tokens += MESSAGE_TOKENS
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        _read_part(texts, part)
    texts.add(message.get("tool_plan"))
    texts.add(message.get("tool_calls"))


def _read_part(texts: Texts, part: Any) -> None:
    """One part of a message. An unknown kind is bounded by its JSON."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "thinking"):
        texts.add(part.get(kind))
    elif kind == "image_url":
        texts.extra_tokens += IMAGE_TOKENS
        texts.needs.add("images")
        texts.dear_kinds.add("input_image")
    else:
        hosted.add_unknown(texts, part)
