"""Every rule of spendgate."""

from __future__ import annotations

from spendgate.monitoring import budget_alerts, gateway_alerts
from spendgate.monitoring.rules import Alert, Group

GROUPS: tuple[Group, ...] = (*budget_alerts.GROUPS, *gateway_alerts.GROUPS)
ALERTS: tuple[Alert, ...] = tuple(r for g in GROUPS for r in g.rules if isinstance(r, Alert))
