"""The alerting loop of `up`: the same that the controller runs, on the local ledger."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from spendgate.alerts.reports import reports_from
from spendgate.alerts.sender import Sender
from spendgate.alerts.watcher import AlertLoop, system_alert
from spendgate.budget.policy import Policy
from spendgate.errors import LedgerError
from spendgate.ledger.port import Ledger
from spendgate.ledger.redis import url
from spendgate.months import month_key
from spendgate.rebuild.job import RebuildFinding

log = structlog.get_logger()

INTERVAL_S = 0.5
NOTE_S = 5.0
TIMEOUT_S = 10.0


class Alerting:
    """`begin` before traffic flows, then `run` until cancelled. Where nobody is to be told, only the budgets in force
    are written down for the month's books."""

    def __init__(
        self,
        ledger: Ledger,
        redis_url: str,
        policy: Callable[[], Policy],
        senders: list[Sender],
        data_dir: Path,
        usage_log: str = "",
    ) -> None:
        self._client = url.client(redis_url, TIMEOUT_S)
        self._senders = senders
        self._policy = policy
        reports = reports_from(os.environ, Path(usage_log) if usage_log not in ("", "-", "off") else None)
        self._loop = AlertLoop(ledger, self._client, policy, senders, data_dir=data_dir, reports=reports)

    async def begin(self) -> None:
        """Note what is crossed already where alerting never ran on this ledger. Raises LedgerUnavailable."""
        if self._senders:
            await self._loop.begin()

    async def tell(self, kind: RebuildFinding, key: str, detail: str) -> None:
        """Tell what became of the ledger, once a month by its key."""
        await self._loop.notify(system_alert(kind, key, detail, time.time_ns() // 1_000_000))

    async def run(self) -> None:
        """Look and deliver until cancelled; then connections are given back."""
        async with self._closing():
            if self._senders:
                await self._loop.run_forever(INTERVAL_S)
            while True:
                try:
                    await self._loop.book.note(self._policy(), month_key(time.time_ns() // 1_000_000))
                except LedgerError as problem:
                    log.warning("budgets_not_noted", error=str(problem))
                await asyncio.sleep(NOTE_S)

    @contextlib.asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for sender in self._senders:
                await sender.close()
            await self._client.aclose()
