"""What the provider would invoice, computed from list prices without any code of ours."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

PRICES: dict[str, dict[str, str]] = {
    "gpt-4o": {"input": "2.50", "cached_input": "1.25", "output": "10.00"},
    "gpt-4o-mini": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
    "claude-opus": {"input": "15.00", "output": "75.00"},
    "claude-opus-4-1": {
        "input": "15.00", "output": "75.00",
        "cached_input": "1.50", "cache_write_5m": "18.75", "cache_write_1h": "30.00",
    },
    "claude-sonnet": {"input": "3.00", "output": "15.00"},
    "claude-haiku": {"input": "0.25", "output": "1.25"},
}  # fmt: skip
"""USD per million tokens, as the vendors publish them. Reasoning is billed as output."""


def cost(model: str, tokens: Mapping[str, int]) -> Decimal:
    """USD of tokens by kind."""
    prices = PRICES[model]
    return sum(
        (
            n * Decimal(prices["output" if kind == "reasoning" else kind]) / 1_000_000
            for kind, n in tokens.items()
        ),
        Decimal(0),
    )


def total(invoice: Mapping[str, Any]) -> Decimal:
    """USD of a whole invoice of the mock provider."""
    return sum((cost(model, line["tokens"]) for model, line in invoice["models"].items()), Decimal(0))


def difference(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What came onto an invoice between two looks at it."""
    models: dict[str, Any] = {}
    for model, line in after["models"].items():
        old = before["models"].get(model, {"requests": 0, "aborted": 0, "tokens": {}})
        tokens = {k: n - old["tokens"].get(k, 0) for k, n in line["tokens"].items()}
        fresh = {
            "requests": line["requests"] - old["requests"],
            "aborted": line["aborted"] - old["aborted"],
            "tokens": {k: n for k, n in tokens.items() if n},
        }
        if fresh["requests"]:
            models[model] = fresh
    return {"models": models, "errors": after["errors"] - before["errors"]}
