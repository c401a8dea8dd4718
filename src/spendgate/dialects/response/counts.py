"""Counts as usage objects tell them. Pure."""

from __future__ import annotations

import math

from spendgate.dialects.wire.json_read import JsonObject, count_of
from spendgate.usage import COUNT_MAX, KINDS, Usage


class BadUsage(ValueError):
    """A count is negative, broken, of a wrong type, or not to be believed."""


def required(raw: JsonObject, key: str) -> int:
    """A count that has to be there. Raises BadUsage."""
    return _count(raw.get(key), key)


def optional(raw: JsonObject, key: str) -> int:
    """A count that may be absent or null (vLLM writes null). Raises BadUsage."""
    value = raw.get(key)
    return 0 if value is None else _count(value, key)


def _count(value: object, key: str) -> int:
    if type(value) is int and 0 <= value <= COUNT_MAX:  # as nearly all are
        return value
    count = count_of(value)
    if count is None:
        raise BadUsage(key)
    return count


def seconds_of(value: object) -> int:
    """A length in seconds, rounded up. Raises BadUsage."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as e:
            raise BadUsage("seconds") from e
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= COUNT_MAX:
        raise BadUsage("seconds")
    return math.ceil(value)


def believable(usage: Usage) -> Usage:
    """The usage as it is. Raises BadUsage where its counts add up to more than any model can use."""
    if sum(usage.values()) > 2 * COUNT_MAX:
        raise BadUsage("the counts add up to more than any model can use")
    return usage


def tidy(usage: Usage) -> Usage:
    """The kinds that are there, in their order."""
    return {kind: usage[kind] for kind in KINDS if usage.get(kind)}
