"""Envoy's gRPC access log service: settles what ext_authz reserved, by what Envoy saw of the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import structlog
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from google.protobuf.json_format import MessageToDict

from spendgate.gateway.ext_authz import TICKET
from spendgate.gateway.runtime import Runtime
from spendgate.gateway.ticket import Ticket
from spendgate.gateway.unseen import NAMESPACE, LogFacts, settle_by_log

log = structlog.get_logger()

AUTHZ = "envoy.filters.http.ext_authz"
FLUSH_S = 1.5
"""Envoy flushes its entries once a second: so long a stopping worker still listens."""


class AccessLog(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]
    """One stream an Envoy thread, open as long as Envoy likes."""

    def __init__(self, runtime: Runtime) -> None:
        self._run = runtime
        self._streams = 0
        self._closing = asyncio.Event()

    async def StreamAccessLogs(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802  Envoy's name
        """Take entries until Envoy ends the stream or we stop."""
        self._streams += 1
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while True:
                reading = asyncio.ensure_future(context.read())
                await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    break
                message = reading.result()
                if message is grpc.aio.EOF:
                    break
                for entry in message.http_logs.log_entry:
                    self._take(entry)
        finally:
            closing.cancel()
            self._streams -= 1
        return als_pb2.StreamAccessLogsResponse()

    async def drain(self) -> None:
        """Wait for the last flush, then end the streams: Envoy opens them again elsewhere."""
        if self._streams:
            await asyncio.sleep(FLUSH_S)
        self._closing.set()

    def _take(self, entry: Any) -> None:
        run = self._run
        try:
            ticket = ticket_of(entry)
            if ticket is None:
                run.metrics.access_logs.labels("other").inc()
                return
            ending = settle_by_log(ticket, facts_of(entry), run.snapshot)
        except Exception as problem:
            run.metrics.errors.inc()
            log.error("access_log_failed", error=f"{type(problem).__name__}: {problem}", exc_info=problem)
            return
        run.metrics.access_logs.labels(ending.record.outcome.value).inc()
        run.settler.put(ending)


def ticket_of(entry: Any) -> Ticket | None:
    """The ticket of an exchange of ours; None for what is not, or not over yet. Raises ValueError."""
    common = entry.common_properties
    if common.intermediate_log_entry or AUTHZ not in common.metadata.filter_metadata:
        return None
    fields = common.metadata.filter_metadata[AUTHZ].fields
    return Ticket.from_json(fields[TICKET].string_value) if TICKET in fields else None


def facts_of(entry: Any) -> LogFacts:
    """What an entry says of the answer."""
    common = entry.common_properties
    metadata = common.metadata.filter_metadata
    usage = MessageToDict(metadata[NAMESPACE]) if NAMESPACE in metadata else {}
    return LogFacts(
        status=entry.response.response_code.value,
        sent=common.HasField("time_to_first_upstream_tx_byte"),
        usage=usage,
    )
