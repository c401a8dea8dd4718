"""Envoy's External Processing service: wire ⇄ events of one exchange a call.

A fault of ours never breaks traffic: the exchange is told, what it held is settled at the estimate, it is
counted and logged, and Envoy is answered as if we had nothing to say.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import grpc
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc

from spendgate.gateway import events as e
from spendgate.gateway import headers as h
from spendgate.gateway import relay, wire
from spendgate.gateway.deciding import Deciding
from spendgate.gateway.exchange import Exchange
from spendgate.gateway.identity import Proxy
from spendgate.gateway.refusing import broken_closed
from spendgate.gateway.runtime import NO_POLICY, Runtime
from spendgate.gateway.transitions import State

log = structlog.get_logger()


def exchange_id(fields: Any) -> str:
    """The id of an exchange, from what only Envoy knows of it, so that a call that Envoy replays on another
    worker finds the reservation of the first. A client's own headers play no part in it."""
    parts = [
        wire.attribute_text(fields, key) for key in ("request.time", "source.address", "destination.address")
    ]
    if "connection.id" in fields:
        parts.append(str(fields["connection.id"].number_value))
    if not parts[0] or not parts[1]:
        return secrets.token_hex(16)
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


class ExternalProcessor(external_processor_pb2_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """One call of Process is one exchange."""

    def __init__(self, runtime: Runtime) -> None:
        self._run = runtime

    async def Process(self, request_iterator: Any, context: Any) -> None:  # noqa: N802  Envoy's name
        """Answer each message in turn; hand the ending over whatever happens."""
        run = self._run
        if not run.knows_policy:
            await context.abort(grpc.StatusCode.UNAVAILABLE, NO_POLICY)
        proxy = wire.proxy(context.invocation_metadata(), principals=run.wants_proxy)
        call = _Call(run, proxy)
        self._run.calls += 1
        try:
            while True:
                message = await context.read()
                if message is grpc.aio.EOF:
                    break
                reply = await call.reply(message)
                if reply is not None:
                    await context.write(reply)
        finally:
            self._run.calls -= 1
            call.over()


class _Call:
    """One exchange on the wire."""

    __slots__ = ("_buffered", "_cut", "_deciding", "_duplex", "_exchange", "_proxy", "_run")

    def __init__(self, runtime: Runtime, proxy: Proxy) -> None:
        self._run = runtime
        self._proxy = proxy
        self._exchange: Exchange | None = None
        self._buffered = False
        self._duplex = False
        self._cut = False
        self._deciding: Deciding | None = None

    async def reply(self, message: Any) -> Any:
        kind = message.WhichOneof("request")
        try:
            match kind:
                case "response_body":
                    return self._response_body(message.response_body)
                case "request_headers":
                    return self._request_headers(message)
                case "request_body":
                    return await self._request_body(message.request_body)
                case "response_headers":
                    return self._response_headers(message)
                case "request_trailers":
                    return wire.PASS_REQUEST_TRAILERS
                case "response_trailers":
                    return wire.PASS_RESPONSE_TRAILERS
            return None
        except Exception as problem:  # noqa: BLE001  traffic never dies of our bug
            reply = self._broke(kind, problem)
            if kind == "response_body" and self._duplex:
                return wire.duplex_piece(message.response_body.body, message.response_body.end_of_stream)
            return reply

    # -- phases ---------------------------------------------------------------------------------------------

    def _request_headers(self, message: Any) -> Any:
        run = self._run
        headers = wire.header_map(message.request_headers.headers)
        fields = wire.attributes(message)
        snapshot = run.snapshot
        claims = wire.jwt_claims(message.metadata_context) if run.wants_claims else ()
        principal = wire.attribute_text(fields, "connection.uri_san_peer_certificate")
        caller = run.caller(self._proxy, headers, principal, claims)
        exchange = Exchange(exchange_id(fields), snapshot, headers.get(h.REQUEST_ID, ""), run.roster)
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
                return wire.await_body(action.remove, message.protocol_config.request_body_mode)
            case e.Reject():
                return self._rejected(action)
        run.metrics.passed.inc()
        # a sidecar's other calls go to services of the mesh, which these headers are meant for
        hidden = () if self._proxy.sidecar else h.never_sent(headers)
        return wire.pass_without(hidden) if hidden else wire.PASS_ALL

    async def _request_body(self, body: Any) -> Any:
        exchange, run = self._exchange, self._run
        if exchange is None:
            return wire.PASS_REQUEST_BODY
        if not body.end_of_stream:
            raise RuntimeError("Envoy sent a piece of a request body; request_body_mode must be BUFFERED")
        self._deciding = Deciding(run, exchange)
        action = await self._deciding.on(body.body)
        if isinstance(action, e.Reject):
            return self._rejected(action)
        if exchange.holds:
            run.live.add(exchange)
        if not self._proxy.last:
            action = await relay.hand_over(run, exchange, action, body.body)
        return wire.forward(action)

    def _response_headers(self, message: Any) -> Any:
        exchange = self._exchange
        if exchange is None:
            return wire.ANSWER_NONE
        headers = wire.header_map(message.response_headers.headers)
        details = wire.attribute_text(wire.attributes(message), "response.code_details")
        status = headers.get(":status", "")
        action = exchange.receive(
            e.ResponseHeaders(
                int(status) if status.isdigit() else 0,
                headers,
                bool(details) and not details.startswith("via_upstream"),
                message.response_headers.end_of_stream,
                details,
            )
        )
        self._hand_over()
        if isinstance(action, e.Reject):
            return wire.reject(action)
        assert isinstance(action, e.Answer)
        self._buffered = action.mode is e.BodyMode.BUFFERED
        self._duplex = action.mode is e.BodyMode.DUPLEX
        return wire.answer(action)

    def _response_body(self, body: Any) -> Any:
        exchange = self._exchange
        if exchange is None:
            return wire.PASS_RESPONSE_BODY
        if self._cut:
            return None  # what still comes of a stream that we ended
        action = exchange.receive(e.ResponsePiece(body.body, body.end_of_stream))
        assert isinstance(action, e.Piece)
        if body.end_of_stream or action.cut:
            self._hand_over()
        if not self._duplex:
            return wire.piece(action, self._buffered)
        self._cut = action.cut
        data = body.body if action.replacement is None else action.replacement
        end = body.end_of_stream or action.cut
        return wire.duplex_piece(data, end) if data or end else None

    # -- the end --------------------------------------------------------------------------------------------

    def _rejected(self, action: e.Reject) -> Any:
        self._hand_over()
        return wire.reject(action)

    def _hand_over(self) -> None:
        """Give a finished exchange's ending to the settler: before the last reply is written, and without
        an await, because Envoy may reset the call at any moment after it."""
        exchange = self._exchange
        if exchange is None:
            return
        self._run.take(exchange)

    def over(self) -> None:
        """The call is over, however it came to be: end the exchange if it has not ended."""
        if self._deciding is not None:
            self._deciding.left(self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        try:
            exchange.receive(e.Over())
        except Exception as problem:  # noqa: BLE001
            self._broke("over", problem)
        self._run.live.discard(exchange)
        self._hand_over()

    def _broke(self, kind: str | None, problem: Exception) -> Any:
        exchange, run = self._exchange, self._run
        run.metrics.errors.inc()
        log.error(
            "exchange_failed",
            exchange_id=exchange.exchange_id if exchange else "",
            phase=kind,
            error=f"{type(problem).__name__}: {problem}",
            exc_info=problem,
        )
        closed = None
        if exchange is not None:
            if kind == "request_body" and exchange.state is not State.FORWARDED:
                closed = broken_closed(run.snapshot, exchange.identity, exchange.dialect, exchange.headers)
            exchange.receive(e.Broke(str(problem)) if closed is None else e.Over())
            run.live.discard(exchange)
            self._hand_over()
        if closed is not None:
            return wire.reject(closed)
        match kind:
            case "request_headers":
                return wire.PASS_ALL
            case "request_body":
                return wire.PASS_REQUEST_BODY
            case "response_headers":
                return wire.ANSWER_NONE
            case "response_body":
                return wire.PASS_RESPONSE_BODY
        return None
