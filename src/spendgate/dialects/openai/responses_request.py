"""Reading and rewriting of OpenAI Responses requests."""

from __future__ import annotations

from typing import Any

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.openai.request import (
    MESSAGE_TOKENS,
    PRIMING_TOKENS,
    ImageRule,
    add_audio,
    image_tokens,
    user_of,
)
from spendgate.dialects.openai.responses_usage import (
    IMAGE_MODEL,
    IMAGE_TOKENS_MAX,
    SEARCH_PREVIEW,
    gigabytes_of,
)
from spendgate.dialects.request import fallbacks, hosted, rewriting, thinking
from spendgate.dialects.request.images import openai_tokens, size_of
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    NO_MODEL,
    TIER_CHARACTERS_MAX,
    Texts,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.dialects.wire.numbers import truth_of
from spendgate.usage import Usage

STORED_MODEL = NO_MODEL
"""Stands for the model that a stored prompt names; the answer tells it."""

OUTPUT_TOKENS_MIN = 16
"""OpenAI refuses a smaller `max_output_tokens`."""

WEB_SEARCH_INPUT_TOKENS = 17_000
"""Input that one web search adds: a short question with one search was billed 16,981 (recorded, gpt-4o)."""
CONTAINER_NANOUSD = 30_000_000
"""A container's gigabyte (price list, "Containers")."""

IMAGES_MAX = 2
"""Images of a drawing tool that are held for; one is what a call makes."""

HOSTED_TOOL_TOKENS = {
    "code_interpreter": 1_500,
    "image_generation": 1_200,
    "apply_patch": 1_000,
    "shell": 1_000,
    "local_shell": 1_000,
    "tool_search": 800,
    "computer": 2_000,
    "computer_use_preview": 2_000,
    "custom": 400,
    "mcp": 16_000,
}
"""What a tool that OpenAI describes itself adds to the input at most (recorded: code interpreter 1,096 of 503
bytes, image generation 761 of 170, apply patch 642 of 90, tool search 624, a custom tool 285 of 132). An MCP
server's tools are in no request."""


def read(body: bytes) -> RequestFacts:
    """Read the facts. Raises RequestError."""
    document = parse_request(body)
    stored = document.get("prompt") is not None
    model = STORED_MODEL if stored and not document.get("model") else fallbacks.asked_model(document)
    several = fallbacks.asked_at_once(document)
    texts = Texts()
    reader = _Reader(texts, image_tokens(model))
    reader.read_input(document.get("instructions"))
    reader.read_input(document.get("input"))
    fees, tool_tokens, drawers = _read_tools(texts, document)
    if drawers:
        texts.dear_kinds.add("output_image")
    runs = hosted.runs_tools(document.get("tools")) or reader.runs_tools
    _read_prompt(reader, document.get("prompt"))
    form = object_of(object_of(document.get("text")).get("format"))
    if form.get("type") == "json_schema":
        texts.add(form.get("schema"))
        texts.needs.add("json_schema")
    texts.extra_tokens += PRIMING_TOKENS
    unseen = reader.unseen or texts.unseen or stored or hosted.has_server_keys(document)
    brings = reader.runs_tools or _brings_in(document.get("tools"))
    if hosted.SEARCHES_ALONE.search(model):
        runs = brings = True
    return RequestFacts(
        model=model,
        stream=truth_of(document.get("stream")),
        # what is made in the background goes on when its stream is left
        output_hidden=truth_of(document.get("background")) or thinking.asked(document, thinking.EFFORT),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=positive(document.get("max_output_tokens")),
        needs=frozenset(texts.needs),
        user=user_of(document),
        fee_kinds=fees,
        extra_output_tokens=IMAGE_TOKENS_MAX * IMAGES_MAX * len(drawers),
        other_models=drawers,
        output_cap_min=OUTPUT_TOKENS_MIN,
        tool_input_tokens=tool_tokens,
        turns=hosted.calls_of(document) + 1 if runs else 1,
        cache_writes=hosted.long_writes(document),
        fee_nanousd=_containers(document.get("tools")),
        fallbacks=fallbacks.read(document, model),
        fallbacks_add=several > 0,
        answers=several,
        routed=fallbacks.is_routed(document, model),
        dear_kinds=frozenset(texts.dear_kinds),
        unseen_input=unseen or brings,
        unseen_results=brings,
        service_tier=short(document.get("service_tier"), TIER_CHARACTERS_MAX),
    )


def rewrite(body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None) -> bytes:
    """Edit the body. A cap is written into `max_output_tokens`, and only ever lowers the client's own.
    Raises RequestError."""
    return rewriting.rewrite(body, facts, "max_output_tokens", model=model, output_cap=output_cap)


def _read_prompt(reader: _Reader, prompt: object) -> None:
    """The variables of a stored prompt: texts, or parts of a message. Its own text is not in the request."""
    for value in object_of(object_of(prompt).get("variables")).values():
        reader.read_part(value) if isinstance(value, dict) else reader.texts.add(value)


def _read_tools(texts: Texts, document: JsonObject) -> tuple[Usage, int, tuple[str, ...]]:
    """Take the tools' schemas. Returns the fees that may be billed at most, the input tokens that the
    provider's own tools may add, and the models that draw for one."""
    tools = document.get("tools")
    if not tools:
        return {}, 0, ()
    texts.add(tools)
    texts.needs.add("tools")
    calls = hosted.calls_of(document)
    fees: Usage = {}
    tokens = described = 0
    drawers: list[str] = []
    for tool in list_of(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and _searches(kind):
            fees["searches"] = calls
            if kind.startswith(SEARCH_PREVIEW):
                fees["preview_searches"] = calls
            tokens = max(tokens, WEB_SEARCH_INPUT_TOKENS * calls)
        elif kind == "file_search":
            fees["file_searches"] = calls
        elif isinstance(kind, str):
            described += HOSTED_TOOL_TOKENS.get(kind, 0)
            if kind == "image_generation":
                drawers.append(short(tool.get("model"), MODEL_CHARACTERS_MAX) or IMAGE_MODEL)
    return fees, tokens + described, tuple(drawers)


def _brings_in(tools: object) -> bool:
    """Is there a tool whose results are of no documented size: found files (up to 50 chunks of 4,096 tokens), what code
    prints, what a server of MCP answers, and every kind that is not known here?"""
    measured = {*hosted.CLIENT_TOOLS, "image_generation", "tool_search"}
    return any(kind not in measured and not kind.startswith("web_search") for kind in hosted.kinds_of(tools))


def _searches(kind: str) -> bool:
    """Is a call of this kind of tool a search of the web, at its fee? xAI's `x_search` is another."""
    return "search" in kind and kind not in ("file_search", "tool_search", "collections_search")


def _containers(tools: object) -> int:
    """What the containers of code interpreters and shells cost at most, in nano-USD."""
    return CONTAINER_NANOUSD * sum(map(gigabytes_of, list_of(tools)))


class _Reader:
    """Walks the input: a text, or a list of items whose contents are texts or lists of parts."""

    def __init__(self, texts: Texts, image_tokens: ImageRule) -> None:
        self.texts = texts
        self.unseen = False
        self.runs_tools = False
        self._image_tokens = image_tokens

    def read_input(self, value: Any) -> None:
        if not isinstance(value, list):
            self.texts.add(value)
            return
        for item in value:
            if isinstance(item, dict):
                self.texts.extra_tokens += MESSAGE_TOKENS
                self._read_item(item)
            else:
                self.texts.add(item)

    def _read_item(self, item: JsonObject) -> None:
        texts = self.texts
        match item.get("type", "message"):
            case "message":
                self._read_content(item.get("content"))
            case "function_call" | "custom_tool_call" | "mcp_call":
                for key in ("name", "arguments", "input", "output"):
                    texts.add(item.get(key))
            case "function_call_output" | "custom_tool_call_output":
                self._read_content(item.get("output"))
            case "reasoning":
                self._read_content(item.get("summary"))
                self._read_content(item.get("content"))
                self._read_encrypted(item)
            case "compaction":
                self._read_encrypted(item)
            case "computer_call_output":
                self.read_part(item.get("output"))
            case "additional_tools":
                texts.add(item)
                texts.needs.add("tools")
                self.runs_tools = self.runs_tools or hosted.runs_tools(item.get("tools"))
            case "item_reference":
                self.unseen = True
            case "image_generation_call":
                self._add_image("", item.get("result"))
            case str(kind) if kind.endswith(("_call", "_output")) or kind.startswith("mcp_"):
                texts.add(item)  # what a tool did in an earlier turn: the URLs in it are not read again
            case _:
                hosted.add_unknown(texts, item)

    def _read_encrypted(self, item: JsonObject) -> None:
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str):
            self.texts.extra_tokens += len(sealed) * 3 // 4

    def _read_content(self, content: Any) -> None:
        if not isinstance(content, list):
            self.texts.add(content)
            return
        for part in content:
            self.read_part(part)

    def read_part(self, part: Any) -> None:
        """One part of an item's content. An unknown kind is bounded by its JSON."""
        texts = self.texts
        match part.get("type") if isinstance(part, dict) else None:
            case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
                texts.add(part.get("text"))
            case "refusal":
                texts.add(part.get("refusal"))
            case "input_image" | "computer_screenshot":
                if hosted.names_media(part.get("image_url")):
                    hosted.add_unknown(texts, part)
                    texts.add_unseen()
                self._add_image(part.get("detail"), part.get("image_url"))
            case "input_audio":
                add_audio(texts, part.get("input_audio"))
            case "input_file":
                data = part.get("file_data")
                texts.add_document(len(data) if isinstance(data, str) else None)
            case _:
                hosted.add_unknown(texts, part)

    def _add_image(self, detail: object, image: object) -> None:
        self.texts.extra_tokens += openai_tokens(self._image_tokens, size_of(image), low=detail == "low")
        self.texts.needs.add("images")
        self.texts.dear_kinds.add("input_image")
