"""The ext_proc service without a wire: Envoy's messages in, its replies out, with a ledger that keeps what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from prometheus_client import CollectorRegistry
from unit.exchange.driver import NOW_MS, FakeLedger, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange.snapshot import Snapshot
from spendgate.gateway.adapters.codec import FILTERS
from spendgate.gateway.adapters.ext_proc import ExternalProcessor
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.runtime import Runtime
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult, Settlement
from spendgate.records.record import ExchangeResult


class Ledger(FakeLedger):
    """As the port has it. `settled`: by exchange id."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: dict[str, int] = {}

    async def reserve(self, request: ReserveRequest, now_ms: int = NOW_MS) -> ReserveResult:  # type: ignore[override]
        return super().reserve(e.NeedReserve(request, -1, -1))

    def take(self, settlement: Settlement) -> None:
        """Settle, release or correct."""
        self.held.pop(settlement.exchange_id, None)
        self.settled[settlement.exchange_id] = 0 if settlement.release else settlement.cost_nanousd

    @property
    def charged(self) -> int:
        """What is settled, and what the holds that nobody settled will be charged when they expire."""
        return sum(self.settled.values()) + sum(held for _, held, _ in self.held.values())


class Settler:
    """Takes endings to the ledger at once."""

    is_full = False

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.endings: list[ExchangeResult] = []

    def put(self, ending: ExchangeResult) -> None:
        self.endings.append(ending)
        if ending.settlement is not None:
            self._ledger.take(ending.settlement)

    def void(self, settlement: Settlement) -> None:
        self._ledger.take(settlement)


class Stream:
    """One call: `say` what Envoy says next, `heard` is what we reply."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def read(self) -> Any:
        return await self._said.get()

    async def write(self, reply: Any) -> None:
        self._heard.put_nowait(reply)

    async def say(self, message: Any) -> Any:
        """Envoy's message, and our reply."""
        heard = await self.hear(message)
        assert heard, "the handler ended, or was silent"
        return heard[0]

    async def hear(self, message: Any) -> list[Any]:
        """Envoy's message, and our replies: none where the call ends."""
        assert self.task is not None
        self._said.put_nowait(message)
        heard = asyncio.ensure_future(self._heard.get())
        await asyncio.wait({heard, self.task}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            return [heard.result()]
        heard.cancel()
        return []

    async def end(self) -> None:
        """Envoy's end of the call."""
        assert self.task is not None
        self._said.put_nowait(grpc.aio.EOF)
        await asyncio.wait_for(self.task, 10)


@lru_cache(maxsize=64)
def _snapshot(specs: str, settings: tuple[tuple[str, object], ...]) -> Snapshot:
    return snapshot_of(specs, **dict(settings))


class Desk:
    """The service with its ledger and settler."""

    def __init__(self, specs: str, **settings: object) -> None:
        self.ledger = Ledger()
        self.settler = Settler(self.ledger)
        metrics = Metrics(CollectorRegistry())
        snapshot = _snapshot(specs, tuple(settings.items()))
        self.runtime = Runtime(snapshot, self.ledger, self.settler, metrics)  # type: ignore[arg-type]
        self.service = ExternalProcessor(self.runtime)
        self._time = 0

    def call(self) -> Stream:
        """A call of Envoy's."""
        stream = Stream()
        stream.task = asyncio.ensure_future(self.service.Process(None, stream))
        return stream

    def errors(self) -> float:
        """Faults of ours so far."""
        value: float = self.runtime.metrics.errors._value.get()
        return value

    def request_headers(self, team: str, *, end: bool = False, **more: str) -> Any:
        """The first message of a call."""
        self._time += 1
        message = pb.ProcessingRequest()
        message.request_headers.end_of_stream = end
        given = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}
        fill(message.request_headers.headers, {**given, "x-llm-team": team, **more})
        fields = message.attributes[FILTERS[0]].fields
        fields["request.time"].string_value = f"2026-11-24T12:00:{self._time}Z"
        fields["source.address"].string_value = "10.0.0.1:1"
        message.protocol_config.request_body_mode = 2  # BUFFERED
        return message


def fill(headers: Any, pairs: dict[str, str]) -> None:
    for key, value in pairs.items():
        headers.headers.add(key=key, raw_value=value.encode())


def body(data: bytes, *, end: bool = True, kind: str = "request_body") -> Any:
    """A body's message."""
    message = pb.ProcessingRequest()
    part = getattr(message, kind)
    part.body, part.end_of_stream = data, end
    return message


def response_headers(status: int = 200, kind: str = "application/json", details: str = "via_upstream") -> Any:
    """The answer's headers."""
    message = pb.ProcessingRequest()
    fill(message.response_headers.headers, {":status": str(status), "content-type": kind})
    message.attributes[FILTERS[0]].fields["response.code_details"].string_value = details
    return message


def trailers(kind: str) -> Any:
    """`request_trailers` or `response_trailers`."""
    message = pb.ProcessingRequest()
    getattr(message, kind).trailers.headers.add(key="x-t", raw_value=b"1")
    return message


def was_refused(replies: Iterable[Any]) -> bool:
    """Did one of them answer in the provider's stead?"""
    return any(r is not None and r.HasField("immediate_response") for r in replies)
