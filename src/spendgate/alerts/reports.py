"""Reports that come by themselves: digests of weeks and months, and days that are unlike their weekdays.

They are alerts like any other: opened in Redis by whoever is first, told once by any number of processes. Nothing is
told at the first start on a store. Digests go to the channels of the team's budget, one of all teams to those of
finance. What a look costs: a digest two months of every team's days on the morning that it is due; anomalies the last
29 days of teams whose spend is read, once an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from spendgate.alerts.alert import Alert
from spendgate.alerts.anomaly import anomaly_of, by_month, explained, weekdays_before
from spendgate.alerts.digest import Every, Period, Sums, all_digest, period_due, sums_of, team_digest
from spendgate.budget.forecast import Forecast, forecast, history_days
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.errors import ConfigurationError
from spendgate.ledger.accounts import DayCell
from spendgate.ledger.port import Read
from spendgate.months import month_key
from spendgate.records.reader import UsageLogReader
from spendgate.views.carries import Carries

HOUR_MS = 3_600_000
TEAMS_A_TRIP = 100
ALL_TEAMS = ""


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What is told by itself. `finance`: channels of the digest of all teams ((): receivers without a name); `log`: a
    usage log that knows the users."""

    digests: tuple[Every, ...] = ()
    anomalies: bool = False
    finance: tuple[str, ...] = ()
    log: Path | None = None


NO_REPORTS = ReportPlan()


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


class Reports:
    """Finds what is due. `known` tells of a team, month and key whether it was opened before."""

    def __init__(self, plan: ReportPlan, books: Read, carries: Carries) -> None:
        self.plan = plan
        self._books = books
        self._carries = carries
        self._looked = 0
        self._told: set[str] = set()

    async def due(self, policy: Policy, now_ms: int) -> AsyncIterator[Alert]:
        """What is to be told now. Each key comes once an hour at most; whether it was told before, Redis knows. Raises
        LedgerUnavailable."""
        if (not self.plan.digests and not self.plan.anomalies) or now_ms // HOUR_MS == self._looked:
            return
        teams = sorted({*await self._books.teams(), *policy.teams})
        for every in self.plan.digests:
            period = period_due(every, now_ms)
            if period is not None and period.key not in self._told:
                async for alert in self._digests(period, teams, policy, now_ms):
                    yield alert
                self._told.add(period.key)
        if self.plan.anomalies:
            async for alert in self._anomalies(teams, policy, now_ms):
                yield alert
        self._looked = now_ms // HOUR_MS

    async def _digests(
        self, period: Period, teams: Sequence[str], policy: Policy, now_ms: int
    ) -> AsyncIterator[Alert]:
        budgets = await self._budgets(teams, policy, now_ms)
        sums, outlooks = await gather(self._books, teams, period, now_ms)
        users = await asyncio.to_thread(users_of, self.plan.log, period) if self.plan.log is not None else {}
        for team in teams:
            of = sums.get(team)
            if of is None or not (of.spent or of.spent_before or of.refused):
                continue
            of.users = users.get(team, {})
            budget = budgets.get(team)
            text = team_digest(team, of, period, budget, outlooks[team])
            if budget is not None:  # nobody owns a team without one; finance hears of it
                yield _alert("digest", period.key, team, text, now_ms, channels_of(budget))
        if sums:
            text = all_digest(sums, period, budgets, outlooks)
            yield _alert("digest", period.key, ALL_TEAMS, text, now_ms, self.plan.finance)

    async def _budgets(self, teams: Sequence[str], policy: Policy, now_ms: int) -> dict[str, TeamBudget]:
        """The budgets of those that have one, as the month is bounded."""
        budgets = {t: b for t in teams if (b := policy.budget(t)) is not None}
        await self._carries.refresh(budgets.values(), now_ms)
        return {t: self._carries.of(b, now_ms) for t, b in budgets.items()}

    async def _anomalies(self, teams: Sequence[str], policy: Policy, now_ms: int) -> AsyncIterator[Alert]:
        days = history_days(now_ms)
        budgets = await self._budgets(teams, policy, now_ms)
        for start in range(0, len(teams), TEAMS_A_TRIP):
            some = teams[start : start + TEAMS_A_TRIP]
            for team, spent in (await self._books.daily(some, days)).items():
                budget = budgets.get(team)
                limit = None if budget is None else budget.limit_nanousd(now_ms)
                found = anomaly_of(days, spent, limit)
                if found is None or f"{team} {found.day}" in self._told:
                    continue
                cells = await _cells_of_days(self._books, team, weekdays_before(days))
                text = explained(team, found, cells)
                channels = () if budget is None else channels_of(budget)
                yield _alert("anomaly", f"day:{found.day}", team, text, now_ms, channels)
                self._told.add(f"{team} {found.day}")


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
    """What each user of each team spent in a period, nano-USD; nothing where there is no log. Lines that can not be
    read are left out."""
    if not log.exists():
        return {}
    start, end = (int(d.timestamp() * 1000) for d in (period.start, period.end))
    out: dict[str, dict[str, int]] = {}
    for r in UsageLogReader((log,), skip_bad=True).records():
        if start <= r.at_ms < end and r.user and r.cost_nanousd:
            of = out.setdefault(r.team, {})
            of[r.user] = of.get(r.user, 0) + r.cost_nanousd
    return out


def channels_of(budget: TeamBudget) -> tuple[str, ...]:
    """Every channel that a budget names, the contact's first."""
    named = (budget.contact, *(t.channel for t in budget.thresholds))
    return tuple(dict.fromkeys(c for c in named if c))


async def _cells_of_days(books: Read, team: str, days: Sequence[str]) -> list[DayCell]:
    wanted = set(days)
    return [c for month in by_month(days) for c in await books.cells([team], month) if c.day in wanted]


def _alert(kind: str, key: str, team: str, text: str, now_ms: int, channels: tuple[str, ...]) -> Alert:
    return Alert(f"{kind}:{key}", kind, team, month_key(now_ms), now_ms, channels=channels, detail=text)  # type: ignore[arg-type]
