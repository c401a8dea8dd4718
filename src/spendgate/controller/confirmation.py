"""Do the gateways enforce what was published? Their reports against the history of the policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.controller.reconcile import InForce
from spendgate.ledger.redis.gateways import Report
from spendgate.protos.policy_pb2 import PolicySnapshot
from spendgate.values import dataclass

VERSIONS_KEPT = 200
"""Versions of the policy that are still known; a gateway with an older one enforces nothing that is known."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Of one budget's generation: how many gateway workers there are, and who of them does not enforce it (yet)."""

    gateways: int
    behind: int = 0
    who: str = ""
    """One of those."""
    elsewhere: str = ""
    """Who keeps the policy, where it is not these controllers: nothing of here is in it."""

    @property
    def everywhere(self) -> bool:
        """Does every gateway enforce it?"""
        return self.gateways > 0 and not self.behind


class History:
    """Which versions of the policy there were, in order, and since which of them each document is in it."""

    def __init__(self) -> None:
        self._at = 0
        self._since: dict[str, tuple[int, int]] = {}
        self._order: dict[str, int] = {}

    def learn(self, snapshot: PolicySnapshot) -> None:
        """The policy in Redis is this one now, whoever wrote it."""
        self._at += 1
        since: dict[str, tuple[int, int]] = {}
        for entry in snapshot.budgets:
            content = hash(entry.json)
            had = self._since.get(entry.uid)
            since[entry.uid] = had if had is not None and had[0] == content else (content, self._at)
        self._since = since
        self._order.pop(snapshot.version, None)
        self._order[snapshot.version] = self._at
        while len(self._order) > VERSIONS_KEPT:
            del self._order[next(iter(self._order))]

    def of(self, entry: InForce, reports: Mapping[str, Report]) -> Confirmation:
        """Who of the gateways enforces a document's generation in force?"""
        content, since = self._since.get(entry.uid, (0, 0))
        if not since or content != hash(entry.json):
            since = self._at + 1  # it is not published yet
        behind = [
            name
            for name, report in reports.items()
            if self._order.get(report.version, 0) < since or entry.uid in report.misread
        ]
        return Confirmation(len(reports), len(behind), min(behind, default=""))
