"""Reading of Bedrock Converse requests. Nothing is ever rewritten: the client signed path and body."""

from __future__ import annotations

import re
from typing import Any

from spendgate.dialects.anthropic.request import CITATION_TOKENS
from spendgate.dialects.base import NO_HEADERS, RequestFacts
from spendgate.dialects.bedrock import guardrails
from spendgate.dialects.bedrock.api import OPTIMIZED
from spendgate.dialects.request import hosted, thinking
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    TIER_CHARACTERS_MAX,
    USER_CHARACTERS_MAX,
    Texts,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.errors import RequestError

MESSAGE_TOKENS = 4
"""Framing of a message."""
OUTPUT_TOKENS = 4_096
"""What a guardrail may have to check of an answer without a limit."""

IMAGE_TOKENS = 4_800
"""The most tokens of an image of the models served (Claude's: see `anthropic_request`)."""

NOVA_VIDEO_TOKENS = 288 * 960
"""Nova samples at most 960 frames of 288 tokens (Amazon Nova guide, "Video understanding")."""

_CALL = re.compile(r"/model/([^/].*)/converse(-stream)?$", re.DOTALL | re.IGNORECASE)
_STORED_PROMPT = re.compile(r":prompt/")


def read(body: bytes, path: str) -> RequestFacts:
    """Read the facts. `path` is plain. Raises RequestError."""
    call = _CALL.search(path)
    if call is None or len(call[1]) > MODEL_CHARACTERS_MAX:
        raise RequestError("the path names no model; write /model/MODEL/converse")
    document = parse_request(body)
    texts = Texts()
    reader = BlockReader(texts)
    reader.read_blocks(document.get("system"))
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else [messages]:
        texts.extra_tokens += MESSAGE_TOKENS
        reader.read_blocks(message.get("content") if isinstance(message, dict) else message)
    texts.add(document.get("promptVariables"))
    if tools := document.get("toolConfig"):
        texts.add(tools)
        texts.needs.add("tools")
    runs = runs_system_tools(tools)
    if more := document.get("additionalModelRequestFields"):
        hosted.add_unknown(texts, more)
    cap = positive(object_of(document.get("inferenceConfig")).get("maxTokens"))
    fees = guardrails.bound(document, NO_HEADERS, texts.length_bytes, cap or OUTPUT_TOKENS)
    return RequestFacts(
        model=call[1],
        stream=call[2] is not None,
        output_hidden=thinking.asked(document, thinking.THINKING),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=cap,
        needs=frozenset(texts.needs),
        user=short(object_of(document.get("requestMetadata")).get("user_id"), USER_CHARACTERS_MAX),
        cache_writes=hosted.cache_writes(body, b"cachepoint", document),
        model_fixed=True,
        body_fixed=True,
        dear_kinds=frozenset(texts.dear_kinds),
        turns=hosted.CALLS_DEFAULT + 1 if runs else 1,
        fee_kinds={**fees, **({"searches": hosted.CALLS_DEFAULT} if runs else {})},
        unseen_results=runs,
        unseen_input=texts.unseen or runs or _STORED_PROMPT.search(call[1]) is not None,
        service_tier=_tier(document),
    )


_PERFORMANCE = "performanceConfig"


def _tier(document: JsonObject) -> str:
    if OPTIMIZED in object_of(document.get(_PERFORMANCE)).values():
        return OPTIMIZED
    return short(object_of(document.get("serviceTier")).get("type"), TIER_CHARACTERS_MAX)


class BlockReader:
    """Walks content blocks, Converse's and those that resemble them. Tool results hold blocks; the walk keeps its
    own stack."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def read_blocks(self, blocks: Any) -> None:
        stack = [blocks]
        while stack:
            block = stack.pop()
            if isinstance(block, list):
                stack.extend(reversed(block))
            elif isinstance(block, dict):
                self._read_block(block, stack)
            else:
                self._texts.add(block)

    def _read_block(self, block: JsonObject, stack: list[Any]) -> None:  # noqa: C901  # a table: a case for each kind
        texts = self._texts
        for kind, value in block.items():
            match kind:
                case "type" if isinstance(value, str):
                    pass  # OpenAI's parts name their kind
                case "text":
                    texts.add(value)
                case "image" | "image_url":
                    texts.add_image(1, IMAGE_TOKENS)
                case "video" if hosted.refers(value):
                    texts.needs.add("images")
                    texts.add_unseen()
                case "video":
                    texts.extra_tokens += NOVA_VIDEO_TOKENS
                    texts.needs.add("images")
                    texts.dear_kinds.add("input_video")
                case "document":
                    self._read_document(object_of(value))
                case "toolUse":
                    texts.add(object_of(value).get("name"))
                    texts.add(object_of(value).get("input"))
                case "toolResult":
                    stack.append(object_of(value).get("content"))
                case "cachePoint":
                    pass
                case "toolSpec" | "searchResult" | "citationsContent" | "reasoningContent":
                    texts.add(value)
                case "video_url" | "audio_url" | "file" | "document_url" | "input_audio" if value:
                    hosted.add_member(texts, kind, value)
                    texts.add_unseen()
                case _:
                    hosted.add_member(texts, kind, value)

    def _read_document(self, document: JsonObject) -> None:
        self._texts.add(document.get("name"))
        self._texts.add(document.get("context"))
        if object_of(document.get("citations")).get("enabled") is True:
            self._texts.extra_tokens += CITATION_TOKENS
        source = object_of(document.get("source"))
        data = source.get("bytes")
        if isinstance(text := source.get("text"), str):
            self._texts.add(text)
        else:
            self._texts.add_document(len(data) if isinstance(data, str) else None)


def runs_system_tools(tools: object) -> bool:
    """Are there tools among these that Bedrock runs itself (Nova's grounding and code interpreter), or any of a kind
    that is not known here?"""
    listed = object_of(tools).get("tools")
    kinds = (
        {k for tool in listed if isinstance(tool, dict) for k in tool} if isinstance(listed, list) else set()
    )
    return bool(kinds - {"toolSpec", "cachePoint"})
