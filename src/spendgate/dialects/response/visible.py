"""The text of a whole answer whose usage is missing or cannot be true: what a person would see of it is counted then.

One walk serves all APIs: their answers keep what the model made under the same few keys.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.response.growing import is_zero
from spendgate.dialects.wire import json_read

_MADE = frozenset({
    "choices", "message", "content", "candidates", "parts", "output", "outputs", "generations", "results", "response",
    "text", "outputText", "generation", "completion", "completions", "reasoning", "reasoning_content", "refusal",
    "thinking", "tool_calls", "toolCalls", "function", "function_call", "functionCall", "toolUse", "tool_use",
    "summary", "transcript", "delta",
})  # fmt: skip
_ARGUMENTS = frozenset({"arguments", "input", "args", "partial_json", "executableCode"})
"""What a tool is called with: a text, or an object that was made as its JSON."""
DEPTH_MAX = 24


def visible_text(document: object) -> str:
    """What the model made, as far as the answer shows it; "" where it shows nothing. Never raises."""
    found: list[str] = []
    _walk(document, found, 0)
    return "\n".join(found)


def without_usage(reading: Reading, document: object) -> Reading:
    """A reading whose counts are missing, or all zero beside a text: `no_usage` or `zero_usage`, with the text."""
    if reading.problem is None:
        if not is_zero(reading):
            return reading
        text = visible_text(document) if "unbilled_refusal" not in reading.flags else ""
        return replace(reading, usage={}, problem="zero_usage", text=text) if text else reading
    if reading.problem != "no_usage":
        return reading
    return replace(reading, text=visible_text(document))


def _walk(value: Any, found: list[str], depth: int) -> None:
    if depth > DEPTH_MAX:
        return
    if isinstance(value, str):
        if value:
            found.append(value)
    elif isinstance(value, list):
        for each in value:
            _walk(each, found, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in _MADE:
                _walk(each, found, depth + 1)
            elif key in _ARGUMENTS and each:
                found.append(each if isinstance(each, str) else _json(each))


def _json(value: object) -> str:
    try:
        return json_read.dumps(value)
    except json_read.NotJson:
        return ""
