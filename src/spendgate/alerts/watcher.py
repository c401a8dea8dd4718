"""The loop: reads every budget's month, opens what was crossed, and lets the courier deliver it.

None at start-up, and why: the very first loop on a store writes down quietly what is crossed already, for it
happened before anybody watched (a gateway put before a ledger with history). Every later start finds its
records: what was told stays told, and what was crossed while all were down has no record and is told, one post
each, in order of percent. A budget that is put on a team already above a threshold is told: that is news.

Beside that it writes down which budgets are in force, so that a month can be judged by its own when it is over.

The month before is looked at for one hour more: for what was crossed in its last seconds, or settled late.

What another process opened where none of this looks (for a team without a budget, or in an earlier month) is looked for
at the start and every few minutes: whoever opened it may have died before it was delivered.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from pathlib import Path

import structlog

from spendgate.alerts.alert import Alert, Kind
from spendgate.alerts.claims import (
    CLAIM_MS,
    SEEN,
    Claims,
    alert_fields,
    is_seen_alike,
    limit_seen,
    open_deliveries,
    records_of,
    seen_as,
)
from spendgate.alerts.compose import Facts, compose
from spendgate.alerts.courier import Count, DeliveryWorker
from spendgate.alerts.crossings import Crossing, Verdict, judge
from spendgate.alerts.limit_alerts import LimitAlerts
from spendgate.alerts.limit_thresholds import usual_names
from spendgate.alerts.memory import AlertMemory
from spendgate.alerts.reports import NO_REPORTS, ReportPlan, Reports
from spendgate.alerts.sender import Sender, Timing
from spendgate.alerts.spend import TeamMonthRow, standings
from spendgate.budget.forecast import forecast, history_days
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.budget.rollover import with_carry
from spendgate.errors import LedgerError
from spendgate.ledger.exchanges import group_account
from spendgate.ledger.port import Ledger
from spendgate.ledger.redis.client import Client
from spendgate.months import days_before, last_months, month_key, month_last_ms, previous_month
from spendgate.policy.month_budgets import BudgetBook
from spendgate.values import dataclass
from spendgate.views.carries import Carries

log = structlog.get_logger()

PREVIOUS_MONTH_MS = 3_600_000
REPORT_S = 30.0
ELSEWHERE_MS = 300_000
ELSEWHERE_MONTHS = 4
"""A month's alerts live for 70 days after the last of them was written."""
NO_TEAM = ""
"""Alerts of no team: a rebuilt ledger, drift."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def owner_name() -> str:
    """A name for this process that no other has, before or after."""
    return f"{socket.gethostname()}-{secrets.token_hex(6)}"


@dataclass(slots=True)
class AlertLoop:
    """Any number of these may run on one store; each crossing is told once.

    `policy` gives the budgets in force. With `data_dir` what is known survives this process and Redis.
    `count` hears `posted`, `failed` (an attempt), `refused` (given up) with 1, and `pending` with how many
    deliveries are open.
    """

    ledger: Ledger
    redis: Client
    policy: Callable[[], Policy]
    senders: Sequence[Sender]
    clock_ms: Callable[[], int] = _now_ms
    data_dir: Path | None = None
    count: Count = lambda name, n: None
    timing: Timing = field(default_factory=Timing)
    claim_ms: int = CLAIM_MS
    owner: str = field(default_factory=owner_name)
    claims: Claims = field(init=False)
    memory: AlertMemory = field(init=False)
    courier: DeliveryWorker = field(init=False)
    book: BudgetBook = field(init=False)
    reports: ReportPlan = NO_REPORTS
    _carries: Carries = field(init=False)
    _reports: Reports = field(init=False)
    _limits: LimitAlerts = field(init=False)
    _unread: list[Alert] = field(init=False, default_factory=list)
    _watched: frozenset[str] | None = field(init=False, default=None)
    _elsewhere_ms: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.claims = Claims(self.redis, self.owner, self.claim_ms)
        self.memory = AlertMemory(self.data_dir)
        self.book = BudgetBook(self.redis)
        self._carries = Carries(self.ledger)
        self._reports = Reports(self.reports, self.ledger, self._carries)
        self.courier = DeliveryWorker(self.claims, self.memory, self.senders, self.timing, self.count)
        self._limits = LimitAlerts(self.redis, self.claims, self.memory, self.courier, self._targets)

    async def run_once(self, now_ms: int = 0) -> None:
        """One look, the reports that are due, and every delivery that can be made now; a target that fails is left for
        the next time.

        Raises LedgerUnavailable; then nothing is lost, the next call does it."""
        if await self.look(now_ms):
            await self.report(now_ms)
        await self.courier.deliver_all()

    async def run_forever(self, interval_s: float = 1.0, interval_s_per_budget: float = 0.0) -> None:
        """Look every interval (the longer of the two), report and deliver beside it, until cancelled. A store that is
        away is tried again."""
        self._elsewhere_ms = 0  # another may have been at it since the last time
        async with asyncio.TaskGroup() as group:
            group.create_task(self.courier.run_forever())
            reporting = None
            while True:
                try:
                    if await self.look() and reporting is None:
                        reporting = group.create_task(self._report_forever())
                except (LedgerError, OSError) as problem:
                    log.error("alerts_look_failed", error=str(problem))
                await asyncio.sleep(max(interval_s, interval_s_per_budget * len(self.policy().every)))

    async def _report_forever(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(REPORT_S)

    async def begin(self) -> None:
        """Write the baseline before traffic flows, where this is the first loop on the store. Raises
        LedgerUnavailable."""
        while not await self.look():
            await self.timing.sleep(0.2)

    async def notify(self, alert: Alert) -> None:
        """Tell something that is no crossing (`rebuilt`, `drift`) once by its key and month. Kept in memory
        until Redis has it."""
        self._unread.append(alert)
        await self._open_unread()

    async def look(self, now_ms: int = 0) -> bool:
        """Compare every budget with what is told of it; False while another process writes the baseline.

        Raises LedgerUnavailable."""
        now_ms = now_ms or self.clock_ms()
        begun = await self.claims.begin(self.memory.known)
        if begun == "wait":
            return False
        moments = [now_ms]
        month_now = month_key(now_ms)
        before = previous_month(now_ms)
        if month_key(now_ms - PREVIOUS_MONTH_MS) == before:
            moments.insert(0, month_last_ms(before))
        policy = self.policy()
        budgets = dict(policy.budgets)
        if policy.templates:
            others = ((t, policy.budget(t)) for t in await self.ledger.teams() if t not in budgets)
            budgets |= {t: b for t, b in others if b is not None}
        budgets |= {group_account(name): group for name, group in policy.groups.items()}
        await self.book.note(policy, month_now)
        pending = 0
        for at_ms in moments:
            month = month_key(at_ms)
            await self._carries.refresh(budgets.values(), at_ms, now_ms)
            found = await standings(self.redis, [*budgets, NO_TEAM], month)
            seen: dict[str, str] = {}
            changed = [
                s.team
                for s in found
                if await self._one(
                    s, budgets.get(s.team), at_ms, begun == "baseline", month == month_now, seen
                )
            ]
            if seen:
                await self.claims.note_seen(month, seen)
            if changed:
                fresh = {s.team: s for s in await standings(self.redis, changed, month)}
                found = [fresh.get(s.team, s) for s in found]
            for s in found:
                if s.fields.keys() - {SEEN}:
                    self.memory.note(month, s.team, s.fields)
                pending += self.courier.expect(s.team, month, [t for _, t in open_deliveries(s.fields)])
        self._watched = frozenset(b.team for b in budgets.values())
        await self._open_unread()
        await self._limits.look(budgets.values(), now_ms, begun == "baseline")
        self.count("pending", pending + self._limits.pending)
        if begun == "baseline":
            async for team, month, key in self._reports.present(policy, now_ms):
                await self.claims.open(team, month, quiet=[(key, 0)])
            await self.claims.begun()
        self.memory.keep([before, month_now, *self._limits.names])
        self.memory.save()
        await self._look_elsewhere(budgets, now_ms)
        return True

    async def _look_elsewhere(self, budgets: Iterable[str], now_ms: int) -> None:
        """Expect what is open in any account and month, whoever opened it."""
        if 0 <= now_ms - self._elsewhere_ms < ELSEWHERE_MS:
            return
        groups = [group_account(name) for name in await self.ledger.groups()]
        accounts = {*await self.ledger.teams(), *groups, *budgets, NO_TEAM}
        months = (*last_months(now_ms, ELSEWHERE_MONTHS), *usual_names(now_ms))
        places = [(account, month) for month in months for account in sorted(accounts)]
        for (account, month), fields in zip(places, await alert_fields(self.redis, places), strict=True):
            self.courier.expect(account, month, [t for _, t in open_deliveries(fields)])
        self._elsewhere_ms = now_ms

    async def report(self, now_ms: int = 0) -> None:
        """Open the reports that are due. One that fails is tried again at the next call, and keeps nothing else from
        being told."""
        now_ms = now_ms or self.clock_ms()
        for kind in self._reports.kinds:
            try:
                async for alert in self._reports.due(kind, self.policy(), now_ms):
                    await self._tell(alert)
            except Exception as problem:  # noqa: BLE001  alerting goes on, whatever a report fails of
                log.error("report_failed", report=kind, error=f"{type(problem).__name__}: {problem}")

    async def _tell(self, alert: Alert) -> None:
        """Open a report, where it was not told before."""
        targets = self._targets(alert)
        if await self.claims.open(alert.team, alert.month, [(alert, targets)]):
            log.info("report_opened", team=alert.team, month=alert.month, report=alert.key)
            self.courier.expect(alert.team, alert.month, targets)

    async def _one(
        self,
        s: TeamMonthRow,
        budget: TeamBudget | None,
        at_ms: int,
        quiet: bool,
        is_now: bool,
        seen: dict[str, str],
    ) -> bool:
        """Mend and open one team's alerts; True where Redis was written to. `seen` takes what is still to be noted of
        the budget. A month that is over (`is_now` False) is judged by its own budget alone, as long as that is the one
        in force."""
        changed = await self.memory.mend(self.claims, s.month, s.team, s.fields)
        if budget is None or (changed and not s.fields):
            return changed  # what was put back is judged at the next look
        carried = self._carries.carried_nanousd(budget, at_ms)
        before = s.fields.get(SEEN, "")
        now = seen_as(budget.limit_nanousd(at_ms), budget.thresholds, carried)
        if before and not is_seen_alike(before, now) and not is_now:
            return changed
        is_new = self._watched is not None and budget.team not in self._watched
        edited = not is_seen_alike(before, now) if before else is_now and is_new
        budget = with_carry(budget, carried, at_ms)
        limit = budget.limit_nanousd(at_ms)
        verdict = judge(budget, s.settled_nanousd, limit, records_of(s.fields), edited)
        if not verdict.fresh and not verdict.arm:
            if before != now:
                seen[s.team] = now
            return changed
        arm = [(key, s.fields[key], limit) for key in verdict.arm]
        if quiet:
            keys = [(c.key, limit) for c in verdict.fresh if c.kind != "recovered"]
            await self.claims.open(s.team, s.month, quiet=keys, arm=arm, seen=now)
            return True
        was = limit_seen(before) if edited else None
        alerts = [(a, self._targets(a)) for a in await self._alerts(verdict, budget, s, at_ms, was)]
        silent = [(key, limit) for key in verdict.quiet]
        opened = await self.claims.open(s.team, s.month, alerts, silent, arm, seen=now)
        for alert, targets in alerts:
            if alert.key in opened:
                log.info("alert_opened", team=s.team, month=s.month, crossing=alert.key)
                self.courier.expect(s.team, s.month, targets)
        return True

    async def _alerts(
        self, verdict: Verdict, budget: TeamBudget, s: TeamMonthRow, at_ms: int, was_nanousd: int | None
    ) -> Iterable[Alert]:
        month = await self.ledger.month(s.team, s.month)
        days = await self.ledger.daily([s.team], history_days(at_ms))
        outlook = forecast(days[s.team], at_ms, month.settled_nanousd)
        earlier = await self.ledger.daily([s.team], days_before(at_ms))
        facts = Facts(was_nanousd, sum(earlier[s.team]))
        return [compose(crossing, budget, month, outlook, at_ms, facts) for crossing in verdict.fresh]

    def _targets(self, alert: Alert) -> tuple[str, ...]:
        return tuple(target for sender in self.senders for target in sender.targets(alert))

    async def _open_unread(self) -> None:
        while self._unread:
            alert = self._unread[0]
            targets = self._targets(alert)
            if await self.claims.open(NO_TEAM, alert.month, [(alert, targets)]):
                self.courier.expect(NO_TEAM, alert.month, targets)
            self._unread.pop(0)


def system_alert(kind: Kind, key: str, detail: str, now_ms: int, team: str = "") -> Alert:
    """An alert that is no crossing, for `AlertLoop.notify`; it is told once a month by `key`."""
    return Alert(f"{kind}:{key.replace('@', '~')}", kind, team, month_key(now_ms), now_ms, detail=detail)


__all__ = ["AlertLoop", "Crossing", "owner_name", "system_alert"]
