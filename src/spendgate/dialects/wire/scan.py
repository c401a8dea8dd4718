"""How much work a JSON text would be, told by its bytes before it is parsed. Pure.

A parser holds the interpreter's lock while it builds its objects, and 31 MB of `{},{},…` become ten million of
them: 1.2 GB, and seconds in which a worker answers nobody. Searching bytes is some hundred times cheaper than
building objects: 31 MB take 25 ms, and texts up to `SCANNED_ABOVE` nothing, since they cannot hold so many.
"""

from __future__ import annotations

import re
from functools import cache
from typing import AnyStr

WORK_MAX = 1_000_000
"""The most work of one text: a million values, or a quarter of a million objects and arrays. That is at most some
50 MB of objects, made in 25 ms; the largest batch of token arrays that OpenAI takes (300,000) is a third."""
CONTAINER = 4
"""An object or array is so much more work than a plain value."""
SCANNED_ABOVE = WORK_MAX * len("[]") // CONTAINER
"""A shorter text is never too much: nothing is more work a byte than empty arrays in each other."""

LIGHT_BYTES = 960 * 1024
LIGHT_PROSE_BYTES = 2560 * 1024
"""Reading so much takes a millisecond of prose in ASCII, two of any other."""
LIGHT_CONTAINERS = 4_000
"""Reading so many objects takes some two milliseconds. A text of `LIGHT_BYTES` that has no more is never too much."""
_PROSE_SAMPLE = 16 * 1024
_PROSE_BYTES_AN_ESCAPE = 32
_SHORT_BYTES = 32 * 1024
_SLICE = 4 * 1024 * 1024
_STEP = 64 * 1024
"""So much is looked at at once: it stays in the cache, and other threads have their turn in between."""
_RUN_MAX = 64
_BACKSLASH = 0x5C
_TWO_BACKSLASHES = b"\\\\"
LEAP_BYTES = 512
HEAD_BYTES = 8 * 1024
"""Finding the next of a rare byte reads some 30 bytes a nanosecond, where counting reads 4; each find costs as much as
counting `LEAP_BYTES` does. So one leaps from one to the next as long as that is cheaper, beginning with so many bytes
of patience."""


def count(text: AnyStr, mark: AnyStr) -> int:
    """`text.count(mark)` of one byte or character, faster where it is rare."""
    if len(text) <= HEAD_BYTES:
        return text.count(mark)
    found, at = _leap(text, mark)
    return found if at < 0 else found + text.count(mark, at)


def _leap(text: AnyStr, mark: AnyStr) -> tuple[int, int]:
    """How many there are as far as they are rare, and from where on they no longer are: -1 where they are all
    through."""
    found, at = 0, text.find(mark)
    while at >= 0:
        if found * LEAP_BYTES > at + HEAD_BYTES:
            break
        found, at = found + 1, text.find(mark, at + 1)
    return found, at


def find(text: bytes, word: bytes, *, rare: int) -> int:
    """`text.find(word)`, which has a rare byte at the place `rare`: leapt to as long as it is."""
    if len(text) <= HEAD_BYTES:
        return text.find(word)
    mark, leaps = word[rare : rare + 1], 0
    at = text.find(mark, rare)
    while at >= 0:
        begin = at - rare
        if leaps * LEAP_BYTES > at + HEAD_BYTES:
            found = _pattern(word).search(text, begin)
            return -1 if found is None else found.start()
        if text.startswith(word, begin):
            return begin
        leaps, at = leaps + 1, text.find(mark, at + 1)
    return -1


@cache
def _pattern(word: bytes) -> re.Pattern[bytes]:
    """A pattern finds a few letters in half the time that `bytes.find` takes."""
    return re.compile(re.escape(word))


def is_too_much(text: bytes) -> bool:
    """Would parsing make more of it than `WORK_MAX`?"""
    if len(text) <= SCANNED_ABOVE:
        return False
    few = _work_of_few_strings(text)
    if few is not None:
        return few > WORK_MAX
    return not _is_surely_little(text) and _work_outside_strings(text) > WORK_MAX and _work(text) > WORK_MAX


def is_short(text: bytes) -> bool:
    """Is it read in a moment whatever it is?"""
    return len(text) <= _SHORT_BYTES


def has_few_parts(text: bytes) -> bool:
    """Is it parsed in a moment?"""
    if len(text) <= LIGHT_BYTES:
        return count(text, b"{") + count(text, b"[") <= LIGHT_CONTAINERS
    if len(text) > LIGHT_PROSE_BYTES or not _is_prose(text):
        return False
    (braces, no_further), (brackets, nor_these) = _leap(text, b"{"), _leap(text, b"[")
    return no_further < 0 and nor_these < 0 and braces + brackets <= LIGHT_CONTAINERS


def _is_prose(text: bytes) -> bool:
    """Are these letters of ASCII with few escapes, as far as some of it shows? Each escape is a step of its own."""
    places = (0, len(text) // 2, len(text) - _PROSE_SAMPLE)
    escapes = sum(text.count(b"\\", at, at + _PROSE_SAMPLE) for at in places)
    return escapes * _PROSE_BYTES_AN_ESCAPE <= len(places) * _PROSE_SAMPLE and text.isascii()


def _is_surely_little(text: bytes) -> bool:
    """Is its work at most `WORK_MAX`, whatever of it stands in strings? Looks no further than until no rest could be
    too much. Where braces are rare they are leapt to; else all that counts is taken for them, in one pass."""
    left, marks, weight = WORK_MAX, b"{[,", CONTAINER
    (braces, no_further), (brackets, nor_these) = _leap(text, b"{"), _leap(text, b"[")
    if no_further < 0 and nor_these < 0:
        left, marks, weight = left - CONTAINER * (braces + brackets), b",", 1
    at, end = 0, len(text)
    while (end - at) * weight > left:
        if left < 0:
            return False
        piece = text[at : at + _STEP]
        left -= weight * (len(piece) - len(piece.translate(None, marks)))
        at += len(piece)
    return left >= 0


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
    """The same without what stands in strings (prompts of CSV, of code, of JSON). Stops where it is too much, of values
    or of strings."""
    work, position, slice_end, strings, in_string = 0, 0, 0, 0, False
    while position < len(text) and work <= WORK_MAX:
        if position == slice_end:
            slice_end, strings = _end(text, position + _SLICE), 0
        end = min(_end(text, position + _STEP), slice_end)
        piece, position = text[position:end], end
        if b"\\" in piece and _pattern(_TWO_BACKSLASHES).search(piece) is not None:
            piece = piece.replace(_TWO_BACKSLASHES, b"")
        quotes = piece.count(b'"')
        escaped = piece.count(b'\\"') if quotes else 0
        quotes -= escaped
        strings += quotes
        if strings > 2 * WORK_MAX:
            return strings
        if quotes:  # what is escaped goes, so that each quote left begins or ends a string
            parts = (piece.replace(b'\\"', b"") if escaped else piece).split(b'"')
            work += _work(b" ".join(parts[1 if in_string else 0 :: 2]))
            in_string ^= quotes % 2 == 1
        elif not in_string:
            work += _work(piece)
    return work


def _end(text: bytes, end: int) -> int:
    """The next place from here on at which no escape is cut in two."""
    end = min(end, len(text))
    while end < len(text) and text[end - 1] == _BACKSLASH:
        end += 1
    return end
