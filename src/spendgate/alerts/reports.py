"""Reports that come by themselves: digests of weeks and months, and days that are unlike their weekdays.

They are alerts like any other: opened in Redis by whoever is first, told once by any number of processes. Nothing is
told at the first start on a store. Digests go to the channels of the team's budget, one of all teams to those of
finance. What a look costs: a digest two months of every team's days on the morning that it is due; anomalies the last
29 days of teams whose spend is read, once an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import structlog

from spendgate.alerts.alert import Alert
from spendgate.alerts.anomaly import Anomaly, anomaly_of, by_month, explained, weekdays_before
from spendgate.alerts.digest import Every, Period, Sums, all_digest, period_due, sums_of, team_digest
from spendgate.budget.forecast import DAY_MS, HOUR_MS, Forecast, forecast, history_days
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.errors import ConfigurationError
from spendgate.ledger.accounts import DayCell
from spendgate.ledger.port import Read
from spendgate.months import month_key
from spendgate.records.reader import UsageLogReader
from spendgate.records.writer import rotated
from spendgate.values import dataclass
from spendgate.views.carries import Carries

log = structlog.get_logger()

TEAMS_A_TRIP = 100
ALL_TEAMS = ""
ReportKind = Literal["digest", "anomaly"]


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What is told by itself. `finance`: channels of the digest of all teams ((): receivers without a name); `log`: a
    usage log that knows the users."""

    digests: tuple[Every, ...] = ()
    anomalies: bool = False
    finance: tuple[str, ...] = ()
    log: Path | None = None


NO_REPORTS = ReportPlan()


class ReportName(NamedTuple):
    """What a report is known by."""

    team: str
    month: str
    key: str


def reports_from(environ: Mapping[str, str], log: Path | None = None) -> ReportPlan:
    """The plan by SPENDGATE_DIGESTS (weekly, monthly), SPENDGATE_DIGEST_FINANCE (channels) and SPENDGATE_ANOMALIES
    (on, off). Raises ConfigurationError that names the variable."""
    digests: list[Every] = []
    for word in environ.get("SPENDGATE_DIGESTS", "").replace(",", " ").split():
        found = next((e for e in get_args(Every) if e == word), None)
        if found is None:
            raise ConfigurationError(f"SPENDGATE_DIGESTS: {word!r} is not known; use weekly, monthly or both")
        digests.append(found)
    said = environ.get("SPENDGATE_ANOMALIES", "").strip() or "off"
    if said not in ("on", "off"):
        raise ConfigurationError(f"SPENDGATE_ANOMALIES: {said!r} is not known; use on or off")
    finance = tuple(environ.get("SPENDGATE_DIGEST_FINANCE", "").replace(",", " ").split())
    return ReportPlan(tuple(digests), said == "on", finance, log)


class _Unusual(NamedTuple):
    """An unusual day of a team, the days that it was judged by, and the budget at its end."""

    team: str
    found: Anomaly
    days: list[str]
    budget: TeamBudget | None


class Reports:
    """Finds what is due, each kind by itself, so that one that fails does not take the other with it."""

    def __init__(self, plan: ReportPlan, books: Read, carries: Carries) -> None:
        self.plan = plan
        self._books = books
        self._carries = carries
        self._looked: dict[ReportKind, int] = {}
        self._told: set[str] = set()

    @property
    def kinds(self) -> tuple[ReportKind, ...]:
        """What is planned."""
        planned: tuple[tuple[ReportKind, object], ...] = (
            ("digest", self.plan.digests),
            ("anomaly", self.plan.anomalies),
        )
        return tuple(kind for kind, wanted in planned if wanted)

    async def due(self, kind: ReportKind, policy: Policy, now_ms: int) -> AsyncIterator[Alert]:
        """What is to be told now. Each key comes once an hour at most; whether it was told before, Redis knows. Raises
        LedgerUnavailable."""
        if now_ms // HOUR_MS == self._looked.get(kind):
            return
        teams = await self._teams(policy)
        if kind == "anomaly":
            async for alert in self._anomalies(teams, policy, now_ms):
                yield alert
        for period in self._periods(now_ms) if kind == "digest" else ():
            if period.key not in self._told:
                async for alert in self._digests(period, teams, policy, now_ms):
                    yield alert
                self._told.add(period.key)
        self._looked[kind] = now_ms // HOUR_MS

    async def present(self, policy: Policy, now_ms: int) -> AsyncIterator[ReportName]:
        """The names of what would be told now, made without reading any log. Raises LedgerUnavailable."""
        if not self.kinds:
            return
        teams = await self._teams(policy)
        for period in self._periods(now_ms):
            for team in (*teams, ALL_TEAMS):
                yield ReportName(team, month_key(now_ms), _key("digest", period.key))
        if self.plan.anomalies:
            async for team, found, _, _ in self._unusual(teams, policy, now_ms):
                yield ReportName(team, found.day[:6], _key("anomaly", f"day:{found.day}"))

    async def _teams(self, policy: Policy) -> list[str]:
        return sorted({*await self._books.teams(), *policy.teams})

    def _periods(self, now_ms: int) -> list[Period]:
        return [p for every in self.plan.digests if (p := period_due(every, now_ms)) is not None]

    async def _digests(
        self, period: Period, teams: Sequence[str], policy: Policy, now_ms: int
    ) -> AsyncIterator[Alert]:
        budgets = await self._budgets(teams, policy, now_ms, now_ms)
        sums, outlooks = await gather(self._books, teams, period, now_ms)
        users = await self._users(period)
        for team in teams:
            of = sums.get(team)
            if of is None or not (of.spent or of.spent_before or of.refused):
                continue
            of.users = users.get(team, {})
            budget = budgets.get(team)
            text = team_digest(team, of, period, budget, outlooks[team])
            if budget is not None:  # nobody owns a team without one; finance hears of it
                yield _digest(period, team, text, now_ms, channels_of(budget))
        if sums:
            text = all_digest(sums, period, budgets, outlooks)
            yield _digest(period, ALL_TEAMS, text, now_ms, self.plan.finance)

    async def _budgets(
        self, teams: Sequence[str], policy: Policy, at_ms: int, now_ms: int
    ) -> dict[str, TeamBudget]:
        """The budgets of those that have one, as the month of a time is bounded."""
        budgets = {t: b for t in teams if (b := policy.budget(t)) is not None}
        await self._carries.refresh(budgets.values(), at_ms, now_ms)
        return {t: self._carries.of(b, at_ms) for t, b in budgets.items()}

    async def _users(self, period: Period) -> dict[str, dict[str, int]]:
        if self.plan.log is None:
            return {}
        try:
            return await asyncio.to_thread(users_of, self.plan.log, period)
        except ConfigurationError as problem:
            log.warning("digest_without_users", error=str(problem))
            return {}

    async def _anomalies(self, teams: Sequence[str], policy: Policy, now_ms: int) -> AsyncIterator[Alert]:
        async for team, found, days, budget in self._unusual(teams, policy, now_ms):
            if f"{team} {found.day}" in self._told:
                continue
            text = explained(team, found, await _cells_of_days(self._books, team, weekdays_before(days)))
            channels = () if budget is None else channels_of(budget)
            key = _key("anomaly", f"day:{found.day}")
            yield Alert(key, "anomaly", team, found.day[:6], now_ms, channels=channels, detail=text)
            self._told.add(f"{team} {found.day}")

    async def _unusual(self, teams: Sequence[str], policy: Policy, now_ms: int) -> AsyncIterator[_Unusual]:
        for at_ms in self._to_judge(now_ms):
            days = history_days(at_ms)
            budgets = await self._budgets(teams, policy, at_ms, now_ms)
            for start in range(0, len(teams), TEAMS_A_TRIP):
                some = teams[start : start + TEAMS_A_TRIP]
                for team, spent in (await self._books.daily(some, days)).items():
                    budget = budgets.get(team)
                    limit = None if budget is None else budget.limit_nanousd(at_ms)
                    found = anomaly_of(days, spent, limit)
                    if found is not None:
                        yield _Unusual(team, found, days, budget)

    def _to_judge(self, now_ms: int) -> list[int]:
        """Now, for the day so far; and before it yesterday's end, until the first look an hour after it: by then what
        was open has settled."""
        midnight = now_ms - now_ms % DAY_MS
        looked = self._looked.get("anomaly", 0) * HOUR_MS
        return [now_ms] if looked >= midnight + HOUR_MS else [midnight - 1, now_ms]


async def gather(
    books: Read, teams: Sequence[str], period: Period, now_ms: int
) -> tuple[dict[str, Sums], dict[str, Forecast]]:
    """The sums of a period by team, and where each team's running month leads. Raises LedgerUnavailable."""
    sums: dict[str, Sums] = {}
    outlooks: dict[str, Forecast] = {}
    days, month = history_days(now_ms), month_key(now_ms)
    for start in range(0, len(teams), TEAMS_A_TRIP):
        some = list(teams[start : start + TEAMS_A_TRIP])
        cells = [c for m in period.months for c in await books.cells(some, m)]
        sums |= sums_of(cells, period)
        history, balances = await books.daily(some, days), await books.balances(some, month)
        for team, (settled, _) in zip(some, balances, strict=True):
            outlooks[team] = forecast(history[team], now_ms, settled)
    return sums, outlooks


def users_of(log: Path, period: Period) -> dict[str, dict[str, int]]:
    """What each user of each team spent in a period, nano-USD, by a usage log and what was put aside of it; nothing
    where there is none. Lines that can not be read are left out. Raises ConfigurationError for a file that can not."""
    start, end = (int(d.timestamp() * 1000) for d in (period.start, period.end))
    out: dict[str, dict[str, int]] = {}
    for r in UsageLogReader(_logs_since(log, period.start), skip_bad=True).records():
        if start <= r.at_ms < end and r.user and r.cost_nanousd:
            of = out.setdefault(r.team, {})
            of[r.user] = of.get(r.user, 0) + r.cost_nanousd
    return out


def _logs_since(log: Path, since: datetime) -> tuple[Path, ...]:
    """The files of a usage log that may have lines of since then: nothing is written to one after it was put aside,
    which its name tells."""
    first = f"{log.stem}-{since:%Y%m%dT%H%M%S}"
    aside = [p for p in rotated(log) if p.name >= first and p.suffix in (log.suffix, ".gz")]
    return (*aside, log) if log.exists() else tuple(aside)


def channels_of(budget: TeamBudget) -> tuple[str, ...]:
    """Every channel that a budget names, the contact's first."""
    named = (budget.contact, *(t.channel for t in budget.thresholds))
    return tuple(dict.fromkeys(c for c in named if c))


async def _cells_of_days(books: Read, team: str, days: Sequence[str]) -> list[DayCell]:
    wanted = set(days)
    return [c for month in by_month(days) for c in await books.cells([team], month) if c.day in wanted]


def _key(kind: ReportKind, name: str) -> str:
    return f"{kind}:{name}"


def _digest(period: Period, team: str, text: str, now_ms: int, channels: tuple[str, ...]) -> Alert:
    key, month = _key("digest", period.key), month_key(now_ms)
    return Alert(key, "digest", team, month, now_ms, channels=channels, detail=text)
