"""The alerting loop of `up`: the same that the controller runs, on the local ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from spendgate.alerts.sender import Sender
from spendgate.alerts.watcher import AlertLoop, system_alert
from spendgate.budget.policy import Policy
from spendgate.ledger.port import Ledger
from spendgate.ledger.redis import url
from spendgate.rebuild.job import RebuildFinding

INTERVAL_S = 0.5
TIMEOUT_S = 10.0


class Alerting:
    """`begin` before traffic flows, then `run` until cancelled."""

    def __init__(
        self,
        ledger: Ledger,
        redis_url: str,
        policy: Callable[[], Policy],
        senders: list[Sender],
        data_dir: Path,
    ) -> None:
        self._client = url.client(redis_url, TIMEOUT_S)
        self._senders = senders
        self._loop = AlertLoop(ledger, self._client, policy, senders, data_dir=data_dir)

    async def begin(self) -> None:
        """Note what is crossed already where alerting never ran on this ledger. Raises LedgerUnavailable."""
        await self._loop.begin()

    async def tell(self, kind: RebuildFinding, key: str, detail: str) -> None:
        """Tell what became of the ledger, once a month by its key."""
        await self._loop.notify(system_alert(kind, key, detail, time.time_ns() // 1_000_000))

    async def run(self) -> None:
        """Look and deliver until cancelled; then connections are given back."""
        async with self._closing():
            await self._loop.run_forever(INTERVAL_S)

    @contextlib.asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for sender in self._senders:
                await sender.close()
            await self._client.aclose()
