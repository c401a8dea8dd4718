"""The ledger's days in a cube, read once and brought up to date: what moved since is read again.

A team's month counter is the check: where it stands as it did, its days stand as they did; where it moved, today and
yesterday are read, and where they do not explain it, the whole month. Requests that cost nothing and refusals move no
counter, so the last two days are read again every `DAYS_FRESH_MS`, and whole months every `MONTH_FRESH_MS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from spendgate.console.cube import Cube, row_of
from spendgate.console.period import date_of, days_between
from spendgate.console.savings import saved_by_caching
from spendgate.finops.chargeback.chargeback import at_day, price_for
from spendgate.finops.chargeback.parties import parties, seller_of_record
from spendgate.ledger.accounts import Adjusted, DayCell
from spendgate.ledger.redis.days import RawDays, audits, raw_days
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.redis.readings import day_cells
from spendgate.months import day_key, month_last_ms
from spendgate.pricing.price import Price
from spendgate.pricing.table import PriceTable
from spendgate.records.record import UsageRecord

FRESH_MS = 1_000
PAST_FRESH_MS = 30_000
"""A month that is over is looked at again after so long."""
DAYS_FRESH_MS = 120_000
MONTH_FRESH_MS = 3_600_000
TEAMS_AT_ONCE = 10
"""Between two turns of the event loop."""
DAY_MS = 86_400_000
NOBODY = "(none)"
"""The app, the model and the provider of money that has none."""


class Mirror:
    """The ledger's cells of every team, by month, as far as pages asked for them."""

    def __init__(self, ledger: RedisLedger, prices: Callable[[], PriceTable]) -> None:
        self.cube = Cube(rolled=True)
        self.audit: dict[str, list[Adjusted]] = {}
        """Each team's adjustments, as they were read last."""
        self._ledger = ledger
        self._prices = prices
        self._priced_by = ""
        self._one = asyncio.Lock()
        self._looked: dict[str, int] = {}
        self._audited_ms = 0
        self._read: dict[tuple[str, str], tuple[int, int, int]] = {}
        """(team, month) → its counter, when its last days were read, when all of it was (ms)."""

    def as_of_ms(self, months: Sequence[str]) -> int:
        """When the oldest of these months was looked at; 0: not all were yet."""
        return min((self._looked.get(m, 0) for m in months), default=0)

    async def bring(self, months: Sequence[str], now_ms: int) -> None:
        """Bring months (`YYYYMM`) up to date. Who asks meanwhile waits for the same. Raises LedgerUnavailable."""
        async with self._one:
            self._check_prices()
            teams = await self._ledger.teams()
            if now_ms - self._audited_ms >= FRESH_MS:
                await self._read_audit(teams)
                self._audited_ms = now_ms
            for month in months:
                fresh = FRESH_MS if month_last_ms(month) >= now_ms else PAST_FRESH_MS
                if now_ms - self._looked.get(month, -fresh) >= fresh:
                    await self._bring(teams, month, now_ms)
                    self._looked[month] = now_ms

    def _check_prices(self) -> None:
        """Who sells a model, and what caching saved, are told by the prices: others make all of it anew."""
        version = self._prices().version
        if version != self._priced_by:
            self._priced_by = version
            self._read.clear()
            self._looked.clear()

    async def _bring(self, teams: Sequence[str], month: str, now_ms: int) -> None:
        balances = await self._ledger.balances(teams, month)
        last_days: list[str] = []
        whole: list[str] = []
        recent = [d for d in (day_key(now_ms - DAY_MS), day_key(now_ms)) if d.startswith(month)]
        for team, (settled, _) in zip(teams, balances, strict=True):
            known = self._read.get((team, month))
            if known is None or now_ms - known[2] >= MONTH_FRESH_MS:
                whole.append(team)
            elif known[0] != settled or (recent and now_ms - known[1] >= DAYS_FRESH_MS):
                (last_days if recent else whole).append(team)
        for some in _portions(last_days):
            for team, settled in await self._put(some, recent, month):
                known = self._read[team, month]
                if await asyncio.to_thread(self._sum, team, month) == settled:
                    self._read[team, month] = settled, now_ms, known[2]
                else:
                    whole.append(team)
        first, last = f"{month}01", day_key(min(month_last_ms(month), now_ms))
        if whole and last.startswith(month):
            days = days_between(date_of(first), date_of(last))
            for some in _portions(whole):
                for team, settled in await self._put(some, days, month):
                    self._read[team, month] = settled, now_ms, now_ms

    def daily(self, teams: Sequence[str], days: Sequence[str]) -> dict[str, list[int]]:
        """What teams settled on days, in the order of the days; without accounting entries and adjustments, which are
        no pace: as `port.Ledger.daily` has it."""
        names, found = ", ".join("?" * len(teams)), dict[tuple[str, str], int]()
        statement = (
            f"SELECT team, day, SUM(cost - adjusted) FROM cell WHERE team IN ({names}) AND day BETWEEN ? AND ? "
            "AND beside = 0 GROUP BY team, day"
        )
        for team, day, cost in self.cube.run(statement, (*teams, int(days[0]), int(days[-1]))):
            found[team, str(day)] = int(cost)
        return {team: [found.get((team, day), 0) for day in days] for team in teams}

    def _sum(self, team: str, month: str) -> int:
        tests = "team = ? AND day BETWEEN ? AND ? AND beside = 0"
        values = (team, int(f"{month}01"), int(f"{month}31"))
        return int(self.cube.run(f"SELECT SUM(cost) FROM cell WHERE {tests}", values)[0][0] or 0)

    async def _put(self, some: Sequence[str], days: Sequence[str], month: str) -> list[tuple[str, int]]:
        """Read days of some teams; returns each with its month's counter as it stood beside them: that of a look
        before is another by now, where requests are on their way."""
        raw, settled = await raw_days(self._ledger, some, days, month)
        await asyncio.to_thread(self._write, raw, self._prices())
        return list(zip(some, settled, strict=True))

    def _write(self, raw: RawDays, prices: PriceTable) -> None:
        by_team: dict[str, tuple[list[str], list[DayCell]]] = {}
        for team, day, fields in raw:
            days, cells = by_team.setdefault(team, ([], []))
            days.append(day)
            cells += day_cells(team, day, fields)
        facts = Facts(prices)
        for team, (days, cells) in by_team.items():
            self.cube.replace(team, days, [facts.row(c) for c in cells])

    async def _read_audit(self, teams: Sequence[str]) -> None:
        """Adjustments may move money between apps and leave the counter as it was: their months are read again."""
        found = await audits(self._ledger, teams)
        facts = Facts(self._prices())
        for team, made in found.items():
            known = {a.adjustment.adjustment_id for a in self.audit.get(team, ())}
            new = [a for a in made if a.adjustment.adjustment_id not in known]
            if not new:
                continue
            for month in {a.booked_day[:6] for a in new}:
                self._read.pop((team, month), None)
                self._looked.pop(month, None)
            entries = _entries(team, [a for a in made if a.adjustment.is_beside])
            days = sorted({c.day for c in entries})
            rows = [facts.row(c, beside=True) for c in entries]
            await asyncio.to_thread(self.cube.replace, team, days, rows, True)
        self.audit = found


class Facts:
    """What the prices say of cells, each model and day worked out once."""

    def __init__(self, prices: PriceTable) -> None:
        self._prices = prices
        self._sellers: dict[tuple[str, str], str] = {}
        self._priced: dict[tuple[str, str], Price] = {}
        self._told: dict[tuple[str, str, str], str] = {}

    @property
    def version(self) -> str:
        """That of the prices."""
        return self._prices.version

    def provider_of(self, record: UsageRecord) -> str:
        """Who sold what a line of a usage log is about."""
        key = record.priced_by.provider, record.upstream, record.dialect
        if key not in self._told:
            self._told[key] = seller_of_record(record)
        return self.provider(record.model, self._told[key])

    def provider(self, model: str, told: str = "") -> str:
        """Who sells it; `NOBODY` where no model is named."""
        if model in ("", NOBODY, "(all)"):
            return NOBODY
        key = model, told
        if key not in self._sellers:
            self._sellers[key] = parties(model, self._prices, told).service
        return self._sellers[key]

    def cached(self, cell: DayCell) -> int:
        """What caching saved (nano-USD)."""
        if not any(k.startswith("cache") for k in cell.tokens):
            return 0
        key = cell.model, cell.day
        if key not in self._priced:
            self._priced[key] = price_for(self._prices, cell.model, at_day(cell.day))
        return saved_by_caching(cell.tokens, self._priced[key])

    def row(self, cell: DayCell, beside: bool = False) -> tuple[object, ...]:
        """A cell of the ledger as the cube has it."""
        return row_of(cell, self.provider(cell.model), self.cached(cell), beside)


def _entries(team: str, made: Sequence[Adjusted]) -> list[DayCell]:
    """Accounting entries as cells, one an app and model and day."""
    sums: dict[tuple[str, str, str], int] = {}
    for one in made:
        a = one.adjustment
        key = one.booked_day, a.app, a.model
        sums[key] = sums.get(key, 0) + a.cost_nanousd
    return [
        DayCell(team, day, app, model, 0, cost, {}, adjusted_nanousd=cost)
        for (day, app, model), cost in sums.items()
    ]


def _portions(teams: Sequence[str]) -> list[Sequence[str]]:
    return [teams[n : n + TEAMS_AT_ONCE] for n in range(0, len(teams), TEAMS_AT_ONCE)]
