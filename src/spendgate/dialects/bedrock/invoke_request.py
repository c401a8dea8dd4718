"""Reading of Bedrock's model invocations: one path, a body for each vendor. Nothing is ever rewritten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spendgate.dialects.anthropic import request as anthropic_request
from spendgate.dialects.base import RequestFacts
from spendgate.dialects.bedrock import guardrails
from spendgate.dialects.bedrock.api import tier_of
from spendgate.dialects.bedrock.converse_request import OUTPUT_TOKENS, BlockReader, runs_system_tools
from spendgate.dialects.request import hosted, thinking
from spendgate.dialects.request.reranks import search_units
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    Texts,
    parse_request,
    positive,
)
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.errors import RequestError
from spendgate.usage import Usage

IMAGES_MAX = 10
"""More images in one request are refused (Stability, Titan, Nova: at most 5; a margin)."""

_CALL = re.compile(r"/model/([^/].*)/invoke(-with-response-stream)?$", re.DOTALL | re.IGNORECASE)
_ANTHROPIC = re.compile(r"(^|[./])anthropic\.")
_EMBEDDING = re.compile(r"embed|rerank", re.IGNORECASE)
_CAPS = (
    "max_completion_tokens",
    "max_tokens",
    "max_gen_len",
    "maxTokens",
    "max_tokens_to_sample",
    "max_new_tokens",
)
_NESTED_CAPS = {
    "textGenerationConfig": ("maxTokenCount",),
    "inferenceConfig": ("max_new_tokens", "maxTokens", "maxNewTokens", "max_tokens"),
    "parameters": ("max_new_tokens",),
}
_SETTINGS = frozenset(
    (*_CAPS, *_NESTED_CAPS, "temperature", "top_p", "topP", "top_k", "stream", "stream_options")
)


def read(body: bytes, path: str, headers: Mapping[str, str]) -> RequestFacts:
    """Read the facts. `path` is plain. Raises RequestError."""
    call = _CALL.search(path)
    if call is None or len(call[1]) > MODEL_CHARACTERS_MAX:
        raise RequestError("the path names no model; write /model/MODEL/invoke")
    document = parse_request(body)
    model = call[1]
    if _ANTHROPIC.search(model) or "anthropic_version" in document:
        facts = anthropic_request.read(body, model)
        if facts.output_cap is None:
            facts = replace(facts, output_cap=positive(document.get("max_tokens_to_sample")))
        if "prompt" in document:  # Claude 2's form
            facts = _with_prompt(facts, document)
    else:
        facts = _read_vendor(document, model)
    fees = guardrails.bound(document, headers, facts.text_bytes, facts.output_cap or OUTPUT_TOKENS)
    return replace(
        facts,
        fee_kinds={**facts.fee_kinds, **fees},
        stream=call[2] is not None,
        model_fixed=True,
        body_fixed=True,
        service_tier=tier_of(headers) or facts.service_tier,
    )


def _with_prompt(facts: RequestFacts, document: JsonObject) -> RequestFacts:
    texts = Texts()
    texts.add(document.get("prompt"))
    return replace(
        facts, texts=(*facts.texts, *texts.texts), text_bytes=facts.text_bytes + texts.length_bytes
    )


def _read_vendor(document: JsonObject, model: str) -> RequestFacts:
    """Every vendor's body: known parts by their kind, all else as text (a bound: its JSON)."""
    texts = Texts()
    reader = BlockReader(texts)
    reader.read_blocks(document.get("system"))
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else [messages]:
        _read_message(texts, reader, message)
    for key, value in document.items():
        if key in ("tools", "toolConfig"):
            texts.needs.add("tools")
        if key in ("images", "image", "inputImage") and isinstance(value, str | list):
            texts.add_image(len(value) if isinstance(value, list) else 1, 4_800)
        elif key not in ("system", "messages") and key not in _SETTINGS:
            hosted.add_member(texts, key, value)
    images = _images(document)
    fees: Usage = {"images": images} if images else {}
    if "rerank" in model:
        fees["searches"] = search_units(Texts(), document.get("documents") or document.get("sources"))
    runs = runs_system_tools(document.get("toolConfig")) or hosted.runs_tools(document.get("tools"))
    return RequestFacts(
        model=model,
        stream=False,
        output_hidden=thinking.asked(document),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=0 if images or _EMBEDDING.search(model) else _cap(document),
        needs=frozenset(texts.needs),
        dear_kinds=frozenset(texts.dear_kinds),
        fee_kinds=fees,
        known_usage={**fees, "requests": 1} if fees else {},
        unseen_results=runs,
        unseen_input=texts.unseen or runs or hosted.has_server_keys(document),
        turns=hosted.CALLS_DEFAULT + 1 if runs else 1,
    )


def _read_message(texts: Texts, reader: BlockReader, message: Any) -> None:
    if not isinstance(message, dict):
        texts.add(message)
        return
    texts.extra_tokens += 4
    reader.read_blocks(message.get("content"))
    for key in ("name", "tool_calls", "tool_call_id", "refusal", "reasoning_content"):
        texts.add(message.get(key))


def _images(document: JsonObject) -> int:
    """The images that are asked for; 0 where text or vectors are."""
    config = object_of(document.get("imageGenerationConfig"))
    if config or document.get("taskType"):
        return min(positive(config.get("numberOfImages")) or 1, IMAGES_MAX)
    if "text_prompts" in document or document.get("mode") in ("text-to-image", "image-to-image"):
        return min(positive(document.get("samples")) or 1, IMAGES_MAX)
    return 0


def _cap(document: JsonObject) -> int | None:
    for key in _CAPS:
        if cap := positive(document.get(key)):
            return cap
    for outer, inner in _NESTED_CAPS.items():
        for key in inner:
            if cap := positive(object_of(document.get(outer)).get(key)):
                return cap
    return None
