"""Usage that is told more than once within an answer: it only grows. Pure.

Some providers send a last chunk of zeros, or a last count that leaves out what an earlier one told. What was once told
was used: of two readings the side that is larger in sum counts, input and output each for itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from spendgate.dialects.base import Reading
from spendgate.dialects.wire.json_read import JsonObject, count_of
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS, Usage, input_total, output_total

_SIDES = frozenset(INPUT_KINDS + OUTPUT_KINDS)


def later(before: Reading | None, now: Reading) -> Reading:
    """What is known after `now` was told: the later reading, with what the earlier one had more of."""
    if before is None or before.problem is not None:
        return now
    if now.problem is not None:
        return before if now.problem == "no_usage" else now
    usage = _grown(before.usage, now.usage)
    told = now.told_nanousd
    if before.told_nanousd is not None:
        told = max(before.told_nanousd, told or 0)
    if usage == now.usage and told == now.told_nanousd:
        return replace(now, model=now.model or before.model)
    parts = now.parts if usage == now.usage else before.parts if usage == before.usage else ()
    return replace(now, usage=usage, told_nanousd=told, parts=parts, model=now.model or before.model)


def falls_back(before: Reading | None, now: Reading) -> bool:
    """Does `now` tell less output than `before`, or nothing at all? Then it says nothing of what was made since."""
    if before is None or before.problem is not None or now.problem is not None:
        return False
    return is_zero(now) or output_total(now.usage) < output_total(before.usage)


def is_zero(reading: Reading) -> bool:
    """Are all its counts zero, and is nothing else billed?"""
    return not reading.told_nanousd and not reading.usage.keys() - {"requests"}


class Streamed(Protocol):
    """The text of a stream so far."""

    @property
    def total(self) -> int:
        """Its tokens, counted."""
        ...


def believed(reading: Reading, streamed: Streamed) -> Reading:
    """The reading of a stream: counts that are all zero beside a text are no usage (`zero_usage`)."""
    if reading.problem is None and is_zero(reading) and streamed.total:
        return replace(reading, usage={}, problem="zero_usage")
    return reading


def _grown(before: Usage, now: Usage) -> Usage:
    came = now if input_total(now) >= input_total(before) else before
    went = now if output_total(now) >= output_total(before) else before
    if came is now and went is now and all(k in _SIDES or n <= now.get(k, 0) for k, n in before.items()):
        return now
    usage = {k: n for k, n in came.items() if k in INPUT_KINDS}
    usage |= {k: n for k, n in went.items() if k in OUTPUT_KINDS}
    for kind in before.keys() | now.keys():
        if kind not in _SIDES:
            usage[kind] = max(before.get(kind, 0), now.get(kind, 0))
    return usage


def lay_over(known: JsonObject, update: JsonObject) -> None:
    """Lay a later usage object over an earlier one, field by field: absent and null fields keep their value (as the
    vendors' SDKs do), and so do counts that the later one tells smaller."""
    for key, value in update.items():
        before = known.get(key)
        if value is None:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            merged = dict(before)
            lay_over(merged, value)
            known[key] = merged
            continue
        was, now = count_of(before), count_of(value)
        known[key] = before if was is not None and now is not None and now < was else value
