"""What the meters have in common whose usage comes whole, in one event of the stream."""

from __future__ import annotations

from collections.abc import Callable

from spendgate.dialects import jsonbody
from spendgate.dialects.base import Reading
from spendgate.dialects.jsonbody import JsonObject, object_of
from spendgate.dialects.streamed import Passage, StreamedTokens
from spendgate.usage import Usage


class EventMeter:
    """Meters one stream of events; nothing is ever taken out. A dialect says in `take` what its events mean: it
    sets `_reading` at the one with the usage, `_failed` at an error, and gives texts to `_tokens`."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._passage = Passage(self, hide=False)
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._model = ""
        self._failed = False
        self._unread = ""

    def take(self, event: JsonObject, name: bytes) -> None:
        """Read one event; `name` is that of its `event:` line. What is no JSON object comes as an empty one."""
        raise NotImplementedError

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
        if data == b"[DONE]":  # some that copy an API end as the chat API does
            return False
        try:
            event = object_of(jsonbody.parse(data))
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return False
        self.take(event, name)
        return False
