"""Usage lines to an OpenTelemetry collector, beside the usage log: OTLP logs over HTTP, as protobuf.

Off unless the setting `otlp_endpoint` names a collector. Never on the path of an answer: lines wait in memory, a batch
goes out a second. A collector that is away, or asks to wait, gets the batch again (OTLP 1.x, "OTLP/HTTP Response");
past `QUEUE_MAX` the oldest lines are let go and counted. The usage log and the ledger are the books; this is a copy.
Headers (a vendor's key) come from OTEL_EXPORTER_OTLP_HEADERS, as for every OpenTelemetry exporter.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote

import httpx
import structlog

from spendgate.errors import ConfigurationError

log = structlog.get_logger()

QUEUE_MAX = 20_000
BATCH_MAX = 500
EVERY_S = 1.0
TIMEOUT_S = 10.0
FLUSH_S = 5.0
RETRIED = frozenset({429, 502, 503, 504})
HEADERS_VARIABLE = "OTEL_EXPORTER_OTLP_HEADERS"


class OtlpExporter:
    """One a process. `put` never waits; `run` sends; `close` lets `run` send what waits, for five seconds.
    `dropped` counts lines that are lost."""

    def __init__(
        self, endpoint: str, dropped: Callable[[float], object], headers: Mapping[str, str] | None = None
    ) -> None:
        try:
            from spendgate.records import otlp_messages
        except ImportError as e:
            raise ConfigurationError(
                "otlp_endpoint: needs opentelemetry-proto; run: pip install 'spendgate[otlp]'"
            ) from e
        self._encode = otlp_messages.request
        self._refused = otlp_messages.refused
        self._url = endpoint if endpoint.endswith("/v1/logs") else endpoint.rstrip("/") + "/v1/logs"
        self._headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            **(headers_of(os.environ.get(HEADERS_VARIABLE, "")) if headers is None else headers),
        }
        self._count_dropped = dropped
        self._waiting: deque[bytes] = deque()
        self._closing = asyncio.Event()

    def put(self, lines: Iterable[bytes]) -> None:
        """Take usage lines."""
        self._waiting.extend(lines)
        dropped = len(self._waiting) - QUEUE_MAX
        if dropped > 0:
            for _ in range(dropped):
                self._waiting.popleft()
            self._count_dropped(dropped)

    def close(self) -> None:
        """Send what waits, then let `run` return."""
        self._closing.set()

    async def run(self) -> None:
        """Send batches until closed."""
        async with httpx.AsyncClient(timeout=TIMEOUT_S, headers=self._headers) as http:
            while not self._closing.is_set():
                wait_s = EVERY_S
                while self._waiting and not self._closing.is_set():
                    wait_s = await self._send(http)
                    if wait_s:
                        break
                try:
                    await asyncio.wait_for(self._closing.wait(), wait_s or EVERY_S)
                except TimeoutError:
                    continue
            try:
                async with asyncio.timeout(FLUSH_S):
                    while self._waiting and not await self._send(http):
                        pass
            except TimeoutError:
                pass
        if self._waiting:
            self._count_dropped(len(self._waiting))
            log.error("otlp_lost", lines=len(self._waiting), endpoint=self._url)

    async def _send(self, http: httpx.AsyncClient) -> float:
        """Send the oldest lines; 0 where they are done with, else the seconds to wait before they are sent again."""
        batch = [self._waiting[i] for i in range(min(BATCH_MAX, len(self._waiting)))]
        try:
            answer = await http.post(self._url, content=gzip.compress(self._encode(batch), 1))
        except httpx.HTTPError as e:
            log.warning("otlp_waits", endpoint=self._url, error=f"{type(e).__name__}: {e}")
            return 5 * EVERY_S
        if answer.status_code in RETRIED:
            after = answer.headers.get("retry-after", "")
            log.warning("otlp_waits", endpoint=self._url, status=answer.status_code)
            return min(60.0, float(after)) if after.isdigit() else 5 * EVERY_S
        for _ in batch:
            self._waiting.popleft()
        lost = len(batch) if answer.is_error else self._refused(answer.content)
        if lost:
            self._count_dropped(lost)
            log.error("otlp_refused", endpoint=self._url, status=answer.status_code, lines=lost)
        return 0.0


def headers_of(text: str) -> dict[str, str]:
    """Read `key=value,key=value` (percent-encoded), as OpenTelemetry's environment has headers."""
    out = {}
    for item in text.split(","):
        name, found, value = item.partition("=")
        if found and name.strip():
            out[unquote(name.strip())] = unquote(value.strip())
    return out
