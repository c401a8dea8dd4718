"""Every rule of spendgate."""

from __future__ import annotations

from spendgate.monitoring import budget_alerts, gateway_alerts, ledger_alerts, policy_alerts, recorded
from spendgate.monitoring.rules import Alert, Group

GROUPS: tuple[Group, ...] = (
    *budget_alerts.GROUPS, *recorded.GROUPS, *gateway_alerts.GROUPS, *ledger_alerts.GROUPS, *policy_alerts.GROUPS,
)  # fmt: skip


def groups(aborted_percent: float) -> tuple[Group, ...]:
    """Every rule, with another share of a day's spend that calls which clients left may make."""
    changed = gateway_alerts.aborted(aborted_percent)
    return tuple(
        Group(g.name, tuple(changed if r.name == changed.name else r for r in g.rules)) for g in GROUPS
    )


ALERTS: tuple[Alert, ...] = tuple(r for g in GROUPS for r in g.rules if isinstance(r, Alert))
