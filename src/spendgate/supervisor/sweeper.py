"""Expires holds whose worker died, also of teams that send nothing any more, and logs each."""

from __future__ import annotations

import asyncio

import structlog

from spendgate.errors import LedgerError
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.record import expired_ending
from spendgate.gateway.usage_log import UsageLog
from spendgate.ledger.port import Ledger

log = structlog.get_logger()

EVERY_S = 1.0
LIMIT = 500


async def sweep_once(ledger: Ledger, usage_log: UsageLog, metrics: Metrics, price_version: str) -> int:
    """One round over all teams; returns how many holds were settled at their estimate."""
    n = 0
    for team in await ledger.teams():
        gone = await ledger.expire(team, limit=LIMIT)
        endings = [expired_ending(x, price_version) for x in gone]
        if not endings:
            continue
        n += len(endings)
        log.warning("holds_expired", team=team, exchanges=[x.record.exchange_id for x in endings][:20])
        usage_log.write([x.record.line() for x in endings])
        for ending in endings:
            metrics.count(ending)
    return n


async def sweep_forever(ledger: Ledger, usage_log: UsageLog, metrics: Metrics, price_version: str) -> None:
    """Sweep every second; an unreachable ledger is tried again."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await sweep_once(ledger, usage_log, metrics, price_version)
        except (LedgerError, OSError) as problem:
            log.error("sweep_failed", error=str(problem))
