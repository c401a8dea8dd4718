"""Numbers as clients write them and lenient providers take them. Pure."""

from __future__ import annotations

import math
import re

from spendgate.usage import COUNT_MAX

CHARACTERS_MAX = 400
"""A longer number in a string is none."""
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d{1,9})?")


def number_of(value: object) -> float | None:
    """A number, also one in a string (protobuf's JSON, pydantic's lax mode); None for all else. What no float can
    hold is infinite."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
        return None if math.isnan(number) else number
    if not isinstance(value, str) or len(value) > CHARACTERS_MAX:
        return None
    text = value.strip()
    if text.lower() in ("infinity", "+infinity", "inf", "+inf"):
        return math.inf
    if _NUMBER.fullmatch(text) is None:
        return None
    return float(text.replace("_", ""))


def count_asked(value: object) -> int | None:
    """A positive count that a request asks for, a fraction rounded up, and nothing above `COUNT_MAX`; None for
    what is no positive number (the provider will refuse or ignore it)."""
    if value is None:
        return None
    if type(value) is int and 0 < value <= COUNT_MAX:
        return value
    number = number_of(value)
    if number is None or number <= 0:
        return None
    return COUNT_MAX if number >= COUNT_MAX else math.ceil(number)


def truth_of(value: object) -> bool:
    """A truth, written as such or as lenient parsers take it: `true`, `yes`, `on`, `1`."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "t", "yes", "y", "on", "1")
    return value is True or (type(value) in (int, float) and value == 1)
