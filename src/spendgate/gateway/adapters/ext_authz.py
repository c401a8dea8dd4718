"""Envoy's ext_authz service, for gateways without ext_proc: the same decision on a buffered body.

The request cannot be changed and the answer not be seen: no model is changed, no output cap written, no stream
cut. What is held is settled by the access log (access_log.py), which may reach another worker: all it needs
travels with the request, in Envoy's dynamic metadata.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2 as pb
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.protobuf.message import DecodeError

from spendgate.exchange import billing
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.rejections import broken, format_of, too_large
from spendgate.exchange.states import State
from spendgate.gateway.adapters import codec, faults
from spendgate.gateway.decision_driver import DecisionDriver, late_or_left
from spendgate.gateway.inflight import Seat
from spendgate.gateway.own_budget_read import respond
from spendgate.gateway.runtime import NO_POLICY, Runtime
from spendgate.identity import headers as h
from spendgate.identity.identity import UNKNOWN_PROXY, Caller, Proxy

PARTIAL = "x-envoy-auth-partial-body"
_OVERWRITE = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD


def _announces_body(headers: Mapping[str, str]) -> bool:
    """Do the headers say that a body follows, where Envoy was told not to wait for it?"""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


class Authorization(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]
    """One check is one request."""

    def __init__(self, runtime: Runtime) -> None:
        self._run = runtime

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  Envoy's name
        """Decide. After a fault of ours a team with an enforcing budget is refused, unless its `failurePolicy` is
        `open`."""
        run = self._run
        if not run.knows_policy:
            await context.abort(grpc.StatusCode.UNAVAILABLE, NO_POLICY)
        if isinstance(request, DecodeError):  # not even its API is known
            faults.report(run, None, "check", request)
            return _denied(faults.UNAVAILABLE)
        attributes = request.attributes
        http = attributes.request.http
        headers = {":authority": http.host, **http.headers}
        # an id of its own: a check that Envoy sends again is another exchange, since the one it gave up is voided
        exchange = Exchange(
            secrets.token_hex(16), run.snapshot, headers.get(h.REQUEST_ID, ""), run.roster,
            fixed=True, learned=run.learned,
        )  # fmt: skip
        deciding = DecisionDriver(run, exchange)
        finished = False
        try:
            proxy = codec.proxy(context.invocation_metadata()) if run.wants_proxy else UNKNOWN_PROXY
            caller = self._caller(attributes, headers, proxy)
            answer = await self._decide(exchange, deciding, caller, attributes)
            finished = True
            return answer
        except Exception as problem:  # noqa: BLE001  traffic never dies of our bug
            finished = True
            return self._broke(exchange, problem)
        finally:
            if not finished:  # cancelled: the client left while we decided
                by = late_or_left(run, deciding)
                deciding.left(lambda: self._left(exchange, by))

    def _caller(self, attributes: Any, headers: dict[str, str], proxy: Proxy) -> Caller:
        run = self._run
        claims = codec.jwt_claims(attributes.metadata_context) if run.wants_claims else ()
        return run.caller(proxy, headers, attributes.source.principal, claims)

    async def _decide(
        self, exchange: Exchange, deciding: DecisionDriver, caller: Caller, attributes: Any
    ) -> Any:
        run, http = self._run, attributes.request.http
        body = http.raw_body or http.body.encode()
        end = not (body or http.size > 0 or _announces_body(caller.headers))
        action = exchange.receive(e.RequestHeaders(http.method, http.path, caller, end))
        run.metrics.count_unclaimed(exchange.identity.team, action)
        if isinstance(action, e.Reject):
            return self._rejected(exchange, action)
        if isinstance(action, e.NeedBudget):
            return _denied(await respond(run, action))
        if not isinstance(action, e.AwaitBody):
            run.metrics.passed.inc()
            return _allowed((), (), ())
        remove = action.remove
        dialect = exchange.dialect
        assert dialect is not None
        if caller.headers.get(PARTIAL) == "true":
            voice = format_of(run.snapshot, dialect, exchange.identity, caller.headers)
            return self._rejected(exchange, too_large(voice, run.snapshot.settings.max_body_bytes))
        if not body and http.size > 0:
            raise RuntimeError("Envoy sent no body; set with_request_body with pack_as_bytes")
        seat = Seat(run.room)
        if run.is_behind() or not seat.arrive(len(body)):
            run.metrics.count_busy(exchange.identity.team)
            busy = exchange.receive(e.Busy())
            assert isinstance(busy, e.Reject)
            return self._rejected(exchange, busy)
        try:
            decided = await deciding.on(body)
        finally:
            seat.leave()
        run.metrics.count_unknown(exchange.identity.team, decided)
        if isinstance(decided, e.Reject):
            return self._rejected(exchange, decided)
        if exchange.state is State.PASSING:  # it is free
            return _allowed(remove, decided.set_headers, ())
        if exchange.state is not State.FORWARDED:
            return _allowed(remove, decided.set_headers, ())  # a call that costs nothing
        ticket = exchange.ticket
        if ticket.fail_open:
            # no hold is in the ledger that could expire: charged now, whatever the log will say
            bill = billing.at_hold(ticket.held_nanousd or 0, "body_unseen")
            run.ended(ticket.ending(bill))
            return _allowed(remove, decided.set_headers, exchange.answer_headers)
        return _allowed(remove, decided.set_headers, exchange.answer_headers, ticket.to_json())

    def _rejected(self, exchange: Exchange, action: e.Reject) -> Any:
        self._run.take(exchange)
        return _denied(action)

    def _left(self, exchange: Exchange, by: e.EndedBy) -> None:
        exchange.receive(e.StreamClosed(by))
        self._run.take(exchange)

    def _broke(self, exchange: Exchange, problem: Exception) -> Any:
        run = self._run
        faults.report(run, exchange, "check", problem)
        try:
            refusal = broken(run.snapshot, exchange.identity, exchange.dialect, exchange.headers)
            exchange.receive(e.InternalError("check") if refusal is None else e.Withdrawn())
            run.take(exchange)
            return _denied(refusal) if refusal is not None else _allowed((), (), ())
        except Exception as again:  # noqa: BLE001
            faults.report(run, exchange, "fault", again)
            return _denied(faults.UNAVAILABLE)


def _options(pairs: tuple[tuple[str, str], ...]) -> list[Any]:
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=key, value=h.header_value(value)), append_action=_OVERWRITE
        )
        for key, value in pairs
    ]


def _allowed(
    remove: tuple[str, ...],
    set_headers: tuple[tuple[str, str], ...],
    answer: tuple[tuple[str, str], ...],
    ticket: str = "",
) -> Any:
    """Let the request go on, with a ticket for its access log entry."""
    reply = pb.CheckResponse()
    reply.status.code = grpc.StatusCode.OK.value[0]
    reply.ok_response.headers.extend(_options(set_headers))
    reply.ok_response.headers_to_remove.extend(remove)
    reply.ok_response.response_headers_to_add.extend(_options(answer))
    if ticket:
        reply.dynamic_metadata.update({codec.TICKET: ticket})
    return reply


def _denied(action: e.Reject) -> Any:
    """Answer instead of the provider."""
    reply = pb.CheckResponse()
    reply.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
    reply.denied_response.status.code = http_status_pb2.StatusCode.Name(action.status) and action.status
    reply.denied_response.headers.extend(_options(action.headers))
    reply.denied_response.body = action.body.decode()
    return reply
