"""Keeps every status true: judged every few seconds and at each change, confirmed by the gateways' own reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from spendgate.controller.confirmation import Confirmation, History
from spendgate.controller.kube.informer import Key
from spendgate.controller.reconcile import DesiredState, Reconciled, Verdict, changes
from spendgate.controller.status import Numbers, models_named
from spendgate.controller.status_writer import StatusWriter
from spendgate.errors import LedgerError
from spendgate.ledger.port import Read
from spendgate.ledger.redis.client import Client
from spendgate.ledger.redis.gateways import Gateways, Report
from spendgate.months import month_key
from spendgate.pricing.table import PriceTable
from spendgate.protos.policy_pb2 import PolicySnapshot
from spendgate.views.carries import Carries, account_of
from spendgate.views.history import History as SpendHistory

log = structlog.get_logger()

STATUS_S = 5.0
STATUS_S_PER_TEAM = 0.001
"""How often statuses are judged: every five seconds, less often where there are thousands, and never less often
than RECONCILE_INTERVAL."""
LOOK_S = 0.2
CONFIRM_S = 0.5
"""How often the gateways' reports are read while one of them is behind."""
PATIENCE_S = 2.0
"""How long a change waits for the gateways before its status says that they are behind."""


class StatusLoop:
    """`run` for ever. `may` says whether this replica writes statuses, `leads` whether it still leads,
    `elsewhere` who else keeps the policy."""

    def __init__(
        self,
        ledger: Read,
        redis: Client,
        writer: StatusWriter,
        spend: SpendHistory,
        carries: Carries,
        prices: PriceTable,
        reconciled: Callable[[], Reconciled],
        may: Callable[[], bool],
        leads: Callable[[], bool],
        now_ms: Callable[[], int],
        interval_ms: int,
        elsewhere: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._gateways = Gateways(redis)
        self._writer = writer
        self._spend = spend
        self._carries = carries
        self._prices = prices
        self._reconciled = reconciled
        self._may = may
        self._leads = leads
        self._now_ms = now_ms
        self._interval_s = interval_ms / 1000
        self._elsewhere = elsewhere
        self._unpriced: dict[str, tuple[str, ...]] = {}
        self._history = History()
        self._snapshot: PolicySnapshot | None = None
        self._reports: dict[str, Report] | None = None
        self._read_at = float("-inf")
        self._behind: dict[Key, float] = {}

    def published(self, snapshot: PolicySnapshot | None) -> None:
        """The policy in Redis, as far as is known."""
        if snapshot is not None and snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._history.learn(snapshot)

    async def run(self) -> None:
        """Judge all in turn, and what changed at once."""
        seen = Reconciled((), {})
        while True:
            started = time.monotonic()
            pace_s = max(STATUS_S, STATUS_S_PER_TEAM * len(self._reconciled().verdicts))
            every_s = min(pace_s, self._interval_s)
            if self._may():
                seen = self._reconciled()
                await self._round(seen.verdicts)
            while time.monotonic() - started < every_s:
                await asyncio.sleep(min(LOOK_S, every_s))
                if not self._may():
                    continue
                before, seen = seen, self._reconciled()
                due = changes(before.verdicts, seen.verdicts)
                due |= await self._waiting(seen)
                if due:  # it is answered at once
                    await self._round(due)
                else:
                    await self._writer.go_on(self._leads, self._now_ms)

    async def _waiting(self, reconciled: Reconciled) -> dict[Key, Verdict]:
        """What gateways were behind with, as often as their reports are read."""
        if not self._behind or time.monotonic() - self._read_at < CONFIRM_S:
            return {}
        return {k: v for k in self._behind if (v := reconciled.verdicts.get(k)) is not None}

    async def _round(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Bring the statuses of these up to date."""
        at = self._now_ms()
        numbers: dict[str, Numbers] | None = None
        fault = ""
        budgets = [v.in_force.budget for v in verdicts.values() if v.in_force is not None]
        try:
            teams = [b.team for b in budgets]
            balances = await self._ledger.balances([account_of(b) for b in budgets], month_key(at))
            found = {t: Numbers(*balance) for t, balance in zip(teams, balances, strict=True)}
            await self._spend.refresh({t: n.settled_nanousd for t, n in found.items()}, at)
            await self._carries.refresh(budgets, at)
            numbers = {
                b.team: replace(
                    n,
                    forecast_nanousd=self._spend.outlook(self._carries.of(b, at), at, n.settled_nanousd)[0],
                    carried_nanousd=self._carries.carried_nanousd(b, at),
                )
                for b in budgets
                if (n := found.get(b.team)) is not None
            }
            self._reports = await self._gateways.alive()
        except LedgerError as problem:
            self._reports = None
            fault = "Redis does not answer"
            log.warning("numbers_missing", error=str(problem))
        self._read_at = time.monotonic()
        ripe = {k: v for k, v in verdicts.items() if not self._is_patient(k, v)}
        todo = self._writer.pending(ripe, numbers, at, self._unpriced_of, fault, self.confirmation)
        await self._writer.write(todo, self._leads, self._now_ms)

    def confirmation(self, verdict: Verdict) -> Confirmation | None:
        """Who enforces what of a document is in force; None where nobody can know."""
        if verdict.in_force is None or self._reports is None:
            return None
        if owner := self._elsewhere():
            return Confirmation(0, elsewhere=owner)
        return self._history.of(verdict.in_force, self._reports)

    def _is_patient(self, key: Key, verdict: Verdict) -> bool:
        """Is a status better told in a moment, when the gateways have had time to follow?"""
        found = self.confirmation(verdict) if verdict.state is DesiredState.READY else None
        if found is None or found.everywhere or not found.gateways:
            self._behind.pop(key, None)
            return False
        now = time.monotonic()
        return now - self._behind.setdefault(key, now) < PATIENCE_S

    def _unpriced_of(self, verdict: Verdict) -> tuple[str, ...]:
        if verdict.in_force is None:
            return ()
        budget = verdict.in_force.budget
        found = self._unpriced.get(budget.digest)
        if found is None:
            if len(self._unpriced) > 50_000:
                self._unpriced.clear()
            found = tuple(m for m in models_named(budget) if self._prices.find(m) is None)
            self._unpriced[budget.digest] = found
        return found
