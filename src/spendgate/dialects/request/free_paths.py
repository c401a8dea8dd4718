"""What a request that no dialect meters may cost: what is free is free by its exact method and path. Pure.

| request | |
|---|---|
| a POST listed here, under a known prefix | free |
| GET, HEAD, OPTIONS, DELETE without a body, on a path that no dialect claims | free: nothing is asked of a model |
| lists of what was stored under a metered path | free |
| a metered path by another method or without a body; Google's RPC | kin of a metered call: some servers serve it |
| all else, and what says that it is of another method than it is | an unknown API |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from urllib.parse import parse_qsl

from spendgate.dialects.request import paths


class Cost(Enum):
    """What a request that no dialect meters may cost."""

    FREE = "free"
    KIN = "kin"
    """Some servers take it for a metered call."""
    UNKNOWN = "unknown"


_ID = "[^/]+"
_PREFIX = (
    r"(?:/(?:openai|anthropic|azure|google|gemini|vertex|bedrock|mistral|cohere|groq|ollama|together|fireworks"
    r"|deepseek|xai|openrouter|llm|proxy|api|inference|compatibility|compatible-mode))?"
    r"(?:/v\d+(?:(?:alpha|beta)\d*)?)?(?:/openai)?(?:/v1)?"
)
_VERTEX = rf"(?:/projects/{_ID}(?:/locations/{_ID})?)?(?:/publishers/{_ID}|/endpoints)?"
_FREE = re.compile(
    _PREFIX + "(?:"
    "/messages/count_tokens"
    rf"|{_VERTEX}(?:/models|/tunedModels)?/[^/:]+:(?:countTokens|computeTokens)"
    rf"|{_VERTEX}/models/count-tokens:rawPredict"
    rf"|/model/{_ID}(?:/{_ID})?/count-tokens"
    "|/responses/input_tokens"
    "|/(?:tokenize|detokenize)"
    rf"|/(?:responses|batches|uploads|messages/batches|vector_stores)/{_ID}/(?:cancel|complete|parts)"
    rf"|/(?:files|uploads|models|conversations/{_ID}/items|containers/{_ID}/files)"
    rf"|/skills(?:/{_ID}/versions)?"
    rf"|/vector_stores(?:/{_ID})?(?:/(?:files|search|file_batches))?"
    "|/(?:show|pull|push|create|copy|delete)"
    "|/(?:oauth2?|auth)/token"
    ")",
    re.IGNORECASE,
)
"""Providers' references: token counting (Anthropic, Google, AWS, OpenAI, Cohere, vLLM), files, stored conversations,
model lists, and Ollama's housekeeping. Storage of files is billed by the day, not by the call."""
_LISTS = re.compile(_PREFIX + r"/(?:chat/completions|messages/batches)", re.IGNORECASE)
"""Metered paths whose GET lists what was stored (OpenAI: stored completions; Anthropic: batches)."""
_CONVERSATIONS = re.compile(_PREFIX + rf"/conversations(?:/{_ID})?", re.IGNORECASE)
"""Metered paths (Mistral's) that others than POST only look at, or take away."""
_UPLOAD = re.compile(r"(?:/resumable)?/upload/v1(?:alpha|beta)?/files", re.IGNORECASE)
"""Google's uploads of files, in one piece (POST) or several (PUT)."""
_RPC = re.compile(r"/google\.(?:ai\.generativelanguage|cloud\.aiplatform)\.[\w.]+/\w+", re.IGNORECASE)
"""Google's APIs over gRPC: the same calls, in messages that nobody here reads."""
_QUIET = ("GET", "HEAD", "OPTIONS", "DELETE")

OVERRIDE_HEADERS = ("x-http-method-override", "x-http-method", "x-method-override")
OVERRIDE_PARAMETERS = frozenset({"_method", "$httpmethod", "httpmethod", "x-http-method-override"})
"""Where a request says that it is of another method (Google's system parameters, Express, Rails, ASP.NET)."""


def cost(method: str, target: str, headers: Mapping[str, str], *, has_body: bool, claimed: bool) -> Cost:
    """What a request may cost that no dialect meters. `target`: path and query; `claimed`: as a POST with a body it
    would be metered."""
    path, _, query = target.partition("?")
    place, method = paths.plain(path), method.upper()
    overridden = is_overridden(query, headers)
    quiet = method in _QUIET and not has_body and not overridden
    if claimed:
        listed = quiet and (
            _CONVERSATIONS.fullmatch(place) is not None
            or (method != "DELETE" and (method == "OPTIONS" or _LISTS.fullmatch(place) is not None))
        )
        return Cost.FREE if listed else Cost.KIN
    if _RPC.fullmatch(place):
        return Cost.KIN
    if quiet or (method in ("POST", "PUT") and not overridden and _UPLOAD.fullmatch(place)):
        return Cost.FREE
    if method == "POST" and not overridden and _FREE.fullmatch(place):
        return Cost.FREE
    return Cost.UNKNOWN


def is_overridden(query: str, headers: Mapping[str, str]) -> bool:
    """Does a request say that it is of another method than it is?"""
    if any(name in headers for name in OVERRIDE_HEADERS):
        return True
    return any(
        name.lower() in OVERRIDE_PARAMETERS for name, _ in parse_qsl(query[:8192], keep_blank_values=True)
    )
