"""What the console and the Slack commands show, gathered from ledger and policy. Amounts are nano-USD.

Reading every team's numbers costs a round trip for every few hundred teams; what is read is kept for
`FRESH_MS`, so that many open pages cost the ledger no more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.forecast import Forecast
from spendgate.budget.phase import phase_of
from spendgate.budget.policy import TeamBudget
from spendgate.console.overview import Overview, month_before, overview
from spendgate.errors import LedgerError
from spendgate.exchange.snapshot import Snapshot
from spendgate.ledger.accounting import accounting_cells
from spendgate.ledger.port import Adjusted, DayCell, RefusedRequest, TeamMonth
from spendgate.ledger.redis.holds import Holds, read_holds
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import day_key, month_key, month_last_ms
from spendgate.views.bounds import BoundsNow, read_bounds
from spendgate.views.budgets import utilization
from spendgate.views.history import History

FRESH_MS = 1_000
OVERVIEW_FRESH_MS = 10_000
FEW_TEAMS = 200
"""Up to so many their days are read for the page; those of more are read meanwhile."""
MONTHS_BACK = 13
HOLDS_SHOWN = 20
TEAMS_AT_ONCE = 10
"""Histories read between two turns of the event loop."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Row:
    """One team's month in the overview. `limit_nanousd` None: no budget. `forecast` None: not this month."""

    team: str
    limit_nanousd: int | None
    settled_nanousd: int
    reserved_nanousd: int
    utilization: float | None
    phase: str
    thresholds: tuple[tuple[int, str], ...] = ()
    """(percent, action), for the marks on the bar."""

    @property
    def committed_nanousd(self) -> int:
        """settled + reserved."""
        return self.settled_nanousd + self.reserved_nanousd


@dataclass(frozen=True, slots=True)
class TeamView:
    """Everything about one team's month."""

    row: Row
    budget: TeamBudget | None
    month: TeamMonth
    days: tuple[tuple[str, int], ...]
    """(`YYYYMMDD`, settled) of every day of the month until today."""
    forecast: Forecast | None
    exhausted_at_ms: int | None
    refusals: tuple[RefusedRequest, ...]
    holds: Holds


class Books:
    """Reads for pages. Raises LedgerUnavailable where the ledger does not answer."""

    def __init__(
        self, ledger: RedisLedger, snapshot: Callable[[], Snapshot], now_ms: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self.snapshot = snapshot
        self.now_ms = now_ms
        self._history = History(ledger)
        self._rows: dict[str, tuple[int, str, list[Row]]] = {}
        self._reading = asyncio.Lock()
        self._history_lock = asyncio.Lock()
        self._filling: asyncio.Task[None] | None = None
        self._overviews: dict[str, tuple[int, Overview]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._glancing = asyncio.Lock()

    @property
    def this_month(self) -> str:
        """The key of the month that runs."""
        return month_key(self.now_ms())

    async def rows(self, month: str) -> list[Row]:
        """Every team with a budget or spend, the fullest budget first; those without one last."""
        async with self._reading:
            now = self.now_ms()
            policy = self.snapshot().policy
            known = self._rows.get(month)
            if known is not None and now - known[0] < FRESH_MS and known[1] == policy.version:
                return known[2]
            teams = sorted({*policy.teams, *await self._ledger.teams()})
            balances = await self._ledger.balances(teams, month)
            at = min(now, month_last_ms(month))
            rows = [self._row(t, b, at) for t, b in zip(teams, balances, strict=True)]
            rows = [r for r in rows if r.limit_nanousd is not None or r.committed_nanousd]
            rows.sort(
                key=lambda r: (r.utilization is None, -(r.utilization or 0), -r.settled_nanousd, r.team)
            )
            self._rows = {m: v for m, v in self._rows.items() if now - v[0] < FRESH_MS}
            self._rows[month] = (now, policy.version, rows)
            return rows

    async def forecasts(self, rows: Sequence[Row]) -> dict[str, Forecast]:
        """Where the running month of some teams leads."""
        now = self.now_ms()
        await self._read({r.team: r.settled_nanousd for r in rows}, now)
        return {r.team: self._history.forecast(r.team, now, r.settled_nanousd) for r in rows}

    def forecasts_known(self, rows: Sequence[Row]) -> dict[str, Forecast]:
        """The forecasts of those teams whose history was read; the others' is read meanwhile, so that a page
        with many teams is there at once and complete a moment later."""
        now = self.now_ms()
        settled = {r.team: r.settled_nanousd for r in rows}
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill(settled, now))
        known = [r for r in rows if self._history.daily(r.team)]
        return {r.team: self._history.forecast(r.team, now, r.settled_nanousd) for r in known}

    async def _fill(self, settled: Mapping[str, int], now_ms: int) -> None:
        teams = list(settled)
        try:
            for start in range(0, len(teams), TEAMS_AT_ONCE):
                await self._read({t: settled[t] for t in teams[start : start + TEAMS_AT_ONCE]}, now_ms)
        except LedgerError as problem:
            log.warning("console_history_waits", error=str(problem))

    async def _read(self, settled: Mapping[str, int], now_ms: int) -> None:
        async with self._history_lock:
            await self._history.refresh(settled, now_ms)

    async def overview(self, month: str) -> Overview:
        """A month at a glance, at most `OVERVIEW_FRESH_MS` old; whoever asks while it is read waits for the same."""
        async with self._glancing:
            now = self.now_ms()
            known = self._overviews.get(month)
            if known is not None and now - known[0] < OVERVIEW_FRESH_MS:
                return known[1]
            last_day = int(day_key(min(now, month_last_ms(month)))[6:])
            cells, before = await self.cells(month), await self.cells(month_before(month))
            made = overview(month, cells, before, self.snapshot().prices, last_day)
            kept = {m: v for m, v in self._overviews.items() if now - v[0] < 6 * OVERVIEW_FRESH_MS}
            self._overviews = {**kept, month: (now, made)}
            return made

    async def overview_known(self, month: str, teams: int) -> Overview | None:
        """The same where it is there soon; with very many teams None at first, and it is read meanwhile."""
        if teams <= FEW_TEAMS:
            return await self.overview(month)
        known = self._overviews.get(month)
        old = known is None or self.now_ms() - known[0] >= OVERVIEW_FRESH_MS
        if old and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(month))
        return known[1] if known is not None else None

    async def _look(self, month: str) -> None:
        try:
            await self.overview(month)
        except LedgerError as problem:
            log.warning("console_overview_waits", error=str(problem))

    async def team(self, team: str, month: str) -> TeamView | None:
        """A team's month; None where it has neither a budget nor a trace in the ledger."""
        budget = self.snapshot().policy.budget(team)
        if budget is None and team not in await self._ledger.teams():
            return None
        now = self.now_ms()
        numbers, cells = (
            (await self._ledger.months([team], month))[0],
            await self._ledger.cells([team], month),
        )
        running = month == month_key(now)
        at = min(now, month_last_ms(month))
        row = self._row(team, (numbers.settled_nanousd, numbers.reserved_nanousd), at)
        outlook = (await self.forecasts([row]))[team] if running else None
        exhausted = None
        if outlook is not None and budget is not None:
            bound = budget.month_bound_nanousd(now)
            exhausted = outlook.exhausted_at_ms(budget.limit_nanousd(now) if bound == UNLIMITED else bound)
        return TeamView(
            row=row,
            budget=budget,
            month=numbers,
            days=_by_day(cells, month, at),
            forecast=outlook,
            exhausted_at_ms=exhausted,
            refusals=tuple(await self._ledger.refusals(team)),
            holds=(await read_holds(self._ledger, [team], HOLDS_SHOWN, now))[0],
        )

    async def bounds(self, team: str, app: str, run: str) -> BoundsNow:
        """How every bound of a team stands at this moment."""
        now = self.now_ms()
        return await read_bounds(self._ledger, self.snapshot(), team, app, run, now, now)

    async def cells(self, month: str) -> list[DayCell]:
        """Every team's daily cells of a month and its accounting entries, for the chargeback."""
        teams = await self._ledger.teams()
        return [*await self._ledger.cells(teams, month), *await accounting_cells(self._ledger, teams, month)]

    async def adjustments(self) -> list[Adjusted]:
        """The audit of every team."""
        return [a for team in await self._ledger.teams() for a in await self._ledger.adjustments(team)]

    def _row(self, team: str, balance: tuple[int, int], at_ms: int) -> Row:
        settled, reserved = balance
        budget = self.snapshot().policy.budget(team)
        if budget is None:
            return Row(team, None, settled, reserved, None, "No budget")
        limit = budget.limit_nanousd(at_ms)
        return Row(
            team=team,
            limit_nanousd=limit,
            settled_nanousd=settled,
            reserved_nanousd=reserved,
            utilization=utilization(settled, limit),
            phase=phase_of(budget, settled, at_ms),
            thresholds=tuple((t.percent, t.action) for t in budget.thresholds),
        )


def months_back(now_ms: int) -> list[str]:
    """The keys of the months that a picker offers, the running one first."""
    key = month_key(now_ms)
    first = int(key[:4]) * 12 + int(key[4:]) - 1
    return [f"{n // 12:04d}{n % 12 + 1:02d}" for n in range(first, first - MONTHS_BACK, -1)]


def _by_day(cells: Sequence[DayCell], month: str, at_ms: int) -> tuple[tuple[str, int], ...]:
    spent: dict[str, int] = {}
    for cell in cells:
        spent[cell.day] = spent.get(cell.day, 0) + cell.cost_nanousd
    last = int(day_key(at_ms)[6:])
    return tuple((day, spent.get(day, 0)) for day in (f"{month}{n:02d}" for n in range(1, last + 1)))
