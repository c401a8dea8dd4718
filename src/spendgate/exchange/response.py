"""A provider's answer as its body comes: collected whole, or metered as it streams. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import NO_HEADERS, Dialect, Reading, RequestFacts
from spendgate.dialects.response.header_usage import with_headers
from spendgate.dialects.response.visible import visible_text
from spendgate.dialects.wire.content_coding import Decoder, EncodingError, codings
from spendgate.dialects.wire.elide import Elider
from spendgate.dialects.wire.json_read import NotJson, parse
from spendgate.dialects.wire.sse import boundary
from spendgate.dialects.wire.traits import StreamTerminator
from spendgate.exchange import billing, tools
from spendgate.exchange.billing import Bill, Tariff
from spendgate.exchange.events import BodyMode
from spendgate.records.outcome import Outcome
from spendgate.tokens.count import count

LOOK_PIECES = 8
"""A stream with a limit is priced anew every so many pieces."""
PIECES_MAX = 64 * 1024 * 1024
"""The largest answer that is collected to be read, what fills it left out; a longer one is settled at the estimate."""
EVENTS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How a stream of server-sent events begins, whatever it is labelled as."""
HEAD_BYTES = 8 * 1024
"""So much of a stream's beginning tells whether it is the API's that was asked."""
NDJSON = "application/x-ndjson"
TEXTS = frozenset({"", "text/plain", "text/html", "application/octet-stream", "binary/octet-stream"})
"""Labels that say nothing of what the body is."""


class WholeResponse:
    """A JSON answer. Envoy shows it in one piece, in several where its filter is set otherwise, or as it flows where it
    may be large (`flowing`): then it is read without what fills it, and cost headers cannot be set any more."""

    def __init__(
        self, dialect: Dialect, decoder: Decoder | None, headers: Mapping[str, str], *, flowing: bool = False
    ) -> None:
        self._dialect = dialect
        self._headers = headers
        self._decoder = decoder
        self._pieces: list[bytes] = []
        self._size = 0
        self._elider = Elider() if flowing else None
        self._broken = ""
        self.mode = BodyMode.STREAMED if flowing else BodyMode.BUFFERED

    @property
    def is_packed(self) -> bool:
        """Is it compressed?"""
        return self._decoder is not None

    def feed(self, data: bytes, end: bool) -> Reading | None:
        """Take a piece; the reading once all is there (or too much), else None."""
        if self._elider is not None:
            return self._flow(self._elider, data, end)
        is_first = not self._pieces
        self._pieces.append(data)
        self._size += len(data)
        if not end:
            if self._size > PIECES_MAX:
                return Reading({}, problem="too_large")
            return self._ended_by_trailers(data) if is_first and data else None
        body = b"".join(self._pieces)
        self._pieces = []
        return self._read(body)

    def _flow(self, elider: Elider, data: bytes, end: bool) -> Reading | None:
        decoder = self._decoder
        if not self._broken:
            try:
                plain = data if decoder is None else decoder.feed(data) + (decoder.close() if end else b"")
            except EncodingError:
                self._broken = "encoding"
            else:
                kept = elider.feed(plain)
                self._size += len(kept)
                self._pieces.append(kept)
        if self._size > PIECES_MAX:
            self._broken, self._pieces, self._size = "too_large", [], 0
        if not end:
            return None
        if self._broken:
            return Reading({}, problem=self._broken)
        return self._read_plain(b"".join(self._pieces))

    def _ended_by_trailers(self, data: bytes) -> Reading | None:
        """The reading of an answer that is whole though its end has not come: trailers follow it."""
        if self._decoder is None and data.rstrip()[-1:] not in (b"}", b"]"):
            return None
        reading = self._read(data)
        if reading.problem in ("not_json", "truncated", "encoding"):
            if self._decoder is not None:
                self._decoder = Decoder(self._headers.get("content-encoding", ""))
            return None
        return reading

    def _read(self, body: bytes) -> Reading:
        decoder = self._decoder
        try:
            body = body if decoder is None else decoder.feed(body) + decoder.close()
        except EncodingError:
            return Reading({}, problem="encoding")
        return self._read_plain(body)

    def _read_plain(self, body: bytes) -> Reading:
        if not body.lstrip().startswith(EVENTS):
            return with_headers(self._dialect.read_answer(body, self._headers), self._headers)
        meter = self._dialect.stream_meter(hide_usage=False, count=count)  # a stream that nobody asked for
        meter.feed(body, True)
        return meter.result()


class UndecidedResponse:
    """An answer whose label does not fit what was asked for: its first bytes tell what it is. It flows meanwhile."""

    mode = BodyMode.STREAMED
    is_packed = False

    def __init__(self, dialect: Dialect, headers: Mapping[str, str], hide_usage: bool) -> None:
        self._dialect, self._headers, self._hide_usage = dialect, headers, hide_usage

    def decide(self, data: bytes, end: bool) -> StreamedResponse | WholeResponse | None:
        """What it is, by the first piece that is not blank; None before that."""
        head = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:6]
        if not head and not end:
            return None
        dialect = self._dialect
        objects = head[:1] == b"{" and dialect.streams(NDJSON, True)
        if objects or any(head.startswith(e) or e.startswith(head) for e in EVENTS if head):
            return StreamedResponse(dialect, None, self._hide_usage, self._headers)
        return WholeResponse(dialect, None, self._headers, flowing=True)


class StreamedResponse:
    """An event stream. Bytes are replaced only where usage is hidden, and never in a compressed one."""

    mode = BodyMode.STREAMED

    def __init__(
        self,
        dialect: Dialect,
        decoder: Decoder | None,
        hide_usage: bool,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """`headers`: the answer's; they may tell a service tier, or cached tokens."""
        self._dialect, self._headers, self._tier = dialect, headers, dialect.served_tier(headers)
        self.hides_usage = hide_usage and decoder is None
        """Is a usage that the client did not ask for taken out of it?"""
        self._meter = dialect.stream_meter(hide_usage=self.hides_usage, count=count)
        self._decoder = decoder
        self._unreadable = False
        self._head = b""
        self._terminator: StreamTerminator | None = None
        self._limit_nanousd = 0
        self._since_look = 0
        self._is_over = False

    def may_cost(self, limit_nanousd: int) -> None:
        """End the stream when it has cost more than this (`cutStreams`). It stays not `limited` where that is not
        possible: a compressed stream, or a dialect whose streams we do not know how to end."""
        terminator = self._dialect.stream_terminator() if self._decoder is None else None
        if terminator is not None:
            self._terminator, self._limit_nanousd = terminator, limit_nanousd
            self.mode = BodyMode.DUPLEX

    def limit(self, limit_nanousd: int) -> None:
        """It may cost so much from now on."""
        self._limit_nanousd = limit_nanousd

    def end_if_over(self, tariff: Tariff, sent: str, input_tokens: int, piece: bytes) -> bytes | None:
        """Where the money is used up: what the client gets of this last piece, the polite end included.

        Looked at every few pieces; the cut itself waits for an event's end. None: go on.
        """
        if self._terminator is None:
            return None
        self._terminator.see(piece)
        self._since_look += 1
        if not self._is_over and self._since_look >= LOOK_PIECES:
            self._since_look = 0
            self._is_over = self.flowed(tariff, sent, input_tokens, 0).cost_nanousd > self._limit_nanousd
        at = boundary(piece) if self._is_over else -1
        if at < 0:
            return None
        return piece[:at] + self._terminator.end(self.model or sent, self._meter.partial()[1])

    @property
    def is_packed(self) -> bool:
        """Is it compressed?"""
        return self._decoder is not None

    @property
    def limited(self) -> bool:
        """Must every piece be looked at, since it may be ended early?"""
        return self._terminator is not None

    @property
    def model(self) -> str:
        """The model that says it answers ("" until it does)."""
        return self._meter.result().model

    @property
    def metered(self) -> bool:
        """Has its usage come?"""
        return self._meter.complete and self._meter.result().problem is None

    def feed(self, data: bytes, end: bool) -> bytes | None:
        """Take a piece. None: it may pass as it is; else the bytes to send instead."""
        decoder = self._decoder
        if decoder is None:
            self._remember(data)
            return self._meter.feed(data, end)
        if not self._unreadable:
            try:
                plain = decoder.feed(data) + (decoder.close() if end else b"")
                self._remember(plain)
                self._meter.feed(plain, end)
            except EncodingError:
                self._unreadable = True
        return None

    @property
    def hidden(self) -> bool:
        """Does what was seen of it show that more may be billed than flowed?"""
        return self._meter.hidden or self._is_foreign()

    def _remember(self, data: bytes) -> None:
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]

    def _is_foreign(self) -> bool:
        """Did it begin with text of which nothing was counted? Then it is another API's stream (a proxy answers in its
        own way), and its tokens were not seen."""
        if self._meter.partial()[1]:
            return False
        for line in self._head.splitlines():
            try:
                event = parse(line.removeprefix(b"data:"))
            except NotJson:
                continue
            if visible_text(event):
                return True
        return False

    @property
    def failed(self) -> bool:
        """Was an error seen in it?"""
        return self._meter.failed

    def bill(self, tariff: Tariff, sent: str, input_tokens: int, held: int) -> Bill | None:
        """What it costs by what it said itself, its end included; None where it has not. `input_tokens`: the input as
        counted, for a usage that leaves it out."""
        if self._unreadable:
            return billing.at_hold(held, "encoding")
        reading = billing.with_input(self._reading(sent), input_tokens)
        return billing.metered(tariff, sent, self._meter, reading, held)

    def bill_of_calls(self, tariff: Tariff, sent: str, facts: RequestFacts, held: int) -> Bill | None:
        """What the calls of tools cost that it answers; None where it has not answered all."""
        if self._unreadable:
            return billing.at_hold(held, "encoding")
        reading = tools.settled(facts, self._reading(sent))
        if reading.error:
            return Bill({}, 0, Outcome.FAILED)
        return billing.whole_answer(tariff, sent, reading, held) if reading.problem is None else None

    @property
    def shows_text(self) -> bool:
        """Was something of what the model made seen, and no error?"""
        return not self.failed and self._meter.partial()[1] > 0

    def told(self, tariff: Tariff, sent: str) -> Bill | None:
        """What the provider told so far that it charges; for a stream that ended cleanly without more."""
        return None if self._unreadable or self.failed else billing.told(tariff, sent, self._meter.result())

    def flowed(self, tariff: Tariff, sent: str, input_tokens: int, held: int) -> Bill:
        """What flowed of it so far."""
        reading = self._reading(sent)
        return billing.flowed(tariff, sent, self._meter, reading, input_tokens, held, Outcome.ABORTED)

    def counted(self, tariff: Tariff, sent: str, input_tokens: int, held: int) -> Bill:
        """What it costs by what flowed, all of which was seen."""
        return billing.by_count(self.flowed(tariff, sent, input_tokens, held), self._reading(sent))

    def _reading(self, sent: str) -> Reading:
        reading = with_headers(self._dialect.of_model(self._meter.result(), sent), self._headers)
        return (
            replace(reading, service_tier=self._tier) if self._tier and not reading.service_tier else reading
        )


Response = WholeResponse | StreamedResponse | UndecidedResponse


def open_response(
    dialect: Dialect, headers: Mapping[str, str], end: bool, facts: RequestFacts | None, max_body_bytes: int
) -> Response | str:
    """How to meter a successful answer, by its headers and what was asked (None: the request could not be
    read); a text says why it cannot be (`unmetered`)."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    asked = facts is not None and facts.stream
    hide = facts is not None and facts.usage_hidden
    if end:
        return "empty"
    encoding = headers.get("content-encoding", "")
    try:
        decoder = Decoder(encoding) if codings(encoding) else None
    except EncodingError:
        return "encoding"
    if dialect.streams(kind, asked):
        return StreamedResponse(dialect, decoder, hide, headers)
    reads = dialect.reads(kind)
    if decoder is None and (asked or not reads) and (kind in TEXTS or kind.endswith("json")):
        return UndecidedResponse(dialect, headers, hide)
    if not reads:
        return "content_type"
    size = headers.get("content-length", "")
    large = (size.isdigit() and int(size) > max_body_bytes) or (
        facts is not None and dialect.may_be_large(facts)
    )
    return WholeResponse(dialect, decoder, headers, flowing=large)
