"""Usage as OpenAI's Responses API reports it: the chat API's rules under other names.

`input_tokens` includes cached and cache-written tokens, `output_tokens` includes reasoning, and
`total_tokens` is their sum (it held in all 615 recorded answers). Web searches are in no count: they are the
answer's `web_search_call` items whose action is a search; opening a page is free (OpenAI's price list).
"""

from __future__ import annotations

from typing import Any

from spendgate.dialects import openai_usage
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import JsonObject
from spendgate.dialects.texts import MODEL_CHARACTERS_MAX, short

_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
    "server_tool_use": "server_tool_use",
}

_DEFERRED = ("queued", "in_progress")
"""The status of an answer that is made in the background."""


def read(document: JsonObject) -> Reading:
    """Read a whole response. Never raises."""
    raw = document.get("usage")
    if isinstance(raw, dict):
        raw = {_NAMES[key]: value for key, value in raw.items() if key in _NAMES}
    elif raw is None and document.get("status") in _DEFERRED:
        return Reading({}, short(document.get("model"), MODEL_CHARACTERS_MAX), "deferred")
    reading = openai_usage.read(document, raw)
    if reading.problem is None and (searches := _searches(document.get("output"))):
        reading.usage["searches"] = searches
    return reading


def _searches(output: Any) -> int:
    """The web searches among the items of an answer."""
    return sum(_is_search(item) for item in output) if isinstance(output, list) else 0


def _is_search(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return not isinstance(action, dict) or action.get("type", "search") == "search"
