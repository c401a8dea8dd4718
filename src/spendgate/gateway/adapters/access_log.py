"""Envoy's gRPC access log service: settles what ext_authz and lean routes reserved, by what Envoy saw of the answer,
and charges the attempts that Envoy made beside the one that was answered."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

import grpc
import structlog
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from spendgate.exchange import attempts
from spendgate.exchange.access_log_settlement import NAMESPACE, LogFacts, settle_by_log
from spendgate.exchange.ticket import SettlementTicket
from spendgate.gateway.adapters import codec, faults
from spendgate.gateway.runtime import Runtime
from spendgate.values import dataclass

log = structlog.get_logger()

AUTHZ = ("spendgate.ext_authz", "envoy.filters.http.ext_authz")
"""Where ext_authz writes the ticket: under the filter's name, whichever it has."""
FLUSH_S = 1.5
"""Envoy flushes its entries once a second: so long a stopping worker still listens."""
PATIENCE_S = 3.0
"""So long a call's entry waits for those of its attempts. What is not told of then counts as billed."""
RECENT_MAX = 4096
"""Calls that are over, whose mirrored copies may still be under way."""
_UPSTREAM_END = accesslog_pb2.UpstreamEnd
_ENTRY = accesslog_pb2.HTTPAccessLogEntry


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call of several attempts, not all of which are told of yet. `held`: its exchange reserved them."""

    call: attempts.Call
    ticket: SettlementTicket
    held: bool
    until: float


class AccessLog(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]
    """One stream an Envoy thread, open as long as Envoy likes."""

    def __init__(self, runtime: Runtime) -> None:
        self._run = runtime
        self._streams = 0
        self._closing = asyncio.Event()
        self._tries = attempts.Tries()
        self._waiting: list[_Waiting] = []
        self._recent: OrderedDict[str, tuple[bytes, str]] = OrderedDict()
        """By the request's id the entry, read again where a copy of the request is told of, and the ticket."""

    async def StreamAccessLogs(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802  Envoy's name
        """Take entries until Envoy ends the stream or we stop."""
        self._streams += 1
        closing = asyncio.ensure_future(self._closing.wait())
        reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
        try:
            while True:
                patience = PATIENCE_S if self._waiting else None
                await asyncio.wait({reading, closing}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() and not closing.done():
                    self._decide()
                    continue
                if not reading.done():
                    reading.cancel()
                    break
                message = reading.result()
                if message is grpc.aio.EOF:
                    break
                if isinstance(message, DecodeError):
                    # what its entries tell of is charged when its holds expire
                    faults.report(self._run, None, "access_log", message)
                else:
                    for entry in message.http_logs.log_entry:
                        self._take(entry)
                self._decide()
                reading = asyncio.ensure_future(context.read())
        finally:
            closing.cancel()
            self._streams -= 1
            if not self._streams:
                self._decide(last=True)
        return als_pb2.StreamAccessLogsResponse()

    async def drain(self) -> None:
        """Wait for the last flush, then end the streams: Envoy opens them again elsewhere."""
        if self._streams:
            await asyncio.sleep(FLUSH_S)
        self._closing.set()

    def _take(self, entry: Any) -> None:
        run = self._run
        try:
            common = entry.common_properties
            if common.access_log_type == _UPSTREAM_END:
                answered = 200 <= entry.response.response_code.value < 300
                # else its exchange is charged for it, and `envoy.access_logs` filters it out
                if not answered or attempts.SHADOW in entry.request.authority:
                    self._attempt(attempt_of(entry))
                return
            if common.intermediate_log_entry:
                return
            fields = ticket_fields(entry, (codec.NAMESPACE,))
            if fields:
                self._over(entry, fields, held=True)
                return
            fields = ticket_fields(entry, (codec.NAMESPACE,), codec.UNSEEN) or ticket_fields(entry, AUTHZ)
            if not fields:
                if entry.request.request_id in self._tries:
                    self._tries.take(call_of(entry))
                run.metrics.access_logs.labels("other").inc()
                return
            ending = settle_by_log(SettlementTicket.from_json(fields), facts_of(entry), run.snapshot)
        except Exception as problem:
            run.metrics.errors.inc()
            log.error("access_log_failed", error=f"{type(problem).__name__}: {problem}", exc_info=problem)
            return
        run.metrics.access_logs.labels(ending.record.outcome.value).inc()
        run.settler.put(ending)
        self._over(entry, fields, held=False)

    # -- attempts -------------------------------------------------------------------------------------------

    def _attempt(self, attempt: attempts.Attempt) -> None:
        if attempt.mirrored:
            known = self._recent.get(attempt.request_id)
            if known is not None and call_of(_ENTRY.FromString(known[0])).has(attempt):
                self._mirrored(attempt, known[1])
                return
        elif 200 <= attempt.status < 300:
            return  # the answer of a host of such a name
        self._tries.add(attempt)

    def _mirrored(self, attempt: attempts.Attempt, ticket: str) -> None:
        if attempt.billable:
            which = f":mirror-{attempt.started_us}"
            self._run.settler.put(attempts.ending(SettlementTicket.from_json(ticket), 1, which))

    def _over(self, entry: Any, ticket: str, *, held: bool) -> None:
        request_id = entry.request.request_id
        self._recent[request_id] = (entry.SerializeToString(), ticket)
        while len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)
        if entry.common_properties.upstream_request_attempt_count <= 1 and request_id not in self._tries:
            return  # one attempt, the answer's: nearly every call, of which no more needs to be read
        call = call_of(entry)
        for copy in self._tries.take_mirrored(call):
            self._mirrored(copy, ticket)
        if call.attempts > 1:
            until = time.monotonic() + PATIENCE_S
            self._waiting.append(_Waiting(call, SettlementTicket.from_json(ticket), held, until))
        else:
            self._tries.take(call)

    def _decide(self, *, last: bool = False) -> None:
        """Charge the attempts of calls that are told of whole, or will not be. `last`: nothing more comes."""
        now = time.monotonic()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not (last or now >= one.until or attempts.told(one.call, self._tries.of(one.call))):
                self._waiting.append(one)
                continue
            count = attempts.beside(one.call, self._tries.take(one.call))
            ending = attempts.ending(one.ticket, count)
            if count:
                self._run.settler.put(ending)
            elif one.held and ending.settlement is not None:
                self._run.settler.void(ending.settlement)


def ticket_fields(entry: Any, namespaces: tuple[str, ...], name: str = codec.TICKET) -> str:
    """The text of the ticket in one of these namespaces of an entry's metadata; "" where there is none."""
    metadata = entry.common_properties.metadata.filter_metadata
    for namespace in namespaces:
        if namespace in metadata:
            fields = metadata[namespace].fields
            if name in fields:
                return str(fields[name].string_value)
    return ""


def _micros(timestamp: Any) -> int:
    return int(timestamp.seconds) * 1_000_000 + int(timestamp.nanos) // 1000


def _client(common: Any) -> str:
    """The connection of the client; "" where the entry has none."""
    if not common.HasField("downstream_direct_remote_address"):
        return ""
    address = common.downstream_direct_remote_address
    at = address.socket_address
    return f"{at.address}:{at.port_value}" if address.HasField("socket_address") else address.pipe.path


def attempt_of(entry: Any) -> attempts.Attempt:
    """What an entry of the router says of one attempt."""
    common = entry.common_properties
    client = _client(common)
    host, _, port = entry.request.authority.rpartition(":")
    copied = (host if port.isdigit() else entry.request.authority).endswith(attempts.SHADOW)
    return attempts.Attempt(
        entry.request.request_id,
        client,
        _micros(common.start_time),
        entry.response.response_code.value,
        common.HasField("time_to_first_upstream_tx_byte"),
        copied and not client,
    )


def call_of(entry: Any) -> attempts.Call:
    """What an entry of the listener says of the attempts at a call."""
    common = entry.common_properties
    began = _micros(common.start_time)
    return attempts.Call(
        entry.request.request_id,
        _client(common),
        began,
        began + _micros(common.duration),
        common.upstream_request_attempt_count,
        200 <= entry.response.response_code.value < 300,
        common.response_flags.no_healthy_upstream or common.response_flags.upstream_overflow,
    )


def facts_of(entry: Any) -> LogFacts:
    """What an entry says of the answer."""
    common = entry.common_properties
    metadata = common.metadata.filter_metadata
    details = entry.response.response_code_details
    usage = MessageToDict(metadata[NAMESPACE]) if NAMESPACE in metadata else {}
    return LogFacts(
        status=entry.response.response_code.value,
        sent=common.HasField("time_to_first_upstream_tx_byte"),
        usage=usage,
        by_envoy=bool(details) and not details.startswith("via_upstream"),
    )
