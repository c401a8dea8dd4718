"""Policy snapshots as the controller writes them."""

from __future__ import annotations

from typing import Any

from spendgate.policy.store import canonical_json, version_of
from spendgate.protos.policy_pb2 import BudgetDocument, PolicySnapshot


def snapshot(generation: int, at_ms: int = 1_000, **usd: Any) -> PolicySnapshot:
    """One budget a team."""
    made = PolicySnapshot(generation=generation, source="controller")
    made.written_at.FromMilliseconds(at_ms)
    for team, limit in sorted(usd.items()):
        document = {
            "apiVersion": "ai.systemhardening.com/v1",
            "kind": "LLMBudget",
            "metadata": {"name": team, "namespace": "ns", "uid": team, "generation": generation},
            "spec": {"team": team, "monthlyBudgetUSD": limit},
        }
        made.budgets.append(BudgetDocument(name=team, uid=team, team=team, json=canonical_json(document)))
    made.version = version_of(b.json for b in made.budgets)
    return made
