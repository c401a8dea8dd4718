"""One exchange as Envoy's External Processing brings it: messages ⇄ events, whichever server carries the call.

A fault of ours ends in the law of `law.py`: before the decision a team with an enforcing budget is refused; else the
exchange is told, charged at least what it may cost, counted and logged, and Envoy is answered as if we had nothing to
say. The handler itself never fails.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any

from google.protobuf.message import DecodeError

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.states import State
from spendgate.gateway import relay
from spendgate.gateway.adapters import codec, faults
from spendgate.gateway.adapters.ends import ended_by
from spendgate.gateway.adapters.line import Line, Reply, made
from spendgate.gateway.adapters.patience import Waiting
from spendgate.gateway.adapters.redirects import passes
from spendgate.gateway.adapters.slices import SLICE_BYTES, sliced
from spendgate.gateway.decision_driver import SETTLE_S, DecisionDriver, is_late
from spendgate.gateway.inflight import Seat
from spendgate.gateway.own_budget_read import respond
from spendgate.gateway.runtime import Runtime
from spendgate.identity import headers as h

UNTOLD_BYTES = 8 * 1024 * 1024
"""What a body of untold length is taken for until it is there."""
LONG_BYTES = 1024 * 1024
"""For a message of this size Envoy is asked for more time at once."""
ASK_SHARE = 0.25
"""The part of the message timeout after which Envoy is asked for more."""


class ProcessCall:
    """One exchange on the wire, whichever server carries it."""

    __slots__ = (
        "_asked", "_before", "_buffered", "_cut", "_deciding", "_duplex", "_exchange", "_is_sent", "_is_unseen",
        "_lean", "_line", "_logged", "_piece_since", "_proxy", "_reading", "_run", "_seat",
    )  # fmt: skip

    def __init__(self, runtime: Runtime, metadata: tuple[tuple[str, str], ...], line: Line) -> None:
        """`metadata`: of the gRPC call, by which Envoy tells who it is."""
        self._run = runtime
        self._proxy = codec.proxy(metadata, principals=runtime.wants_proxy)
        self._line = line
        self._logged = codec.logs_attempts(metadata)
        """Envoy's access logs tell us of every attempt."""
        self._lean = codec.logs_answers(metadata) if self._proxy.last else frozenset()
        """And of what an answer cost that we do not see."""
        self._seat = Seat(runtime.room)
        self._reading: asyncio.Future[Any] | None = None
        self._exchange: Exchange | None = None
        self._before = ""
        self._asked = self._buffered = self._duplex = self._cut = False
        self._is_sent = self._is_unseen = False
        """Was the request let go? And with all that is needed to end it, so that it is the access log's (lean)?"""
        self._deciding: DecisionDriver | None = None
        self._piece_since = math.inf
        """Since when a long piece of the answer is looked at."""
        runtime.calls += 1
        runtime.open.add(self)

    def answered(self) -> None:
        """The reply to the last message is written."""
        self._asked = False
        self._deciding = None
        self._piece_since = math.inf
        if self._is_unseen:
            self._line.leave()  # Envoy lets the answer pass, and shows none of it

    def reply(self, message: Any) -> Reply:
        """The reply to a message, or to what its parser raised (`lenient`), in its wire form; None: there is none; a
        coroutine where it may have to wait. Never fails. Nothing of the message is kept.

        Up to its second wait the coroutine may run outside of a task (`rpc.eager`)."""
        if isinstance(message, DecodeError):
            return self._unread(message)
        kind = message.WhichOneof("request") or ""
        body, is_end = b"", False
        if kind in ("request_body", "response_body"):
            piece = getattr(message, kind)
            body, is_end = piece.body, piece.end_of_stream
            del piece, message  # a second copy of the body
        try:
            match kind:
                case "response_body":
                    reply = self._response_body(body, is_end)
                case "request_headers":
                    reply = self._request_headers(message)
                case "request_body":
                    return self._made(kind, self._request_body(body, is_end))
                case "response_headers":
                    return self._response_headers(message)
                case "request_trailers":
                    return self._made(kind, self._request_trailers())
                case "response_trailers":
                    return self._made(kind, self._response_trailers())
                case _:
                    return None
        except Exception as problem:  # noqa: BLE001  traffic never dies of our bug
            return self._failed(kind, problem, body, is_end)
        return reply if reply is None or isinstance(reply, bytes) else self._made(kind, reply, body, is_end)

    async def _made(
        self, kind: str, reply: Coroutine[Any, Any, bytes | None], body: bytes = b"", is_end: bool = False
    ) -> bytes | None:
        """A reply that may have to wait. `body`: of an answer, which is to pass whatever happens."""
        try:
            return await reply
        except Exception as problem:  # noqa: BLE001  as above
            return self._failed(kind, problem, body, is_end)

    def _failed(self, kind: str, problem: Exception, body: bytes, is_end: bool) -> bytes | None:
        reply = self._broke(kind, problem)
        if kind == "response_body" and self._duplex:
            return codec.duplex_piece(body, is_end)
        return reply

    # -- phases ---------------------------------------------------------------------------------------------

    def _request_headers(self, message: Any) -> bytes | Coroutine[Any, Any, bytes]:
        run = self._run
        headers = codec.header_map(message.request_headers.headers)
        fields = codec.attributes(message)
        snapshot = run.snapshot
        claims = codec.jwt_claims(message.metadata_context) if run.wants_claims else ()
        principal = codec.attribute_text(fields, "connection.uri_san_peer_certificate")
        caller = run.caller(self._proxy, headers, principal, claims)
        name, self._before = passes(fields)
        asked, learned = headers.get(h.REQUEST_ID, ""), run.learned
        exchange = Exchange(name, snapshot, asked, run.roster, lean=self._lean, learned=learned)
        self._exchange = exchange
        action = exchange.receive(
            e.RequestHeaders(
                headers.get(":method", ""),
                headers.get(":path", ""),
                caller,
                message.request_headers.end_of_stream,
                self._proxy.last,
            )
        )
        run.metrics.count_unclaimed(exchange.identity.team, action)
        match action:
            case e.AwaitBody():
                size = headers.get("content-length", "")
                if run.is_behind() or not self._seat.announce(int(size) if size.isdigit() else UNTOLD_BYTES):
                    return self._busy()
                return codec.await_body(
                    action.remove,
                    message.protocol_config.request_body_mode,
                    may_be_empty=not size.isdigit() or int(size) == 0,
                )
            case e.Reject():
                return self._rejected(action)
            case e.NeedBudget():
                return self._own_budget(action)
        run.metrics.passed.inc()
        # a sidecar's other calls go to services of the mesh, which these headers are meant for
        hidden = () if self._proxy.sidecar else h.never_sent(headers)
        return codec.pass_without(hidden) if hidden else codec.PASS_ALL

    async def _own_budget(self, asked: e.NeedBudget) -> bytes:
        await asyncio.sleep(0)  # into a task: the ledger's calls are bounded by timeouts of its own
        return codec.reject(await respond(self._run, asked))

    async def _request_body(self, body: bytes, is_end: bool) -> bytes:
        exchange, run = self._exchange, self._run
        if exchange is None:
            return codec.PASS_REQUEST_BODY
        # A buffered body comes in one message; where trailers follow, the message does not say that it is the end.
        if exchange.state is State.FORWARDED and not body:
            return codec.PASS_REQUEST_BODY  # some send the end apart
        if exchange.state is State.FORWARDED:
            raise RuntimeError("Envoy sent a piece of a request body; request_body_mode must be BUFFERED")
        self._deciding = DecisionDriver(run, exchange)
        if exchange.state is State.AWAIT_BODY and (run.is_behind() or not self._seat.arrive(len(body))):
            return await self._busy()
        patience = self._patience(len(body))
        try:
            if self._before and exchange.state is State.AWAIT_BODY:
                await run.left.follow(exchange, self._before)
            deciding = self._deciding.on(body)
            whole = b"" if self._proxy.last else body
            del body
            action = await deciding
        finally:
            patience.cancel()
            self._seat.leave()
        run.metrics.count_unknown(exchange.identity.team, action)
        if isinstance(action, e.Reject):
            return self._rejected(action)
        # what Envoy may have sent on without us is not what the ticket says
        is_unseen = exchange.goes_unseen and not self._deciding.is_late()
        if (holds := exchange.holds is not None) and not is_unseen:
            run.live.add(exchange)
        if not self._proxy.last:
            action = await relay.hand_over(run, exchange, action, whole)
        ticket = exchange.ticket.to_json() if holds and self._logged else ""
        reply = codec.forward(action, ticket, exchange.answer_headers if is_unseen else None)
        self._is_sent, self._is_unseen = True, is_unseen
        return reply

    async def _request_trailers(self) -> bytes:
        """Where no body came before them, it is empty."""
        exchange = self._exchange
        if exchange is None or exchange.state is not State.AWAIT_BODY:
            return codec.PASS_REQUEST_TRAILERS
        reply = await self._request_body(b"", True)
        return reply if codec.is_refusal(reply) else codec.PASS_REQUEST_TRAILERS

    async def _response_trailers(self) -> bytes:
        """They are the answer's end."""
        exchange = self._exchange
        if exchange is not None and exchange.state in (State.JSON, State.STREAM):
            await made(self._response_body(b"", True))
        return codec.PASS_RESPONSE_TRAILERS

    async def _busy(self) -> bytes:
        exchange, run = self._exchange, self._run
        assert exchange is not None
        self._seat.leave()
        if is_late(run, run.lag.recent_s()):
            await asyncio.sleep(SETTLE_S)  # did Envoy give up? Then it was sent on, and not refused
        action = exchange.receive(e.Busy())
        assert isinstance(action, e.Reject)
        self._run.metrics.count_busy(exchange.identity.team)
        return self._rejected(action)

    def _patience(self, size: int) -> Waiting:
        """Ask Envoy for more time as soon as a reading turns out to be slow; for a long one at once."""
        timeout_s = self._run.snapshot.settings.message_timeout / 1000
        if size > LONG_BYTES:
            self._ask_time()
        return self._run.patience.wait(timeout_s * ASK_SHARE, self._ask_time)

    def _ask_time(self) -> None:
        if not self._asked:
            self._asked = True
            self._line.ask(codec.more_time(self._run.snapshot.settings.longest_message_timeout))

    def _response_headers(self, message: Any) -> bytes:
        exchange = self._exchange
        if exchange is None:
            return codec.ANSWER_NONE
        headers = codec.header_map(message.response_headers.headers)
        fields = codec.attributes(message)
        details = codec.attribute_text(fields, "response.code_details")
        attempts = codec.attribute_number(fields, "upstream.request_attempt_count")
        if attempts > 1 and exchange.state is State.FORWARDED and not exchange.handed_over:
            more = attempts - 1
            self._run.charge_beside(exchange.ticket, exchange.hold_again(), more, logged=self._logged)
        status = headers.get(":status", "")
        action = exchange.receive(
            e.ResponseHeaders(
                int(status) if status.isdigit() else 0,
                headers,
                bool(details) and not details.startswith("via_upstream"),
                message.response_headers.end_of_stream,
                details,
                attempts,
            )
        )
        self._hand_over()
        if isinstance(action, e.Reject):
            return codec.reject(action)
        assert isinstance(action, e.PassResponse)
        self._buffered = action.mode is e.BodyMode.BUFFERED
        self._duplex = action.mode is e.BodyMode.DUPLEX
        return codec.answer(action)

    def _response_body(self, data: bytes, is_end: bool) -> Reply:
        exchange = self._exchange
        if exchange is None:
            return codec.PASS_RESPONSE_BODY
        if self._cut:
            return None  # what still comes of a stream that we ended
        if len(data) <= SLICE_BYTES and not exchange.is_packed:
            return self._looked_at(exchange.receive(e.ResponseChunk(data, is_end)), data, is_end)
        return self._long_piece(exchange, data, is_end)

    def _looked_at(self, action: e.Action, data: bytes, is_end: bool) -> bytes | None:
        """The reply to a piece of the answer that the exchange has seen."""
        assert isinstance(action, e.PassChunk)
        if is_end or action.cut:
            self._hand_over()
        if not self._duplex:
            return codec.piece(action, self._buffered)
        self._cut = action.cut
        data = data if action.replacement is None else action.replacement
        end = is_end or action.cut
        return codec.duplex_piece(data, end) if data or end else None

    async def _long_piece(self, exchange: Exchange, data: bytes, is_end: bool) -> bytes | None:
        """A long piece of a stream is looked at slice by slice, and other calls have their turn in between; a whole
        answer, or what is compressed, in a thread."""
        patience = self._patience(len(data))
        self._piece_since = time.monotonic()
        action: e.Action
        try:
            if exchange.state is State.STREAM and not exchange.is_packed:
                action = await sliced(self._run, exchange, data, is_end)
            else:
                loop, piece = asyncio.get_running_loop(), e.ResponseChunk(data, is_end)
                self._reading = loop.run_in_executor(self._run.reading, exchange.receive, piece)
                action = await asyncio.shield(self._reading)
        finally:
            patience.cancel()
        return self._looked_at(action, data, is_end)

    # -- the end --------------------------------------------------------------------------------------------

    def _rejected(self, action: e.Reject) -> bytes:
        self._hand_over()
        return codec.reject(action)

    def _hand_over(self) -> None:
        """Give a finished exchange's ending to the settler: before the last reply is written, and without
        an await, because Envoy may reset the call at any moment after it."""
        exchange = self._exchange
        if exchange is None:
            return
        self._run.take(exchange)

    def leave(self, *, last: bool) -> None:
        """See `leaving.Open`."""
        exchange = self._exchange
        if exchange is None or exchange.is_undecided or (exchange.hides_usage and not last):
            return
        self._line.leave()

    def over(self) -> None:
        """The call is over, however it came to be: end the exchange if it has not ended."""
        self._run.calls -= 1
        self._run.open.discard(self)
        self._seat.leave()
        if self._exchange is not None and self._exchange.is_done:
            return
        by = ended_by(
            self._run,
            self._exchange,
            self._deciding,
            has_failed=self._line.has_failed,
            is_sent=self._is_sent,
            piece_since=self._piece_since,
        )
        reading = self._reading
        if self._deciding is not None:
            self._deciding.left(lambda: self._finish(by))
        elif reading is not None and not reading.done():
            reading.add_done_callback(lambda _: self._finish(by))
            self._run.keep(reading)
        else:
            self._finish(by)

    def _finish(self, by: e.EndedBy) -> None:
        exchange = self._exchange
        if exchange is None or (self._is_unseen and by is not e.EndedBy.FAULT):
            return
        try:
            told = exchange.leave() if by is e.EndedBy.CLIENT else None
            exchange.receive(e.StreamClosed(by) if by is not e.EndedBy.FAULT else e.InternalError("over"))
            self._run.live.discard(exchange)
            ending = exchange.take_ending() if told is not None else None
            if told is not None and ending is not None:
                self._run.left.leave(ending, told)
            else:
                self._hand_over()
        except Exception as problem:  # noqa: BLE001
            self._broke("over", problem)

    def _unread(self, problem: DecodeError) -> bytes | None:
        """The reply to a message of which nobody knows what it was: a refusal, where nothing was sent and the policy
        says so; else none, and the call ends in good order, so that all passes, whatever Envoy waits with."""
        exchange = self._exchange
        kind = "request_headers" if exchange is None else "request_body" if exchange.is_undecided else "over"
        reply = self._broke(kind, problem)
        if reply is not None and codec.is_refusal(reply):
            return reply
        self._line.leave()
        return None

    def _broke(self, kind: str, problem: Exception) -> bytes | None:
        """The reply after a fault of ours."""
        reply = faults.answer(self._run, self._exchange, kind, problem, is_sent=self._is_sent)
        if kind == "request_headers":
            self._exchange = None  # nothing more is known of it
        return reply
