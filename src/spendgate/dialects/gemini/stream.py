"""Metering of streamed Gemini answers: events, or (without `alt=sse`) the elements of one JSON array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spendgate.dialects.base import Reading
from spendgate.dialects.gemini import usage as gemini_usage
from spendgate.dialects.response.growing import believed
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire import json_stream
from spendgate.dialects.wire.json_read import JsonObject, list_of, object_of
from spendgate.usage import Usage


class GeminiStreamMeter(EventMeter):
    """Meters one stream of chunks, each a `GenerateContentResponse`.

    Every chunk carries usage so far; a later one is laid over it field by field, since early ones lack
    fields. How the chunks are framed shows in the first byte.
    """

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._array: json_stream.Framer | None = None
        self._begun = False
        self._usage: JsonObject = {}
        self._fees: Usage = {}
        self._broken = False
        self._finished = False

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        if not self._begun and (first := piece.lstrip()[:1]):
            self._begun = True
            self._array = json_stream.Framer() if first in (b"[", b"{") else None
        if self._array is None:
            return super().feed(piece, end)
        for raw in self._array.feed(piece):
            if raw is None:
                self.oversize()
            else:
                self.read(raw, b"")
        return None

    @property
    def complete(self) -> bool:
        return self._finished and bool(self._usage or self._broken)

    @property
    def hidden(self) -> bool:
        return (
            self._hidden
            or bool(self._usage.get("thoughtsTokenCount"))
            or (self._finished and not self._usage)
        )

    def result(self) -> Reading:
        if self._broken:
            return Reading({}, self._model, "bad_usage")
        if not self._usage:
            return Reading({}, self._model, self._unread or ("no_usage" if self._finished else "truncated"))
        reading = gemini_usage.read(self._model, self._usage, self._fees)
        if reading.problem is None and not self._finished:
            return replace(reading, problem="truncated")
        return believed(reading, self._tokens)

    def partial(self) -> tuple[Usage, int]:
        return dict(gemini_usage.read(self._model, self._usage).usage), self._tokens.total

    def take(self, chunk: JsonObject, name: bytes) -> None:
        if chunk.get("error") or name == b"error":
            self._failed = True
        self._model = gemini_usage.model_of(chunk) or self._model
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict):
            gemini_usage.lay_over(self._usage, usage)
        elif usage is not None:
            self._broken = True
        for kind, n in gemini_usage.fees_of(chunk, self._model).items():
            self._fees[kind] = max(self._fees.get(kind, 0), n)
        if object_of(chunk.get("promptFeedback")).get("blockReason"):
            self._finished = True
        candidates = chunk.get("candidates")
        for candidate in list_of(candidates):
            if isinstance(candidate, dict):
                self._read_candidate(candidate)

    def _read_candidate(self, candidate: dict[str, Any]) -> None:
        if candidate.get("finishReason"):
            self._finished = True
        parts = object_of(candidate.get("content")).get("parts")
        for part in list_of(parts):
            if not isinstance(part, dict):
                continue
            if part.get("thought") or part.get("thoughtSignature"):
                self._hidden = True
            if (text := part.get("text")) and isinstance(text, str):
                self._tokens.add(text)
            elif call := part.get("functionCall") or part.get("executableCode"):
                self._add_json(call)
