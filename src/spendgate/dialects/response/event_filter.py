"""What the meters of event streams have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from spendgate.dialects.wire import json_read, sse
from spendgate.usage import COUNT_MAX

PENDING_TEXTS_MAX = 1024
PENDING_CHARACTERS_MAX = 64 * 1024


class StreamedTokens:
    """Counts the tokens of streamed text piece by piece: late, since an answer that ends well never asks,
    and in lots of bounded size."""

    __slots__ = ("_characters", "_count", "_counted", "_pending")

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._pending: list[str] = []
        self._characters = 0
        self._counted = 0

    def add(self, text: str) -> None:
        """Take one streamed piece of text."""
        self._pending.append(text)
        self._characters += len(text)
        if len(self._pending) >= PENDING_TEXTS_MAX or self._characters >= PENDING_CHARACTERS_MAX:
            self._settle()

    @property
    def total(self) -> int:
        """The tokens of all pieces so far."""
        self._settle()
        return min(self._counted, COUNT_MAX)

    def _settle(self) -> None:
        for text in self._pending:
            try:
                self._counted += self._count(text)
            except UnicodeEncodeError:
                self._counted += self._count(json_read.clean(text))
        self._pending.clear()
        self._characters = 0


class EventReader(Protocol):
    """Reads the events of one dialect's stream."""

    def read(self, data: bytes, name: bytes) -> bool:
        """Take one event. Returns True where the client did not ask for it."""
        ...

    def oversize(self) -> None:
        """Part of an event too large to be read went by."""
        ...


class EventFilter:
    """Feeds an event reader and decides the bytes that go on.

    With `hide`, events that the reader disowns are taken out, all others pass byte for byte, and an event is
    held until it is whole, or can be seen to be none of those: what is held when trailers end the stream is lost.
    Without, every piece passes as it came.
    """

    __slots__ = ("_dropped_last", "_framer", "_held", "_hide", "_passed", "_reader")

    def __init__(self, reader: EventReader, *, hide: bool) -> None:
        self._reader = reader
        self._framer = sse.Framer()
        self._hide = hide
        self._held = 0
        self._passed = 0
        """So many bytes of the unfinished event went on already."""
        self._dropped_last = False

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        """Take a piece. Returns None where it may pass unchanged, else what to send instead."""
        held_before = self._held
        segments = self._framer.feed(piece)
        if end:
            segments += self._framer.close()
        dropped_any = False
        passed: list[bytes] = []
        for segment in segments:
            raw, data, name, tail, oversize, lost, _ = segment
            if not tail:
                raw, self._passed = raw[self._passed :], 0
                self._dropped_last = False
                if data is not None:
                    self._dropped_last = self._reader.read(data, name) and self._hide and not oversize
                elif lost:
                    self._reader.oversize()
            if self._dropped_last:
                dropped_any = True
            else:
                passed.append(raw)
        if not self._hide:
            return None
        self._held = self._framer.held - self._passed
        if self._held and (whole := self._framer.looks_whole()) and _is_shown(sse.data_of(whole)):
            passed.append(whole[self._passed :])
            self._passed, self._held = len(whole), 0
        if not (dropped_any or held_before or self._held):
            return None
        return b"".join(passed)


def _is_shown(data: bytes) -> bool:
    """Is this event, as far as it came, one that no reader disowns?"""
    if data == b"[DONE]":
        return True
    try:
        chunk = json_read.object_of(json_read.parse(data))
    except json_read.NotJson:
        return False
    return bool(chunk) and (chunk.get("usage") is None or bool(chunk.get("choices")))
