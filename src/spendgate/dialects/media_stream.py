"""Metering of OpenAI's streamed images, transcripts and speech: the last event tells the usage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.dialects import jsonbody
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import object_of
from spendgate.dialects.streamed import Passage, StreamedTokens
from spendgate.usage import Usage


class MediaStreamMeter:
    """Meters one stream of events; nothing is ever taken out. Edited and several images end with an event
    each: their usage adds up."""

    def __init__(self, read: Callable[[object], Reading], *, count: Callable[[str], int]) -> None:
        self._read_usage = read
        self._passage = Passage(self, hide=False)
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._failed = False
        self._unread = ""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        return self._passage.feed(piece, end)

    @property
    def complete(self) -> bool:
        return self._reading is not None

    @property
    def failed(self) -> bool:
        return self._failed

    def result(self) -> Reading:
        return self._reading or Reading({}, problem=self._unread or "truncated")

    def partial(self) -> tuple[Usage, int]:
        return dict(self._reading.usage) if self._reading else {}, self._tokens.total

    def oversize(self) -> None:
        self._unread = "truncated"

    def read(self, data: bytes, name: bytes) -> bool:
        """Read one event. False: the client sees them all."""
        if data == b"[DONE]":
            return False
        try:
            event: Any = object_of(jsonbody.parse(data))
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return False
        kind = event.get("type") if isinstance(event.get("type"), str) else ""
        if kind.endswith((".completed", ".done")):
            self._add(self._read_usage(event))
        elif kind == "error" or name == b"error" or event.get("error"):
            self._failed = True
        elif kind == "transcript.text.delta" and isinstance(event.get("delta"), str) and event["delta"]:
            self._tokens.add(event["delta"])
        return False

    def _add(self, reading: Reading) -> None:
        known = self._reading
        if known is None or known.problem is not None or reading.problem is not None:
            self._reading = reading if known is None or known.problem is None else known
            return
        kinds = {**known.usage, **reading.usage}
        usage = {kind: known.usage.get(kind, 0) + reading.usage.get(kind, 0) for kind in kinds} | {
            "requests": 1
        }
        self._reading = Reading(usage, reading.model, mismatch=known.mismatch or reading.mismatch)
