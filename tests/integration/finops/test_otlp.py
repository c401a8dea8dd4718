"""Usage lines reach an OTLP receiver as log records with GenAI attributes; it may be away, busy, or refuse."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as semconv
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.ports import free_port
from support.usage_lines import record

from spendgate.gateway.metrics import Metrics
from spendgate.records.otlp_exporter import QUEUE_MAX, OtlpExporter, headers_of
from spendgate.records.outcome import Outcome
from spendgate.records.writer import UsageLog


@dataclass
class Receiver:
    """Speaks OTLP/HTTP as a collector does: protobuf, gzipped, POST /v1/logs."""

    statuses: list[int] = field(default_factory=list)
    rejects: int = 0
    records: list[LogRecord] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    resource: dict[str, str] = field(default_factory=dict)
    url: str = ""

    async def logs(self, request: Request) -> Response:
        self.calls.append(dict(request.headers))
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            return Response(status_code=status, headers={"retry-after": "0"})
        assert request.headers["content-type"] == "application/x-protobuf"
        message = ExportLogsServiceRequest.FromString(gzip.decompress(await request.body()))
        for of_resource in message.resource_logs:
            self.resource = {a.key: a.value.string_value for a in of_resource.resource.attributes}
            for scope in of_resource.scope_logs:
                self.records += scope.log_records
        partial = ExportLogsPartialSuccess(rejected_log_records=self.rejects)
        body = ExportLogsServiceResponse(partial_success=partial).SerializeToString()
        return Response(body, media_type="application/x-protobuf")


@asynccontextmanager
async def receiving(receiver: Receiver, port: int = 0) -> AsyncIterator[Receiver]:
    port = port or free_port()
    app = Starlette(routes=[Route("/v1/logs", receiver.logs, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    receiver.url = f"http://127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        server.should_exit = True
        await task


def exporter(url: str, **options: Any) -> tuple[OtlpExporter, CollectorRegistry]:
    registry = CollectorRegistry()
    return OtlpExporter(url, Metrics(registry).otlp_dropped.inc, **options), registry


def attributes(found: LogRecord) -> dict[str, Any]:
    return {
        a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value
        for a in found.attributes
    }


async def sent(url: str, lines: list[bytes], **options: Any) -> CollectorRegistry:
    made, registry = exporter(url, **options)
    task = asyncio.create_task(made.run())
    made.put(lines)
    made.close()
    await asyncio.wait_for(task, 30)
    return registry


async def test_a_usage_line_is_a_log_record_by_the_conventions_for_generative_ai(tmp_path: Path) -> None:
    full = record(
        1, model_requested="gpt-4o", model="gpt-4o-mini", run="nightly", decision="route", saved_nanousd=7,
        tokens={"input": 1000, "cached_input": 200, "output": 90, "reasoning": 10},
    )  # fmt: skip
    async with receiving(Receiver()) as receiver:
        made, _ = exporter(receiver.url)
        log = UsageLog(str(tmp_path / "usage.jsonl"), also=made.put)
        log.write(
            [
                full.line(),
                replace(full, outcome=Outcome.REFUSED, reason="monthly_budget_exceeded", tokens={}).line(),
            ]
        )
        task = asyncio.create_task(made.run())
        made.close()
        await asyncio.wait_for(task, 30)
    first, second = receiver.records
    assert receiver.resource == {"service.name": "spendgate"}
    assert (first.event_name, first.time_unix_nano) == (
        "gen_ai.client.inference.operation.details",
        full.at_ms * 1_000_000,
    )
    found = attributes(first)
    assert found[semconv.GEN_AI_OPERATION_NAME] == "chat"
    assert found[semconv.GEN_AI_PROVIDER_NAME] == "openai"
    assert (found[semconv.GEN_AI_REQUEST_MODEL], found[semconv.GEN_AI_RESPONSE_MODEL]) == (
        "gpt-4o",
        "gpt-4o-mini",
    )
    assert (found[semconv.GEN_AI_USAGE_INPUT_TOKENS], found[semconv.GEN_AI_USAGE_OUTPUT_TOKENS]) == (
        1200,
        100,
    )
    assert found["spendgate.cost_usd"] == "0.0035"
    assert (found["spendgate.team"], found["spendgate.run"], found["spendgate.saved_usd"]) == (
        "red",
        "nightly",
        "0.000000007",
    )
    known = {v for k, v in vars(semconv).items() if k.isupper() and isinstance(v, str)}
    assert {k for k in found if k.startswith("gen_ai.")} <= known
    assert attributes(second)["error.type"] == "monthly_budget_exceeded"
    assert second.severity_text == "WARN"
    assert (tmp_path / "usage.jsonl").read_bytes().count(b"\n") == 2


async def test_a_collector_that_is_busy_gets_the_batch_again_and_each_line_once() -> None:
    lines = [record(i).line() for i in range(1200)]
    async with receiving(Receiver(statuses=[503, 429])) as receiver:
        made, registry = exporter(receiver.url)
        task = asyncio.create_task(made.run())
        made.put(lines)
        async with asyncio.timeout(60):
            while len(receiver.records) < 1200:  # noqa: ASYNC110  a server in the same loop
                await asyncio.sleep(0.02)
        made.close()
        await task
    assert [attributes(r)["spendgate.exchange_id"] for r in receiver.records] == [
        f"x{i}" for i in range(1200)
    ]
    assert len(receiver.calls) == 2 + 3
    assert registry.get_sample_value("spendgate_otlp_dropped_total") == 0


async def test_what_a_collector_refuses_is_counted_and_not_sent_for_ever() -> None:
    async with receiving(Receiver(statuses=[400])) as receiver:
        registry = await sent(receiver.url, [record(i).line() for i in range(3)])
        assert registry.get_sample_value("spendgate_otlp_dropped_total") == 3
        receiver.rejects = 2
        registry = await sent(receiver.url, [record(i).line() for i in range(3)])
        assert registry.get_sample_value("spendgate_otlp_dropped_total") == 2


async def test_a_collector_that_is_away_holds_nobody_up_and_memory_is_bounded(tmp_path: Path) -> None:
    made, registry = exporter(f"http://127.0.0.1:{free_port()}")
    task = asyncio.create_task(made.run())
    log = UsageLog(str(tmp_path / "usage.jsonl"), also=made.put)
    lines = [record(i).line() for i in range(QUEUE_MAX + 500)]
    log.write(lines)
    await asyncio.sleep(0)
    made.close()
    await asyncio.wait_for(task, 30)
    assert registry.get_sample_value("spendgate_otlp_dropped_total") == len(lines)
    assert (tmp_path / "usage.jsonl").read_bytes().count(b"\n") == len(lines)


async def test_a_vendors_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc,x-tenant=me")
    async with receiving(Receiver()) as receiver:
        await sent(receiver.url + "/v1/logs", [record(1).line()])
    assert receiver.calls[0]["authorization"] == "Basic abc"
    assert receiver.calls[0]["x-tenant"] == "me"
    assert headers_of(" ,a, b=1 ") == {"b": "1"}
