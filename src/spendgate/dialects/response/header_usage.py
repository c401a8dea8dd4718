"""Usage that stands in an answer's headers alone: Fireworks tells cached tokens there, and not in the body. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import Reading

CACHED = "fireworks-cached-prompt-tokens"


def with_headers(reading: Reading, headers: Mapping[str, str]) -> Reading:
    """The reading, with the cached part of its input as the headers tell it, where the body tells none."""
    told = headers.get(CACHED, "")
    usage = reading.usage
    if reading.problem is not None or not told.isdecimal() or len(told) > 12 or usage.get("cached_input"):
        return reading
    cached = min(int(told), usage.get("input", 0))
    if not cached:
        return reading
    split = {**usage, "input": usage["input"] - cached, "cached_input": cached}
    return replace(reading, usage={kind: n for kind, n in split.items() if n})
