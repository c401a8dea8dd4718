"""Input that a request does not carry: what the provider fetches from behind URLs and ids, and what tools add that it
runs itself. Only the model's context window bounds it. Pure.

A tool that the provider runs makes the model answer in turns, and each turn reads the whole conversation again: a
request with such tools is held for `turns` readings of what it carries. What the tools bring, where that is of no
documented size, is held for as a context window at least; where more, as `RESULT_TOKENS` a call, read again in each
later turn, of which each reads at most a window. Documented numbers of turns:

| provider | turns | source |
|---|---|---|
| OpenAI | `max_tool_calls` and one; without it 11 are held for, the API has no limit | Responses API reference |
| Anthropic | 10 iterations, then `pause_turn` | server tools, "The server-side loop" |
| Gemini | code is written anew up to 5 times; 20 URLs a request, read at once | code execution; URL context |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from spendgate.dialects.request.texts import Texts, positive
from spendgate.dialects.wire import scan
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of

RESULT_TOKENS = 25_000
"""What one call of a tool brings: a large page of documentation (Anthropic, web fetch tool, "Token usage")."""

CALLS_DEFAULT = 10
"""Calls of the provider's own tools held for where the request sets no limit."""
CALLS_MAX = 100

SEARCHES_ALONE = re.compile(r"deep-research")
"""Models that search the web in turns by themselves (OpenAI's deep research)."""

ITEMS_MAX = 1_000
"""So many members of an unknown part are looked at; a larger one counts as a reference."""

ITEMS_LOOKED_AT = 10_000
"""Of a document of more the bytes are searched instead."""

_ESCAPED_LETTER = re.compile(rb"\\u00(5[fF]|[46][1-9a-fA-F]|[57][0-9aA])")
_REFERENCE = re.compile(
    r"(url|uri|urls|uris|fileid|fileids|assetid|mediaid|s3location|location|bucket|s3|gcs\w*)$"
)
_MEDIA_NAME = re.compile(
    r"^(gs|s3)://|\.(mp4|m4v|mov|webm|mkv|avi|mpe?g|3gp|flv|wmv|pdf|docx?|pptx?|xlsx?|csv|txt|html?"
    r"|mp3|wav|m4a|aac|ogg|opus|flac)([?#]|$)|^https?://([a-z]+\.)*(youtube\.com|youtu\.be)/",
    re.IGNORECASE,
)

SERVER_KEYS = frozenset({
    "data_sources", "dataSources", "search_parameters", "enable_search", "search_options", "web_search",
    "cached_content", "cachedContent", "previous_response_id", "conversation", "conversation_id", "prompt_id",
    "connectors", "mcp_servers", "retrieval", "knowledge", "plugins", "context_id", "thread_id", "assistant_id",
    "file_ids", "document_ids", "rag", "agent",
})  # fmt: skip
"""Members of a request by which a provider brings input in: Azure's and xAI's searches, DashScope's, Volcengine's
stored contexts, OpenRouter's plugins."""

PRESET = "@preset/"
"""Stands in a model's name that leads to settings stored at OpenRouter: models, a system prompt, tools (its guide to
presets)."""

_HOLDERS = ("extra_body", "google", "provider_options", "providerOptions", "additional_params")
"""Members that hold such members, by provider."""
_MARKS = SERVER_KEYS | {"web_search_options", *_HOLDERS}

CLIENT_TOOLS = frozenset(
    {"", "function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"}
)
"""Kinds of tools that the client runs itself: they add nothing that it does not send."""


def mentions(body: bytes, word: bytes, document: JsonObject | None = None) -> bool:
    """May a key of this name (in lower case) stand in the body? One with escaped letters might be it. `document`: what
    was parsed of the body, where it says each thing once."""
    return _has_key(body, word, document) or _has_escaped_letter(body)


def _has_escaped_letter(body: bytes) -> bool:
    at = scan.find(body, b"\\u00", rare=2) if b"\\" in body else -1
    return at >= 0 and _ESCAPED_LETTER.search(body, at) is not None


def _has_key(body: bytes, word: bytes, document: JsonObject | None = None) -> bool:
    """Does the word stand there as a key or text, in any case? Looked for by its underscore, which is rare; where it is
    not, among what was parsed."""
    before = word.find(b"_") + 1
    if not before:
        return not _is_without(document, word) and _key(word).search(body) is not None
    quoted, leaps, at = b'"%s"' % word, 0, body.find(b"_")
    while at >= 0:
        begin = max(0, at - before)
        if leaps * scan.LEAP_BYTES > at + scan.HEAD_BYTES:
            return not _is_without(document, word) and _key(word).search(body, begin) is not None
        if body[begin : begin + len(quoted)].lower() == quoted:
            return True
        leaps, at = leaps + 1, body.find(b"_", at + 1)
    return False


def _is_without(document: JsonObject | None, word: bytes) -> bool:
    """Does surely no name and no text end with this word, in any case? (`"word"` in the bytes of a document ends one of
    its texts.) False where there are too many to look."""
    if document is None:
        return False
    name, left, stack = word.decode(), ITEMS_LOOKED_AT, [document]
    tail = -len(name)
    while stack:
        value: Any = stack.pop()
        if type(value) is str:
            if value[tail:].lower() == name:
                return False
        elif isinstance(value, dict | list):
            left -= len(value)
            if left < 0:
                return False
            stack.extend((*value, *value.values()) if isinstance(value, dict) else value)
    return True


SHORT_WRITES = frozenset({"cache_write_5m"})
ANY_WRITES = SHORT_WRITES | {"cache_write_1h"}
_FIVE_MINUTES = re.compile(rb'"(?i:ttl)"\s*:\s*"5m"')


def cache_writes(body: bytes, word: bytes, document: JsonObject | None = None) -> frozenset[str]:
    """The kinds of cache writes that a request may cause, which asks for them by a key of this name (in lower case).
    They are kept for five minutes unless it says `ttl: 1h` (Anthropic, prompt caching, "1-hour cache duration";
    Bedrock's cache points likewise): whatever else a `ttl` says is taken for that."""
    if not mentions(body, word, document):
        return frozenset()
    named = len(_key(b"ttl").findall(body))
    escaped = b"\\u00" in body and _ESCAPED_LETTER.search(body) is not None
    return ANY_WRITES if escaped or named > len(_FIVE_MINUTES.findall(body)) else SHORT_WRITES


@cache
def _key(word: bytes) -> re.Pattern[bytes]:
    """A key in any case: faster than a copy of the body in lower case."""
    return re.compile(b'"(?i:%s)"' % re.escape(word))


def is_data(value: object) -> bool:
    """Is this the thing itself, in base64, and no reference?"""
    return isinstance(value, str) and value[:5].lower() == "data:"


def refers(part: object) -> bool:
    """Does a part point at something that only the provider will see: a member named like a URL, a file's id, or a
    place in a store?"""
    stack, seen = [part], 0
    while stack:
        value = stack.pop()
        seen += 1
        if seen > ITEMS_MAX:
            return True
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                name = str(key).lower().replace("_", "").replace("-", "")
                if _REFERENCE.search(name) and _is_reference(inner):
                    return True
                if isinstance(inner, dict | list):
                    stack.append(inner)
    return False


def _is_reference(value: object) -> bool:
    if isinstance(value, str):
        return bool(value) and not is_data(value)
    if isinstance(value, list):
        return any(map(_is_reference, value))
    return isinstance(value, dict) and refers_by_text(value)


def refers_by_text(value: JsonObject) -> bool:
    """Has an object a text that is no data, as `{"url": …}` or `{"bucket": …}` have?"""
    return any(isinstance(v, str) and v and not is_data(v) for v in value.values()) or refers(value)


def add_member(texts: Texts, key: str, value: Any) -> None:
    """Take a member of an unknown name; its own name may say that it is a reference."""
    texts.add(value)
    if refers({key: value}):
        texts.add_unseen()


def add_unknown(texts: Texts, part: Any) -> None:
    """Take a part of an unknown kind: its JSON bounds what it carries; what it refers to is unseen."""
    texts.add(part)
    if isinstance(part, dict | list) and refers(part):
        texts.add_unseen()


def names_media(url: object) -> bool:
    """Does the URL of an image lead to something that is none: a video, a document, sound?"""
    if not isinstance(url, str):
        return False
    if is_data(url):
        return not url[5:12].lower().startswith("image/")
    return _MEDIA_NAME.search(url[:2048]) is not None


def has_server_keys(document: JsonObject, *, own_search: bool = False) -> bool:
    """Does the request itself name something that the provider brings in? `own_search`: what the model's own search
    finds is billed by fees alone."""
    if _MARKS.isdisjoint(document):
        return has_preset(document)
    holders = [document, *(object_of(document.get(key)) for key in _HOLDERS)]
    holders += [inner for of in holders[1:] for inner in of.values() if isinstance(inner, dict)]
    return (
        any(of[key] for of in holders for key in SERVER_KEYS.intersection(of))
        or (not own_search and document.get("web_search_options") is not None)
        or has_preset(document)
    )


def has_preset(document: JsonObject) -> bool:
    """Does the request lead to settings that only the provider has?"""
    model = document.get("model")
    return bool(document.get("preset")) or (isinstance(model, str) and PRESET in model)


def only_data_sources(document: JsonObject, *, own_search: bool = False) -> bool:
    """Are Azure's data sources all that the provider brings in?"""
    if not document.get("data_sources"):
        return False
    rest = {key: value for key, value in document.items() if key != "data_sources"}
    return not has_server_keys(rest, own_search=own_search)


def runs_tools(tools: object, client: Iterable[str] = CLIENT_TOOLS) -> bool:
    """Are there tools among these that the provider runs? One of an unknown kind is taken for such."""
    return any(kind not in client for kind in kinds_of(tools))


def kinds_of(tools: object) -> list[str]:
    """The `type` of each tool, "" where it has none; those of a `namespace` of tools stand for it."""
    kinds: list[str] = []
    stack = [tools]
    while stack:
        tool = stack.pop()
        if isinstance(tool, list):
            stack.extend(tool)
        elif isinstance(tool, dict):
            kind = tool.get("type")
            if kind == "namespace":
                stack.append(tool.get("tools"))
            elif kind == "shell" and object_of(tool.get("environment")).get("type") == "local":
                kinds.append("local_shell")
            else:
                kinds.append(kind if isinstance(kind, str) else "")
    return kinds


def calls_of(document: JsonObject, key: str = "max_tool_calls") -> int:
    """How many calls of the provider's own tools are held for."""
    return min(positive(document.get(key)) or CALLS_DEFAULT, CALLS_MAX)


def long_writes(document: JsonObject) -> frozenset[str]:
    """The kind of a write that is kept for more than twelve hours, where the request asks OpenAI for it
    (`prompt_cache_options.ttl`, before that `prompt_cache_retention`)."""
    if _RETENTION.isdisjoint(document):
        return NO_WRITES
    options = object_of(document.get("prompt_cache_options"))
    asked = [v for v in (*options.values(), document.get("prompt_cache_retention")) if isinstance(v, str)]
    hours = [int(found[1]) for v in asked if (found := _HOURS.fullmatch(v))]
    return LONG_WRITES if max(hours, default=0) >= LONG_HOURS else NO_WRITES


_RETENTION = frozenset({"prompt_cache_options", "prompt_cache_retention"})
_HOURS = re.compile(r"(\d{1,4})h")
LONG_HOURS = 12
LONG_WRITES = frozenset({"cache_write_12h"})
NO_WRITES: frozenset[str] = frozenset()


def searches_of(document: JsonObject) -> int:
    """Searches that a chat request may be billed for at most: by a search model's options, xAI's live search (its
    fee is a source's), DashScope's, and OpenRouter's web plugin (by result)."""
    if _SEARCHES.isdisjoint(document):
        return 0
    n = 1 if document.get("web_search_options") is not None else 0
    live = object_of(document.get("search_parameters"))
    if live and live.get("mode") != "off":
        n += positive(live.get("max_search_results")) or LIVE_SOURCES
    if document.get("enable_search"):
        n += 1
    plugins = document.get("plugins")
    for plugin in list_of(plugins):
        if isinstance(plugin, dict) and plugin.get("id") == "web":
            n += positive(plugin.get("max_results")) or WEB_RESULTS
    return min(n, SEARCHES_MAX)


_SEARCHES = frozenset({"web_search_options", "search_parameters", "enable_search", "plugins"})
LIVE_SOURCES = 20
"""Sources of xAI's live search where the request sets no `max_search_results` (live search guide)."""
WEB_RESULTS = 5
"""Results of OpenRouter's web plugin where it sets no `max_results` (web search guide)."""
SEARCHES_MAX = 1_000
