"""Reading and rewriting of Anthropic messages requests."""

from __future__ import annotations

import re
from typing import Any

from spendgate.dialects import jsonbody, jsonedit
from spendgate.dialects.base import RequestFacts
from spendgate.dialects.jsonbody import JsonObject, object_of
from spendgate.dialects.texts import (
    TIER_CHARACTERS_MAX,
    USER_CHARACTERS_MAX,
    Texts,
    model_of,
    parse_request,
    positive,
    short,
)

MESSAGE_TOKENS = 4
"""Framing of a message."""

IMAGE_TOKENS = 1_600
IMAGE_TOKENS_HIGH_RESOLUTION = 4_800
"""The most tokens of an image (Claude vision guide): width × height / 750 after scaling to 1,568 px, and to
2,576 px in Opus 4.7 and whatever came later."""

_LOW_RESOLUTION = re.compile(
    r"claude-(instant|[23])|(opus|sonnet|haiku)-4([-.@][0-6])?([-.@:]?[a-z0-9]{6,}|$|-v)"
)

SEARCHES_MAX_DEFAULT = 10
"""Searches held for a web search tool without `max_uses`."""

SEARCH_INPUT_TOKENS = 7_300
"""What a search's results add to the input of each later turn: 10 searches were billed 401,468 tokens."""


def read(body: bytes) -> RequestFacts:
    """Read the facts. Raises RequestError."""
    document = parse_request(body)
    model = model_of(document)
    texts = Texts()
    reader = _Reader(texts, _image_tokens(model))
    reader.read_content(document.get("system"))
    messages = document.get("messages")
    if isinstance(messages, list):
        texts.extra_tokens += MESSAGE_TOKENS * len(messages)
        for message in messages:
            reader.read_content(message.get("content") if isinstance(message, dict) else message)
    else:
        texts.add(messages)
    searches = _read_tools(texts, document)
    _read_schema(texts, document)
    user = object_of(document.get("metadata")).get("user_id")
    return RequestFacts(
        model=model,
        stream=document.get("stream") is True,
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=positive(document.get("max_tokens")),
        needs=frozenset(texts.needs),
        user=short(user, USER_CHARACTERS_MAX),
        fee_kinds={"searches": searches} if searches else {},
        cache_write=b'"cache_control"' in body,
        output_cap_min=_thinking_budget(document) + 1,
        tool_input_tokens=SEARCH_INPUT_TOKENS * searches * (searches + 1) // 2,
        dear_kinds=frozenset(texts.dear_kinds),
        service_tier=short(document.get("service_tier"), TIER_CHARACTERS_MAX),
    )


def rewrite(body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None) -> bytes:
    """Edit the body. A cap is written into `max_tokens`, only ever lowering the client's own, but stays above
    `thinking.budget_tokens` (`facts.output_cap_min`): the provider refuses a request whose thinking budget
    reaches its `max_tokens`. Raises RequestError."""
    changes: dict[str, jsonedit.Value] = {}
    if model is not None:
        changes["model"] = jsonbody.dumps(model).encode()
    if output_cap is not None:
        cap = max(output_cap, facts.output_cap_min)
        given = facts.output_cap
        changes["max_tokens"] = str(cap if given is None else min(cap, given)).encode()
    return jsonedit.edit(body, changes) if changes else body


def _image_tokens(model: str) -> int:
    return IMAGE_TOKENS if _LOW_RESOLUTION.search(model) else IMAGE_TOKENS_HIGH_RESOLUTION


def _thinking_budget(document: JsonObject) -> int:
    return positive(object_of(document.get("thinking")).get("budget_tokens")) or 0


def _read_tools(texts: Texts, document: JsonObject) -> int:
    """Take the tools' schemas. Returns the web searches that may be billed at most."""
    tools = document.get("tools")
    if tools:
        texts.add(tools)
        texts.needs.add("tools")
    if document.get("mcp_servers"):
        texts.needs.add("tools")
    searches = 0
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind.startswith("web_search"):
            searches += min(positive(tool.get("max_uses")) or SEARCHES_MAX_DEFAULT, 100)
    return searches


def _read_schema(texts: Texts, document: JsonObject) -> None:
    for form in (document.get("output_format"), object_of(document.get("output_config")).get("format")):
        if isinstance(form, dict) and form.get("type") == "json_schema":
            texts.add(form.get("schema"))
            texts.needs.add("json_schema")


class _Reader:
    """Walks content blocks. Blocks nest (tool results hold blocks, documents hold blocks); the walk keeps its
    own stack, so that depth costs no stack frame."""

    def __init__(self, texts: Texts, image_tokens: int) -> None:
        self._texts = texts
        self._image_tokens = image_tokens

    def read_content(self, content: Any) -> None:
        stack = [content]
        while stack:
            block = stack.pop()
            if isinstance(block, list):
                stack.extend(reversed(block))
            elif isinstance(block, dict):
                self._read_block(block, stack)
            else:
                self._texts.add(block)

    def _read_block(self, block: JsonObject, stack: list[Any]) -> None:
        texts = self._texts
        match block.get("type"):
            case "text":
                texts.add(block.get("text"))
            case "image":
                texts.extra_tokens += self._image_tokens
                texts.needs.add("images")
                texts.dear_kinds.add("input_image")
            case "document":
                texts.add(block.get("title"))
                texts.add(block.get("context"))
                self._read_source(block.get("source"), stack)
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                texts.add(block.get("name"))
                texts.add(block.get("input"))
                texts.extra_tokens += MESSAGE_TOKENS
            case "tool_result" | "mcp_tool_result":
                stack.append(block.get("content"))
                texts.extra_tokens += MESSAGE_TOKENS
            case "thinking":
                texts.add(block.get("thinking"))
            case "redacted_thinking":
                texts.add(block.get("data"))
            case "search_result":
                texts.add(block.get("title"))
                texts.add(block.get("source"))
                stack.append(block.get("content"))
            case "container_upload":
                texts.add_document(None)
            case _:
                texts.add(block)  # an unknown block is bounded by its JSON

    def _read_source(self, source: Any, stack: list[Any]) -> None:
        source = object_of(source)
        data = source.get("data")
        match source.get("type"):
            case "text":
                self._texts.add(data)
            case "content":
                stack.append(source.get("content"))
            case "base64":
                self._texts.add_document(len(data) if isinstance(data, str) else None)
            case _:  # a URL or a stored file
                self._texts.add_document(None)
