"""How much work a JSON text would be, told by its bytes before it is parsed. Pure.

A parser holds the interpreter's lock while it builds its objects, and 31 MB of `{},{},…` become ten million of
them: 1.2 GB, and seconds in which a worker answers nobody. Searching bytes is some hundred times cheaper than
building objects: 31 MB take 25 ms, and texts up to `SCANNED_ABOVE` nothing, since they cannot hold so many.
"""

from __future__ import annotations

from typing import AnyStr

import orjson

WORK_MAX = 1_000_000
"""The most work of one text: a million values, or a quarter of a million objects and arrays. That is at most some
50 MB of objects, made in 25 ms; the largest batch of token arrays that OpenAI takes (300,000) is a third."""
CONTAINER = 4
"""An object or array is so much more work than a plain value."""
SCANNED_ABOVE = WORK_MAX * len("[]") // CONTAINER
"""A shorter text is never too much: nothing is more work a byte than empty arrays in each other."""

LIGHT_BYTES = 512 * 1024
LIGHT_CONTAINERS = 4_000
"""Reading so many objects takes some two milliseconds."""
_SURELY_LIGHT_BYTES = 32 * 1024
_SLICE = 4 * 1024 * 1024
_RUN_MAX = 64
_BACKSLASH = 0x5C
LEAP_BYTES = 512
HEAD_BYTES = 8 * 1024
"""Finding the next of a rare byte reads some 30 bytes a nanosecond, where counting reads 4; each find costs as much as
counting `LEAP_BYTES` does. So one leaps from one to the next as long as that is cheaper, beginning with so many bytes
of patience."""


def count(text: AnyStr, mark: AnyStr) -> int:
    """`text.count(mark)` of one byte or character, faster where it is rare."""
    if len(text) <= HEAD_BYTES:
        return text.count(mark)
    found, at = 0, text.find(mark)
    while at >= 0:
        if found * LEAP_BYTES > at + HEAD_BYTES:
            return found + text.count(mark, at)
        found, at = found + 1, text.find(mark, at + 1)
    return found


def is_too_much(text: bytes) -> bool:
    """Would parsing make more of it than `WORK_MAX`?"""
    if len(text) <= SCANNED_ABOVE:
        return False
    few = _work_of_few_strings(text)
    if few is not None:
        return few > WORK_MAX
    return _work(text) > WORK_MAX and _work_outside_strings(text) > WORK_MAX


def is_light(text: bytes) -> bool:
    """Is it read in a moment, so that a thread for it would cost more than it gives?"""
    if len(text) <= _SURELY_LIGHT_BYTES:
        return True
    few = len(text) <= LIGHT_BYTES and count(text, b"{") + count(text, b"[") <= LIGHT_CONTAINERS
    return few and _is_strict(text)


def _is_strict(text: bytes) -> bool:
    """Is it JSON to the letter? What is not is read word by word (loose.py), in some hundred times the time."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _work(text: bytes) -> int:
    """The work of a text if nothing of it stood in a string: a value is followed by a comma, or ends its
    container."""
    return CONTAINER * (text.count(b"{") + text.count(b"[")) + text.count(b",")


def _work_of_few_strings(text: bytes) -> int | None:
    """The work outside of strings, where so few stand in the text that leaping from quote to quote is cheaper than
    looking at each byte; None where there are many, or long runs of backslashes before one."""
    outside: list[bytes] = []
    begin, in_string, leaps, at = 0, False, 0, text.find(b'"')
    while at >= 0:
        if leaps * LEAP_BYTES > at + HEAD_BYTES:
            return None
        backslashes = _backslashes(text, at)
        if backslashes == _RUN_MAX:
            return None
        if backslashes % 2 == 0:
            if not in_string:
                outside.append(text[begin:at])
            begin, in_string = at, not in_string
        leaps, at = leaps + 1, text.find(b'"', at + 1)
    if not in_string:
        outside.append(text[begin:])
    return _work(b" ".join(outside))


def _backslashes(text: bytes, at: int) -> int:
    """How many stand right before this place, `_RUN_MAX` at most."""
    if at == 0 or text[at - 1] != _BACKSLASH:
        return 0
    before = text[max(0, at - _RUN_MAX) : at]
    return len(before) - len(before.rstrip(b"\\"))


def _work_outside_strings(text: bytes) -> int:
    """The same without what stands in strings (prompts of CSV, of code, of JSON). Stops where it is too much; slice
    by slice, so that other threads have their turn."""
    work, position, in_string = 0, 0, False
    while position < len(text) and work <= WORK_MAX:
        end = min(position + _SLICE, len(text))
        while end < len(text) and text[end - 1] == _BACKSLASH:
            end += 1  # an escape is not cut in two
        piece = text[position:end]
        position = end
        if b"\\" in piece:  # what is escaped goes, so that each quote left begins or ends a string
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        strings = piece.count(b'"')
        if strings > 2 * WORK_MAX:
            return strings
        parts = piece.split(b'"')
        work += _work(b" ".join(parts[1 if in_string else 0 :: 2]))
        in_string ^= strings % 2 == 1
    return work
