"""The last reconciliation of each provider, kept beside the ledger for the metric and the alert.

One hash for all (`sg1:drift`): provider -> JSON {month, at_ms, models: {model: [open drift, invoiced, metered]}},
nano-USD. It is a note of what was found, and no part of the books.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spendgate.values import dataclass

KEY = "sg1:drift"


@dataclass(frozen=True, slots=True)
class Drift:
    """A provider's month as it was reconciled last. `models`: open drift, invoiced, metered, nano-USD."""

    provider: str
    month: str
    at_ms: int
    models: Mapping[str, tuple[int, int, int]]

    def encode(self) -> bytes:
        """As it is kept."""
        return orjson.dumps({"month": self.month, "at_ms": self.at_ms, "models": self.models})


def decode(fields: Mapping[Any, Any]) -> list[Drift]:
    """Read the hash, by provider. Raises ValueError for what no release wrote."""
    out = []
    for provider, raw in fields.items():
        row = orjson.loads(raw)
        models = {name: (int(d), int(i), int(m)) for name, (d, i, m) in row["models"].items()}
        out.append(
            Drift(
                provider.decode() if isinstance(provider, bytes) else str(provider),
                row["month"],
                int(row["at_ms"]),
                models,
            )
        )
    return sorted(out, key=lambda d: d.provider)
