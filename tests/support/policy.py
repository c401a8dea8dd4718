"""Policies as tests write them."""

from __future__ import annotations

import json
from typing import Any


def budget(team: str, usd: float | str = 1, **spec: Any) -> str:
    """One LLMBudget document (JSON is YAML)."""
    return json.dumps(
        {
            "apiVersion": "ai.systemhardening.com/v1",
            "kind": "LLMBudget",
            "metadata": {"name": team},
            "spec": {"team": team, "monthlyBudgetUSD": usd, **spec},
        },
        indent=1,
    )


def policy(*documents: str) -> str:
    """A policy file of many documents."""
    return "\n---\n".join(documents) + "\n"


def thresholds(*pairs: tuple[int, str], channel: str = "") -> list[dict[str, Any]]:
    """`alertThresholds` from (percent, action)."""
    more = {"notifyChannel": channel} if channel else {}
    return [{"percent": percent, "action": action, **more} for percent, action in pairs]
