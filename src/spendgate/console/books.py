"""What the console and the Slack commands show, gathered from ledger and policy. Amounts are nano-USD.

Reading every team's numbers costs a round trip for every few hundred teams; what is read is kept for
`FRESH_MS`, so that many open pages cost the ledger no more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.forecast import HOUR_MS, Forecast, history_days
from spendgate.budget.phase import phase_of
from spendgate.budget.policy import TeamBudget
from spendgate.console.mirror import Mirror
from spendgate.console.period import Period
from spendgate.errors import LedgerError
from spendgate.exchange.snapshot import Snapshot
from spendgate.finops.chargeback.groups import Groups
from spendgate.ledger.accounts import RefusedRequest, TeamMonth
from spendgate.ledger.redis.holds import Holds, read_holds
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key, month_last_ms
from spendgate.policy.month_budgets import budgets_of
from spendgate.values import dataclass
from spendgate.views.bounds import BoundsNow, read_bounds
from spendgate.views.budgets import utilization
from spendgate.views.carries import Carries
from spendgate.views.history import History
from spendgate.views.past import limits_in_force, own_limits

FRESH_MS = 1_000
OWN_FRESH_MS = 60_000
"""What the budgets of a month that is over were is read again after so long: it may be closed meanwhile."""
HOLDS_SHOWN = 20
MANY_TEAMS = 200
"""The histories of so many are taken from the mirror, which reads all days of all teams once."""
TEAMS_AT_ONCE = 50
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
    forecast: Forecast | None
    exhausted_at_ms: int | None
    refusals: tuple[RefusedRequest, ...]
    holds: Holds


class Books:
    """Reads for pages. Raises LedgerUnavailable where the ledger does not answer."""

    def __init__(
        self, ledger: RedisLedger, snapshot: Callable[[], Snapshot], now_ms: Callable[[], int]
    ) -> None:
        self.ledger = ledger
        self.snapshot = snapshot
        self.now_ms = now_ms
        self.mirror = Mirror(ledger, lambda: snapshot().prices)
        self._history = History(_Daily(ledger, self.mirror, now_ms))
        self._carries = Carries(ledger)
        self._rows: dict[str, tuple[int, str, list[Row]]] = {}
        self._own: dict[str, tuple[int, frozenset[str], Mapping[str, TeamBudget] | None]] = {}
        self._reading = asyncio.Lock()
        self._history_lock = asyncio.Lock()
        self._foretold: dict[str, tuple[tuple[int, int, int], Forecast]] = {}
        self._filling: asyncio.Task[None] | None = None

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
            teams = sorted({*policy.teams, *await self.ledger.teams()})
            own = await self._own_budgets(teams, month)
            teams = sorted({*teams, *own}) if own is not None else teams
            balances = await self.ledger.balances(teams, month)
            at = min(now, month_last_ms(month))
            of = own.get if own is not None else policy.budget
            budgets = await self._bounded([of(t) for t in teams], at)
            rows = [
                self._row(t, budget, b, at) for t, budget, b in zip(teams, budgets, balances, strict=True)
            ]
            rows = _ordered([r for r in rows if r.limit_nanousd is not None or r.committed_nanousd])
            self._rows = {m: v for m, v in self._rows.items() if now - v[0] < FRESH_MS}
            self._rows[month] = (now, policy.version, rows)
            return rows

    async def budget(self, team: str, month: str) -> TeamBudget | None:
        """A team's budget in a month, as that is bounded: of one that is over its own, as far as that is known."""
        own = await self._own_budgets([team], month)
        budget = self.snapshot().policy.budget(team) if own is None else own.get(team)
        return (await self._bounded([budget], min(self.now_ms(), month_last_ms(month))))[0]

    async def _bounded(self, budgets: Sequence[TeamBudget | None], at_ms: int) -> list[TeamBudget | None]:
        """Budgets with what was carried over into the month of a time."""
        await self._carries.refresh([b for b in budgets if b is not None], at_ms, self.now_ms())
        return [None if b is None else self._carries.of(b, at_ms) for b in budgets]

    async def _own_budgets(self, teams: Sequence[str], month: str) -> Mapping[str, TeamBudget] | None:
        """The budgets of a month that is over; None of one that runs, or of which nothing was written down."""
        if month >= self.this_month:
            return None
        now, known = self.now_ms(), self._own.get(month)
        if known is None or now - known[0] >= OWN_FRESH_MS or not known[1].issuperset(teams):
            found = await budgets_of(self.ledger.calls.redis, teams, month)
            known = self._own[month] = now, frozenset(teams), found
        return known[2]

    async def groups(self, month: str) -> Groups:
        """The groups of a month with their budgets: of one that is over its own, as far as they are known."""
        teams = await self.ledger.teams()
        limits = await own_limits(self.ledger, teams, month) if month < self.this_month else None
        if limits is None:
            at = min(self.now_ms(), month_last_ms(month))
            limits = await limits_in_force(self.ledger, self.snapshot().policy, (), at)
        return Groups(limits.grouping, limits.groups)

    async def rows_of(self, period: Period) -> list[Row]:
        """The rows of a month; of several whole months their sums (a budget is each month's own, added up); of any
        other range none, since budgets are of months."""
        if period.month:
            return await self.rows(period.month)
        if not period.is_whole_months:
            return []
        sums: dict[str, list[int]] = {}
        limits: dict[str, int] = {}
        for month in period.months:
            for r in await self.rows(month):
                settled = sums.setdefault(r.team, [0, 0])
                settled[0] += r.settled_nanousd
                settled[1] += r.reserved_nanousd
                if r.limit_nanousd is not None:
                    limits[r.team] = limits.get(r.team, 0) + r.limit_nanousd
        rows = [
            Row(team, limits.get(team), settled, reserved, utilization(settled, limits.get(team)), "")
            for team, (settled, reserved) in sums.items()
        ]
        return _ordered(rows)

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
        return {r.team: self._forecast(r, now) for r in rows if self._history.daily(r.team)}

    def _forecast(self, row: Row, now_ms: int) -> Forecast:
        """A team's forecast, made anew only where it may have changed."""
        of = now_ms // HOUR_MS, row.settled_nanousd, id(self._history.daily(row.team))
        found = self._foretold.get(row.team)
        if found is None or found[0] != of:
            made = self._history.forecast(row.team, now_ms, row.settled_nanousd)
            found = self._foretold[row.team] = of, made
        return found[1]

    async def _fill(self, settled: Mapping[str, int], now_ms: int) -> None:
        teams = list(settled)
        try:
            if len(teams) > MANY_TEAMS:
                await self.mirror.bring(sorted({day[:6] for day in history_days(now_ms)}), now_ms)
            for start in range(0, len(teams), TEAMS_AT_ONCE):
                await self._read({t: settled[t] for t in teams[start : start + TEAMS_AT_ONCE]}, now_ms)
        except LedgerError as problem:
            log.warning("console_history_waits", error=str(problem))

    async def _read(self, settled: Mapping[str, int], now_ms: int) -> None:
        async with self._history_lock:
            await self._history.refresh(settled, now_ms)

    async def team(self, team: str, month: str) -> TeamView | None:
        """A team's month; None where it has neither a budget nor a trace in the ledger."""
        budget = self.snapshot().policy.budget(team)
        if budget is None and team not in await self.ledger.teams():
            return None
        now = self.now_ms()
        numbers = (await self.ledger.months([team], month))[0]
        running = month == month_key(now)
        at = min(now, month_last_ms(month))
        own = await self.budget(team, month)
        row = self._row(team, own, (numbers.settled_nanousd, numbers.reserved_nanousd), at)
        outlook = (await self.forecasts([row]))[team] if running else None
        exhausted = None
        if outlook is not None and own is not None:
            bound = own.month_bound_nanousd(now)
            exhausted = outlook.exhausted_at_ms(own.limit_nanousd(now) if bound == UNLIMITED else bound)
        return TeamView(
            row=row,
            budget=budget,
            month=numbers,
            forecast=outlook,
            exhausted_at_ms=exhausted,
            refusals=tuple(await self.ledger.refusals(team)),
            holds=(await read_holds(self.ledger, [team], HOLDS_SHOWN, now))[0],
        )

    def daily(self, team: str) -> list[int]:
        """What a team spent on each of the last days, today last; empty where it was not read yet."""
        return self._history.daily(team)

    async def bounds(self, team: str, app: str, run: str) -> BoundsNow:
        """How every bound of a team stands at this moment."""
        now = self.now_ms()
        return await read_bounds(self.ledger, self.snapshot(), team, app, run, now, now)

    @staticmethod
    def _row(team: str, budget: TeamBudget | None, balance: tuple[int, int], at_ms: int) -> Row:
        settled, reserved = balance
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


class _Daily:
    """What teams spent by day: longer stretches from the mirror where it has them, else from the ledger."""

    def __init__(self, ledger: RedisLedger, mirror: Mirror, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._mirror = mirror
        self._now_ms = now_ms

    async def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """See `port.Ledger.daily`."""
        months = sorted({day[:6] for day in days})
        if len(days) <= 2 or not teams or not self._mirror.as_of_ms(months):
            return await self._ledger.daily(teams, days)
        await self._mirror.bring(months, self._now_ms())
        return await asyncio.to_thread(self._mirror.daily, teams, days)


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """The fullest budget first, those without one last."""
    return sorted(
        rows, key=lambda r: (r.utilization is None, -(r.utilization or 0), -r.settled_nanousd, r.team)
    )
