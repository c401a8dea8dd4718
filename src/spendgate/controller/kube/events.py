"""Events on a budget for what crossed its thresholds, delivered like every other alert: claimed in Redis, in
order, tried again until the API server has them, and under a name of their own, so that none is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from spendgate.alerts.alert import Alert
from spendgate.alerts.message import text_of
from spendgate.alerts.sender import Delivered, DeliveryRejected, Outcome, Retry
from spendgate.budget.model import API_VERSION, KIND
from spendgate.controller.kube.client import Kube, KubeError, KubeUnavailable, Object

COMPONENT = "spendgate-controller"
MESSAGE_MAX = 1024
"""Characters of an event's message; the API server refuses more."""
_REASONS = {
    "threshold": "ThresholdCrossed",
    "exhausted": "ThresholdCrossed",
    "recovered": "BudgetRaised",
    "rebuilt": "LedgerRebuilt",
    "drift": "LedgerDrift",
    "anomaly": "UnusualSpend",
    "limit": "LimitThreshold",
}
_WARNINGS = {"exhausted", "drift", "anomaly"}


def event(
    obj: Object, identity: str, name: str, reason: str, message: str, warning: bool, now: datetime
) -> Object:
    """A core/v1 Event on a budget."""
    meta = obj["metadata"]
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    involved: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND}
    involved |= {k: meta.get(k) for k in ("name", "namespace", "uid", "resourceVersion")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{str(meta.get('name', ''))[:220]}.{name}",
            "namespace": meta.get("namespace", ""),
        },
        "involvedObject": involved,
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 1] + "…",
        "source": {"component": COMPONENT, "host": identity[:253]},
        "reportingComponent": COMPONENT,
        "reportingInstance": identity[:128],
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def events_path(namespace: str) -> str:
    """The API's path of a namespace's events."""
    return f"/api/v1/namespaces/{namespace}/events"


class EventSender:
    """`budget_of` gives the object whose budget is in force for a team, None where there is none (any more)."""

    name = "event"
    min_interval_s = 0.02
    """Fifty a second: a month in which thousands cross at once must not flood the API server."""

    def __init__(self, kube: Kube, identity: str, budget_of: Callable[[str], Object | None]) -> None:
        self._kube = kube
        self._identity = identity
        self._budget_of = budget_of

    def targets(self, alert: Alert) -> tuple[str, ...]:
        """Its own name, for what concerns one team and happened to its budget."""
        return (self.name,) if alert.team and alert.kind != "digest" else ()

    async def send(self, alert: Alert, target: str, again: bool) -> Outcome:
        """One attempt."""
        obj = self._budget_of(alert.team)
        if obj is None:
            return DeliveryRejected(f"no budget of team {alert.team} is in force")
        what = f"{alert.id}/{alert.limit_nanousd}/{alert.at_ms}"
        name = hashlib.sha256(what.encode()).hexdigest()[:16]
        body = event(
            obj, self._identity, name, _REASONS[alert.kind], text_of(alert), alert.kind in _WARNINGS,
            datetime.fromtimestamp(alert.at_ms / 1000, UTC),
        )  # fmt: skip
        try:
            await self._kube.create(events_path(str(obj["metadata"].get("namespace", ""))), body)
        except KubeError as problem:
            if problem.conflict:
                return Delivered()  # an attempt before this one arrived
            if problem.status in (400, 404, 413, 422):
                return DeliveryRejected(str(problem))
            return Retry(str(problem))
        except KubeUnavailable as problem:
            return Retry(str(problem))
        return Delivered()

    async def close(self) -> None:
        """The connection is the controller's."""
