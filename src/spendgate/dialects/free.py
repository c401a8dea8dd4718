"""Which calls of providers' APIs cost nothing, and what else may spend money without a dialect. Pure.

Only POSTs and WebSockets make models work. Of the POSTs that no dialect claims those listed here are free; each
of the others is an unknown API.
"""

from __future__ import annotations

import re

from spendgate.dialects import paths

_FREE = re.compile(
    r"/(v1/)?messages/count_tokens"
    r"|/count-tokens(:rawPredict)?"
    r"|/[^/]*:(countTokens|computeTokens)"
    r"|/responses/input_tokens"
    r"|/(tokenize|detokenize)"
    r"|/(responses|batches|uploads|messages/batches|vector_stores)/[^/]+/(cancel|complete|parts)"
    r"|/(files|uploads|models|conversations|conversations/[^/]+/items|containers/[^/]+/files)"
    r"|/skills(/[^/]+/versions)?"
    r"|/vector_stores(/[^/]+)?(/(files|search|file_batches))?"
    r"|/api/(show|pull|push|create|copy|delete|ps|tags|version)"
    r"|/(oauth2?|auth)/token"
)
"""Providers' references: token counting (Anthropic, Google, AWS, OpenAI, Cohere, vLLM), files, stored
conversations, model lists, and Ollama's housekeeping. Storage of files is billed by the day, not by the call."""


def is_free(method: str, path: str, *, websocket: bool = False) -> bool:
    """Does a request that no dialect claims (path without query) surely cost nothing?"""
    if method.upper() != "POST":
        return not websocket
    place = paths.plain(path)
    return any(_FREE.fullmatch(place, at) is not None for at in _starts(place))


def _starts(place: str) -> list[int]:
    """Where the last five segments of a path begin."""
    found = [at for at, letter in enumerate(place) if letter == "/"]
    return found[-5:]
