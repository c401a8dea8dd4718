"""Usage lines as OTLP log records, by OpenTelemetry's semantic conventions for generative AI. Pure.

Each line is the event `gen_ai.client.inference.operation.details` with `gen_ai.*` attributes; what the conventions do
not know (team, cost, decision) is `spendgate.*`. Input tokens include cached ones and output tokens reasoning, as the
conventions say. (Semantic conventions 1.3x, gen-ai registry, read November 2026.)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import (
    SEVERITY_NUMBER_INFO,
    SEVERITY_NUMBER_WARN,
    LogRecord,
    ResourceLogs,
    ScopeLogs,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from spendgate import __version__
from spendgate.dialects.registry import DIALECTS
from spendgate.usage import input_total, output_total

EVENT = "gen_ai.client.inference.operation.details"
PROVIDERS = {
    "aws": "aws.bedrock", "azure": "azure.ai.openai", "google": "gcp.gen_ai", "mistral": "mistral_ai", "x-ai": "x_ai",
}  # fmt: skip
"""The price list's names of providers, where the conventions have another."""
_TEXTS = {
    "team": "spendgate.team", "app": "spendgate.app", "user": "spendgate.user", "run": "spendgate.run",
    "end_user": "spendgate.end_user",
    "exchange_id": "spendgate.exchange_id", "request_id": "spendgate.request_id", "dialect": "spendgate.dialect",
    "upstream": "spendgate.upstream", "cost_usd": "spendgate.cost_usd", "estimate_usd": "spendgate.estimate_usd",
    "saved_usd": "spendgate.saved_usd", "price_version": "spendgate.price_version",
    "decision": "spendgate.decision", "reason": "spendgate.reason", "outcome": "spendgate.outcome",
    "unmetered": "spendgate.unmetered", "model_requested": "gen_ai.request.model", "model": "gen_ai.response.model",
}  # fmt: skip
"""Money stays an exact decimal text: a double would not keep it."""
_DIALECTS = {dialect.name: dialect for dialect in DIALECTS}


def request(lines: Iterable[bytes]) -> bytes:
    """One export request of usage lines."""
    records = [record(orjson.loads(line)) for line in lines]
    scope = ScopeLogs(scope=InstrumentationScope(name="spendgate", version=__version__), log_records=records)
    resource = Resource(attributes=[_text("service.name", "spendgate")])
    body = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])])
    return body.SerializeToString()


def refused(answer: bytes) -> int:
    """How many records a collector says that it did not take."""
    partial = ExportLogsServiceResponse.FromString(answer).partial_success
    return int(partial.rejected_log_records)


def record(row: dict[str, Any]) -> LogRecord:
    """One usage line."""
    tokens = {k: n for k, n in row.get("tokens", {}).items() if isinstance(n, int)}
    dialect = _DIALECTS.get(str(row.get("dialect", "")))
    provider = row.get("priced_by", {}).get("provider") or (dialect.provider if dialect is not None else "")
    attributes = [
        _text("gen_ai.operation.name", dialect.operation if dialect is not None else "chat"),
        *(_text("gen_ai.provider.name", PROVIDERS.get(p, p)) for p in [provider] if p),
        *(_text(name, row[field]) for field, name in _TEXTS.items() if row.get(field)),
    ]
    attributes += [_text(f"spendgate.tag.{name}", value) for name, value in row.get("tags", {}).items()]
    counts = {
        "gen_ai.usage.input_tokens": input_total(tokens),
        "gen_ai.usage.output_tokens": output_total(tokens),
        "gen_ai.usage.cache_read.input_tokens": tokens.get("cached_input", 0),
        "gen_ai.usage.cache_creation.input_tokens": tokens.get("cache_write_5m", 0)
        + tokens.get("cache_write_1h", 0)
        + tokens.get("cache_write_12h", 0),
        "gen_ai.usage.reasoning.output_tokens": tokens.get("reasoning", 0),
        **{f"spendgate.tokens.{kind}": n for kind, n in tokens.items()},
    }
    if tokens:
        attributes += [_count(name, n) for name, n in counts.items() if n]
    outcome = row.get("outcome")
    if outcome in ("failed", "refused", "aborted"):
        attributes.append(_text("error.type", row["reason"] if outcome == "refused" else outcome))
    at_ns = int(datetime.fromisoformat(row["time"]).timestamp() * 1000) * 1_000_000
    fine = outcome in ("complete", "aborted")
    return LogRecord(
        time_unix_nano=at_ns,
        severity_number=SEVERITY_NUMBER_INFO if fine else SEVERITY_NUMBER_WARN,
        severity_text="INFO" if fine else "WARN",
        event_name=EVENT,
        attributes=attributes,
    )


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=str(value)))


def _count(key: str, value: int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value))
