"""Expires holds whose worker died, also of teams that send nothing any more, and logs each."""

from __future__ import annotations

import asyncio

import structlog

from spendgate.errors import LedgerError
from spendgate.gateway.metrics import Metrics
from spendgate.ledger.exchanges import group_account, is_group
from spendgate.ledger.port import Ledger
from spendgate.records.record import expired_ending
from spendgate.records.writer import UsageLog

log = structlog.get_logger()

EVERY_S = 1.0
TEAMS_PER_SWEEP = 500
"""So that the work is the same for a hundred teams and for a hundred thousand. A team that sends requests is swept
by each of its reservations; the others' turn comes every TEAMS / TEAMS_PER_SWEEP seconds."""
LIMIT = 100


class Sweeper:
    """One round after the other over the teams, a constant number a step."""

    def __init__(self, ledger: Ledger, usage_log: UsageLog, metrics: Metrics, price_version: str) -> None:
        self._ledger = ledger
        self._usage_log = usage_log
        self._metrics = metrics
        self._price_version = price_version
        self._left: list[str] = []

    async def sweep(self) -> int:
        """Settle overdue holds of the next teams at their estimate; returns how many. Those of
        groups are the same exchanges again: their teams tell of them. Raises LedgerError, OSError."""
        if not self._left:
            self._left = await self._ledger.teams()
            self._left += map(group_account, await self._ledger.groups())
        teams, self._left = self._left[:TEAMS_PER_SWEEP], self._left[TEAMS_PER_SWEEP:]
        gone = [x for x in await self._ledger.expire_many(teams, limit=LIMIT) if not is_group(x.team)]
        if not gone:
            return 0
        endings = [expired_ending(x, self._price_version) for x in gone]
        log.warning(
            "holds_expired",
            teams=sorted({x.team for x in gone})[:20],
            exchanges=[x.exchange_id for x in gone][:20],
            holds=len(gone),
        )
        self._usage_log.write([x.record.line() for x in endings])
        for ending in endings:
            self._metrics.count(ending)
        return len(endings)

    async def run(self) -> None:
        """Sweep every second; an unreachable ledger is tried again."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.sweep()
            except (LedgerError, OSError) as problem:
                log.error("sweep_failed", error=str(problem))
