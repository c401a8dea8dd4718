"""What the meters have in common whose usage comes whole, in one event of the stream, by the stream's framing:
server-sent events, objects of JSON one after the other, or Amazon's binary messages.

A dialect says in `take` what its events mean: it sets `_reading` at the one with the usage
and `_failed` at an error, and gives texts to `_add`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from spendgate.dialects.base import Reading
from spendgate.dialects.response.event_filter import EventFilter, StreamedTokens
from spendgate.dialects.response.growing import believed
from spendgate.dialects.wire import eventstream, json_stream
from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.usage import Usage


class UsageMeter(ABC):
    """Meters one stream, whatever its framing."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._model = ""
        self._failed = False
        self._unread = ""
        self._hidden = False

    @abstractmethod
    def feed(self, piece: bytes, end: bool) -> bytes | None:
        """See `StreamMeter`."""

    @property
    def complete(self) -> bool:
        return self._reading is not None

    @property
    def failed(self) -> bool:
        return self._failed

    @property
    def hidden(self) -> bool:
        return self._hidden

    def result(self) -> Reading:
        reading = self._reading
        if reading is None:
            return Reading({}, self._model, self._unread or "truncated")
        return believed(reading, self._tokens)

    def partial(self) -> tuple[Usage, int]:
        return dict(self._reading.usage) if self._reading else {}, self._tokens.total

    def oversize(self) -> None:
        """Part of an event too large to be read went by."""
        self._unread = "truncated"

    def _add(self, text: object) -> None:
        """Count what was streamed, if it is text."""
        if text and isinstance(text, str):
            self._tokens.add(text)

    def _add_json(self, value: object) -> None:
        """Count what was streamed as data (a tool call) by its JSON."""
        try:
            self._tokens.add(jsonbody.dumps(value))
        except jsonbody.NotJson:
            self._garbled()

    def _parsed(self, data: bytes) -> JsonObject | None:
        """The object that an event holds, an empty one where it is another value; None where it is no JSON."""
        try:
            return object_of(jsonbody.parse(data))
        except jsonbody.NotJson:
            self._garbled()
            return None

    def _garbled(self) -> None:
        self._unread = self._unread or "not_json"


class EventMeter(UsageMeter):
    """Meters server-sent events. With `hide` those that the client did not ask for are taken out."""

    def __init__(self, *, count: Callable[[str], int], hide: bool = False) -> None:
        super().__init__(count=count)
        self._filter = EventFilter(self, hide=hide)

    @abstractmethod
    def take(self, event: JsonObject, name: bytes) -> bool | None:
        """Read one event; `name` is that of its `event:` line. True where the client did not ask for it."""

    def done(self) -> None:
        """`[DONE]` came: the end of the chat API's streams, and of some that copy another API."""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        return self._filter.feed(piece, end)

    def read(self, data: bytes, name: bytes) -> bool:
        """Read one event. True where the client did not ask for it."""
        if data == b"[DONE]":
            self.done()
            return False
        event = self._parsed(data)
        return event is not None and bool(self.take(event, name))


class ObjectMeter(UsageMeter):
    """Meters objects of JSON, one a line."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._framer = json_stream.Framer()

    @abstractmethod
    def take(self, event: JsonObject) -> None:
        """Read one object."""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        for raw in self._framer.feed(piece):
            if raw is None:
                self.oversize()
            elif (event := self._parsed(raw)) is not None:
                self.take(event)
        return None


class MessageMeter(UsageMeter):
    """Meters the messages of Amazon's event stream. Those that are no events are errors."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        super().__init__(count=count)
        self._framer = eventstream.Framer()

    @abstractmethod
    def take(self, event: JsonObject, kind: str) -> None:
        """Read one event; `kind` is its `:event-type`."""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        for message in self._framer.feed(piece):
            if message.headers.get(":message-type", "event") != "event":
                self._failed = True
            elif (event := self._parsed(message.payload)) is not None:
                self.take(event, message.headers.get(":event-type", ""))
        if self._framer.broken:
            self._garbled()
        return None
