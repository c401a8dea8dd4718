"""Usage records and logs, made up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord

T0 = 1_795_500_000_000  # 2026-11-24T06:00:00Z


def record(n: int = 0, **fields: Any) -> UsageRecord:
    """A complete exchange of team red; `n` makes its id and, in seconds, its time."""
    values: dict[str, Any] = {
        "exchange_id": f"x{n}",
        "request_id": f"r{n}",
        "at_ms": T0 + n * 1000,
        "team": "red",
        "app": "chat",
        "user": "",
        "run": "",
        "dialect": "openai-chat",
        "model_requested": "gpt-4o",
        "model": "gpt-4o",
        "upstream": "",
        "tokens": {"input": 1000, "output": 100},
        "cost_nanousd": 3_500_000,
        "estimate_nanousd": 4_000_000,
        "price_version": "v",
        "decision": "allow",
        "reason": "within_budget",
        "outcome": Outcome.COMPLETE,
    }
    return UsageRecord(**(values | fields))


def expired(n: int, cost_nanousd: int, **fields: Any) -> UsageRecord:
    """The line of a hold that expired."""
    return record(
        n,
        cost_nanousd=cost_nanousd,
        estimate_nanousd=cost_nanousd,
        tokens={},
        reason="expired",
        outcome=Outcome.UNMETERED,
        unmetered="expired",
        **fields,
    )


def write_log(path: Path, records: Iterable[UsageRecord]) -> Path:
    """Write a usage log."""
    path.write_bytes(b"".join(r.line() + b"\n" for r in records))
    return path
