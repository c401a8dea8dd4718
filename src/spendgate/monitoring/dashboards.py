"""The two dashboards: who spends what, and how spendgate itself does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spendgate.monitoring.chargeback import CHARGEBACK
from spendgate.monitoring.operations import AT_A_GLANCE, DECISIONS, UNBOUND
from spendgate.monitoring.operations_state import BOOKS, CONTROLLERS, LEDGER
from spendgate.monitoring.panels import Shown, dashboard

__all__ = ["CHARGEBACK", "DASHBOARDS", "OPERATIONS", "chargeback", "operations"]

Json = dict[str, Any]
OPERATIONS = (*AT_A_GLANCE, *DECISIONS, *UNBOUND, *CONTROLLERS, *LEDGER, *BOOKS)


def chargeback(runbooks: str = "") -> Json:
    """Who spends what: for finance and teams."""
    return dashboard(
        "llm-cost-chargeback",
        "LLM Cost Chargeback",
        "What teams, apps and models cost this month, from spendgate's ledger.",
        ("llm", "cost", "finops"),
        CHARGEBACK,
        Shown("now/M", "5m", months=True),
        runbooks,
    )


def operations(runbooks: str = "") -> Json:
    """How spendgate itself does: for those on call."""
    return dashboard(
        "spendgate-operations",
        "spendgate Operations",
        "Decisions, latency, what passes unbounded, controllers, ledger and faults of spendgate.",
        ("llm", "spendgate"),
        OPERATIONS,
        Shown("now-6h", "30s", months=False),
        runbooks,
    )


DASHBOARDS: dict[str, Callable[[str], Json]] = {"chargeback": chargeback, "operations": operations}
