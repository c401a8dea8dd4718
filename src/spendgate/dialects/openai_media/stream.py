"""Metering of OpenAI's streamed images, transcripts and speech: the last event tells the usage."""

from __future__ import annotations

from collections.abc import Callable

from spendgate.dialects.base import Reading
from spendgate.dialects.response.meters import EventMeter
from spendgate.dialects.wire.json_read import JsonObject


class MediaStreamMeter(EventMeter):
    """Edited and several images end with an event each: their usage adds up."""

    def __init__(self, read: Callable[[object], Reading], *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._read_usage = read

    def take(self, event: JsonObject, name: bytes) -> None:
        given = event.get("type")
        kind = given if isinstance(given, str) else ""
        if kind.endswith((".completed", ".done")):
            self._sum(self._read_usage(event))
        elif kind == "error" or name == b"error" or event.get("error"):
            self._failed = True
        elif kind == "transcript.text.delta":
            self._add(event.get("delta"))

    def _sum(self, reading: Reading) -> None:
        known = self._reading
        if known is None or known.problem is not None or reading.problem is not None:
            self._reading = reading if known is None or known.problem is None else known
            return
        kinds = {**known.usage, **reading.usage}
        usage = {kind: known.usage.get(kind, 0) + reading.usage.get(kind, 0) for kind in kinds} | {
            "requests": 1
        }
        self._reading = Reading(usage, reading.model, mismatch=known.mismatch or reading.mismatch)
