"""Keeps the memory of what the ledger says, and gives it back where the ledger lost it.

One a replica (the supervisor of `up` and `serve`, the controller). Beats once a second; reads every team's counters
every few seconds; at a loss gives all teams back what it remembers, before anything else is rebuilt. A reading
counts only where the epoch is the same before and after it: what a flushed Redis says is never remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.budget.policy import Policy
from spendgate.errors import LedgerUnavailable
from spendgate.ledger.exchanges import group_account
from spendgate.ledger.recovery.checkpoint import Checkpoint, recall, restore_argument
from spendgate.ledger.recovery.heartbeat import BEAT_S, Heartbeat, make_whole
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key

log = structlog.get_logger()

RECALL_S = 2.0
RECALL_S_PER_TEAM = 0.004
RECALL_MAX_S = 20.0
"""Between two readings: two seconds, twenty where there are five thousand teams or more. A reading costs Redis one
small script a team, of every replica. RECALL_MAX_S is well within what gateways send again (`recent`)."""


class Checkpointer(Collector):
    """`start` once, then `run` until cancelled. `path` None: the memory lives as long as the process."""

    def __init__(self, ledger: RedisLedger, policy: Callable[[], Policy], path: Path | None = None) -> None:
        self._ledger = ledger
        self._policy = policy
        self._path = path
        self.memory = Checkpoint.read(path) if path is not None else Checkpoint()
        self.pulse = Heartbeat(self.memory.process, self.memory.epoch, self.memory.acknowledged)
        self.lost_total = 0
        self.rebuilt_at_s = 0.0
        self.lost = asyncio.Event()
        """Set at every loss; whoever rebuilds clears it."""
        self._recalled_at = float("-inf")
        self._owed = False

    async def start(self) -> None:
        """The first beat, before anybody spends: a loss while all were down is noticed here."""
        try:
            await self._round()
        except LedgerUnavailable as problem:
            log.warning("ledger_memory_waits", error=str(problem))

    async def run(self) -> None:
        """Beat, read and give back for ever; a ledger that is away is waited for."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._round()
            except LedgerUnavailable as problem:
                log.debug("ledger_memory_waits", error=str(problem))
            except OSError as problem:
                log.error("ledger_memory_not_written", path=str(self._path), error=str(problem))

    async def rebuilt(self) -> None:
        """Say that the spend of the epoch in force is whole. Raises LedgerUnavailable."""
        await make_whole(self._ledger, self.pulse.epoch)
        self.rebuilt_at_s = time.time()

    async def _round(self) -> None:
        if await self._beat() or self._owed:
            await self._give_back()
        now = time.monotonic()
        wait = min(RECALL_MAX_S, max(RECALL_S, RECALL_S_PER_TEAM * len(self.memory.teams)))
        if now - self._recalled_at >= wait:
            await self._recall()
            self._recalled_at = now

    async def _beat(self) -> bool:
        if not await self.pulse.beat(self._ledger):
            return False
        epoch = self.pulse.epoch
        self.lost_total += 1
        self._owed = True
        log.critical(
            "ledger_lost", epoch=epoch.number, empty=epoch.empty, remembered_teams=len(self.memory.teams)
        )
        return True

    async def _give_back(self) -> None:
        memory, epoch = self.memory, self.pulse.epoch
        asked = [(team, restore_argument(epoch, memory.month, known)) for team, known in memory.teams.items()]
        began = time.monotonic()
        done = await self._ledger.restore(asked)
        log.warning(
            "ledger_given_back",
            teams=len(done),
            nanousd=sum(r.remembered_nanousd for r in done),
            seconds=round(time.monotonic() - began, 3),
        )
        self._owed = False
        self.lost.set()

    async def _recall(self) -> None:
        now_ms = self.pulse.ledger_us() // 1000
        policy = self._policy()
        epoch = self.pulse.epoch
        teams_known = {*policy.budgets, *await self._ledger.teams()}
        budgets = {team: b for team in teams_known if (b := policy.budget(team)) is not None}
        budgets |= {group_account(name): group for name, group in policy.groups.items()}
        names = sorted({*teams_known, *budgets, *map(group_account, await self._ledger.groups())})
        teams = await recall(self._ledger, names, budgets, now_ms)
        if await self._beat():
            await self._give_back()
            return
        self.memory = Checkpoint(epoch, self.pulse.process, self.pulse.acknowledged, month_key(now_ms), teams)
        if self._path is not None:
            await asyncio.to_thread(self.memory.write, self._path)

    def collect(self) -> list[Metric]:
        """The epoch's metrics."""
        epoch = self.pulse.epoch
        return [
            GaugeMetricFamily(
                "spendgate_ledger_epoch",
                "Number of the ledger's epoch: one more after each loss.",
                epoch.number,
            ),
            GaugeMetricFamily(
                "spendgate_ledger_rebuilding",
                "1 from the loss of the ledger's data until spend is rebuilt from metrics and logs.",
                float(epoch.lost),
            ),
            CounterMetricFamily(
                "spendgate_ledger_lost", "Losses of the ledger's data that were noticed.", self.lost_total
            ),
            GaugeMetricFamily(
                "spendgate_ledger_rebuilt_timestamp_seconds",
                "When this process last finished a rebuild (0: never).",
                self.rebuilt_at_s,
            ),
            GaugeMetricFamily(
                "spendgate_ledger_remembered_teams",
                "Teams whose spend this replica remembers outside of the ledger.",
                len(self.memory.teams),
            ),
        ]
