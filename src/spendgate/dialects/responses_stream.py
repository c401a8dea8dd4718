"""Metering of streamed OpenAI Responses."""

from __future__ import annotations

from collections.abc import Callable

from spendgate.dialects import jsonbody, responses_usage
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import object_of
from spendgate.dialects.streamed import Passage, StreamedTokens
from spendgate.dialects.texts import MODEL_CHARACTERS_MAX, short
from spendgate.usage import Usage

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_SOUND = "response.audio.delta"


class ResponsesStreamMeter:
    """Meters one stream of events. The last one holds the whole response with its usage; nothing is ever
    taken out."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._passage = Passage(self, hide=False)
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._model = ""
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
        return self._reading or Reading({}, self._model, self._unread or "truncated")

    def partial(self) -> tuple[Usage, int]:
        return dict(self._reading.usage) if self._reading else {}, self._tokens.total

    def oversize(self) -> None:
        self._unread = "truncated"

    def read(self, data: bytes, name: bytes) -> bool:
        """Read one event. False: the client sees them all."""
        if data == b"[DONE]":  # some that copy the API end as the chat API does
            return False
        try:
            event = jsonbody.parse(data)
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return False
        if not isinstance(event, dict):
            return False
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = ""
        if kind.endswith(".delta"):
            text = event.get("delta")
            if text and isinstance(text, str) and kind != _SOUND:
                self._tokens.add(text)
        elif kind in _ENDS:
            self._end(object_of(event.get("response")), failed=kind == "response.failed")
        elif kind == "error" or name == b"error" or event.get("error"):
            self._failed = True
        elif model := short(object_of(event.get("response")).get("model"), MODEL_CHARACTERS_MAX):
            self._model = model
        return False

    def _end(self, response: jsonbody.JsonObject, failed: bool) -> None:
        self._reading = responses_usage.read(response)
        # A failure that was billed says so in its usage; one without is billed by what flowed.
        self._failed = self._failed or (failed and self._reading.problem is not None)
