"""Reading and rewriting of Anthropic messages requests."""

from __future__ import annotations

import re
from typing import Any

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import fallbacks, hosted, rewriting, thinking
from spendgate.dialects.request.images import anthropic_tokens, size_of
from spendgate.dialects.request.texts import (
    MODEL_CHARACTERS_MAX,
    TIER_CHARACTERS_MAX,
    USER_CHARACTERS_MAX,
    Texts,
    parse_request,
    positive,
    short,
)
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.dialects.wire.numbers import truth_of

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
SEARCH_FIRST_TOKENS = 26_000
"""What a search's results add to the input of each later turn (10 searches were billed 401,468 tokens), and
what the first may add beyond that (one search: 32,756, recorded)."""

SERVER_TOOL_TOKENS = {
    "code_execution": 6_000,
    "web_fetch": 5_000,
    "tool_search": 1_000,
    "mcp_toolset": 16_000,
    "computer": 1_500,
    "text_editor": 800,
    "bash": 400,
    "memory": 800,
    "advisor": 30_000,
}
"""What a tool of the vendor's own adds to the input at most: its hidden description, and its first results
(recorded: code execution 5,587, web fetch 4,843, tool search 1,650, a remote MCP server 4,977)."""

SKILL_TOKENS = 30_000
"""What a skill adds (recorded: 23,243 for one that made a spreadsheet)."""

ITERATIONS_MAX = 10
"""The vendor's tools are run in at most so many turns, then the answer ends with `pause_turn` (server tools, "The
server-side loop")."""

CLIENT_TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_")
"""Kinds of tools (or what they begin with) that the client runs. What a server of MCP, code, a fetched page (whose
`max_content_tokens` is approximate, and none for a PDF: web fetch tool, "Content limits") or a tool of an unknown kind
brings is unseen."""

FALLBACK = "claude-any"
"""Stands for the model that `fallbacks: "default"` chooses; no price table has it: the dearest Claude is held for."""

CITATION_TOKENS = 700
"""The hidden instructions of a request whose documents are to be cited (recorded: 566 tokens billed where
65 bytes were sent)."""


def read(body: bytes, model: str = "") -> RequestFacts:
    """Read the facts. `model`: where the path names it and the body does not. Raises RequestError."""
    document = parse_request(body)
    return read_document(document, model, hosted.cache_writes(body, b"cache_control", document))


def read_document(
    document: JsonObject, model: str = "", cache_writes: frozenset[str] = hosted.ANY_WRITES
) -> RequestFacts:
    """The same of a parsed body."""
    model = model or fallbacks.asked_model(document)
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
    searches, tool_tokens = _read_tools(texts, document)
    tool_tokens += _compaction_tokens(document, texts)
    turns, brings = _turns(document)
    others = fallbacks.read(document, model, FALLBACK)
    cap = positive(document.get("max_tokens"))
    budget = _thinking_budget(document)
    _read_schema(texts, document)
    user = object_of(document.get("metadata")).get("user_id")
    return RequestFacts(
        model=model,
        stream=truth_of(document.get("stream")),
        output_hidden=thinking.asked(document, thinking.THINKING),
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=cap if cap is None else max(cap, fallbacks.caps(document)),
        extra_output_tokens=budget if cap is not None and budget >= cap else 0,
        turns=turns,
        unseen_input=texts.unseen or brings or hosted.has_preset(document),
        unseen_results=brings,
        fallbacks=others,
        routed=fallbacks.is_routed(document, model),
        fallbacks_add=bool(others),
        other_models=_advisors(document.get("tools")),
        needs=frozenset(texts.needs),
        user=short(user, USER_CHARACTERS_MAX),
        fee_kinds={"searches": searches} if searches else {},
        cache_writes=cache_writes,
        output_cap_min=budget + 1,
        tool_input_tokens=tool_tokens,
        dear_kinds=frozenset(texts.dear_kinds),
        service_tier=tier_of(document),
        residency=short(document.get("inference_geo"), TIER_CHARACTERS_MAX),
    )


def tier_of(of: JsonObject) -> str:
    """The service tier that a request or a usage names; `fast` where its speed is, which is priced apart."""
    return "fast" if of.get("speed") == "fast" else short(of.get("service_tier"), TIER_CHARACTERS_MAX)


def rewrite(body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None) -> bytes:
    """Edit the body. A cap is written into `max_tokens`, only ever lowering the client's own, but stays above
    `thinking.budget_tokens` (`facts.output_cap_min`): the provider refuses a request whose thinking budget
    reaches its `max_tokens`. Raises RequestError."""
    return rewriting.rewrite(body, facts, "max_tokens", model=model, output_cap=output_cap)


def _image_tokens(model: str) -> int:
    return IMAGE_TOKENS if _LOW_RESOLUTION.search(model) else IMAGE_TOKENS_HIGH_RESOLUTION


def _thinking_budget(document: JsonObject) -> int:
    return positive(object_of(document.get("thinking")).get("budget_tokens")) or 0


def _read_tools(texts: Texts, document: JsonObject) -> tuple[int, int]:
    """Take the tools' schemas. Returns the web searches that may be billed at most, and the input tokens that
    the vendor's own tools may add."""
    tools = document.get("tools")
    if tools:
        texts.add(tools)
        texts.needs.add("tools")
    servers = document.get("mcp_servers")
    if servers:
        texts.needs.add("tools")
    searches = 0
    tokens = SERVER_TOOL_TOKENS["mcp_toolset"] * len(servers) if isinstance(servers, list) else 0
    skills = object_of(document.get("container")).get("skills")
    tokens += SKILL_TOKENS * len(skills) if isinstance(skills, list) else 0
    for tool in list_of(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str):
            continue
        uses = positive(tool.get("max_uses"))
        if kind.startswith("web_search"):
            searches += min(uses or SEARCHES_MAX_DEFAULT, 100)
        tokens += next((n for prefix, n in SERVER_TOOL_TOKENS.items() if kind.startswith(prefix)), 0)
    if searches:
        tokens += SEARCH_FIRST_TOKENS + SEARCH_INPUT_TOKENS * searches * (searches + 1) // 2
    return searches, tokens


def _turns(document: JsonObject) -> tuple[int, bool]:
    """(How often the model may read the request, whether its tools bring in what is of no documented size)."""
    tools = document.get("tools")
    kinds = [k for k in hosted.kinds_of(tools) if k and not k.startswith(CLIENT_TOOLS)]
    if document.get("mcp_servers") or object_of(document.get("container")).get("skills"):
        kinds.append("mcp_toolset")
    if not kinds:
        return 1, False
    listed = list_of(tools)
    uses = [positive(object_of(t).get("max_uses")) for t in listed if str(object_of(t).get("type")) in kinds]
    limited = len(uses) == len(kinds) and None not in uses
    turns = min(sum(u or 0 for u in uses), ITERATIONS_MAX) if limited else ITERATIONS_MAX
    return turns + 1, any(not kind.startswith(("web_search", "tool_search")) for kind in kinds)


def _advisors(tools: Any) -> tuple[str, ...]:
    """The models that advise this one: each is billed at its own price."""
    listed = list_of(tools)
    named = (short(object_of(tool).get("model"), MODEL_CHARACTERS_MAX) for tool in listed)
    return tuple(dict.fromkeys(filter(None, named)))


def _compaction_tokens(document: JsonObject, texts: Texts) -> int:
    """A conversation that the vendor may compact is read twice: once to be summed up."""
    edits = object_of(document.get("context_management")).get("edits")
    kinds = [e.get("type") for e in list_of(edits) if isinstance(e, dict)]
    compacts = any(isinstance(kind, str) and kind.startswith("compact") for kind in kinds)
    return texts.length_bytes // 2 if compacts else 0


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
        self._cites = False

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

    def _read_block(self, block: JsonObject, stack: list[Any]) -> None:  # noqa: C901  # a table: a case for each kind
        texts = self._texts
        if not self._cites and object_of(block.get("citations")).get("enabled") is True:
            self._cites = True
            texts.extra_tokens += CITATION_TOKENS
        match block.get("type"):
            case "text":
                texts.add(block.get("text"))
            case "tool_addition":
                texts.add(block)
                texts.needs.add("tools")
            case "image":
                size = size_of(object_of(block.get("source")).get("data"))
                texts.extra_tokens += anthropic_tokens(size, self._image_tokens)
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
            case str(kind) if kind.endswith("_tool_result"):
                texts.add(block)  # what a tool brought in an earlier turn
            case _:
                hosted.add_unknown(texts, block)

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
