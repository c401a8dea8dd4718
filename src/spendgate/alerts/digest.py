"""A week or a month in words, for a budget's owner and for whoever pays for all. Pure; amounts are nano-USD.

Names of apps and models come from clients, so they are shown as in every other message: cut, and without markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Literal

from spendgate.alerts.message import raise_command, shown, usd
from spendgate.budget.forecast import Forecast
from spendgate.budget.policy import TeamBudget
from spendgate.ledger.accounts import DayCell
from spendgate.months import utc
from spendgate.values import dataclass

Every = Literal["weekly", "monthly"]
DUE_HOUR = 6
"""A period that is over is told from this hour (UTC) of the next day on: what was open at midnight has settled."""
TOP = 3
DEAR_SHARE = 60
"""From this percentage of the spend on, one model is worth a question about routing."""
IDLE_SHARE = 40
"""A forecast below this percentage of a budget means that it is larger than needed."""


@dataclass(frozen=True, slots=True)
class Period:
    """A week (Monday to Sunday) or a month that is over: `start` to before `end`, and the one before it. Days are UTC
    dates; `key` names it among all."""

    every: Every
    start: datetime
    end: datetime
    before: datetime

    @property
    def key(self) -> str:
        """`week:2026-W48`, `month:2026-11`."""
        if self.every == "weekly":
            year, week, _ = self.start.isocalendar()
            return f"week:{year}-W{week:02d}"
        return f"month:{self.start:%Y-%m}"

    @property
    def label(self) -> str:
        """`the week of 2026-11-23 to 2026-11-29`, `2026-11`."""
        if self.every == "weekly":
            return f"the week of {self.start:%Y-%m-%d} to {self.end - timedelta(days=1):%Y-%m-%d}"
        return f"{self.start:%Y-%m}"

    @property
    def months(self) -> list[str]:
        """The months (`YYYYMM`) that it and the one before it have days in."""
        days = (self.end - self.before).days
        return sorted({f"{self.before + timedelta(days=n):%Y%m}" for n in range(days)})


def period_due(every: Every, now_ms: int) -> Period | None:
    """The period whose digest is due within this day; None on any other day, or before the hour."""
    now = utc(now_ms)
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    if now.hour < DUE_HOUR:
        return None
    if every == "weekly":
        if day.weekday() != 0:
            return None
        return Period(every, day - timedelta(days=7), day, day - timedelta(days=14))
    return last_month(day) if day.day == 1 else None


def last_week(now_ms: int) -> Period:
    """The last whole week."""
    now = utc(now_ms)
    monday = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=now.weekday())
    return Period("weekly", monday - timedelta(days=7), monday, monday - timedelta(days=14))


def last_month(at: datetime) -> Period:
    """The last whole month."""
    end = datetime(at.year, at.month, 1, tzinfo=UTC)
    start = (end - timedelta(days=1)).replace(day=1)
    return Period("monthly", start, end, (start - timedelta(days=1)).replace(day=1))


@dataclass(slots=True)
class Sums:
    """What a team did in a period, and what it spent in the one before (`…_before`)."""

    spent: int = 0
    spent_before: int = 0
    requests: int = 0
    refused: int = 0
    saved: int = 0
    apps: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    apps_before: dict[str, int] = field(default_factory=dict)
    models_before: dict[str, int] = field(default_factory=dict)
    users: Mapping[str, int] = field(default_factory=dict)

    def add(self, other: Sums) -> None:
        """Add another team's."""
        self.spent += other.spent
        self.spent_before += other.spent_before
        self.requests += other.requests
        self.refused += other.refused
        self.saved += other.saved


def sums_of(cells: Iterable[DayCell], period: Period) -> dict[str, Sums]:
    """Add days up by team; days outside of both periods are left out."""
    start, end, before = (f"{d:%Y%m%d}" for d in (period.start, period.end, period.before))
    out: dict[str, Sums] = {}
    for c in cells:
        if not before <= c.day < end:
            continue
        of = out.setdefault(c.team, Sums())
        if c.day < start:
            of.spent_before += c.cost_nanousd
            _count(of.apps_before, c.app, c.cost_nanousd)
            _count(of.models_before, c.model, c.cost_nanousd)
            continue
        of.spent += c.cost_nanousd
        of.requests += c.requests
        of.refused += c.refused
        of.saved += c.saved_nanousd
        _count(of.apps, c.app, c.cost_nanousd)
        _count(of.models, c.model, c.cost_nanousd)
    return out


def team_digest(team: str, of: Sums, period: Period, budget: TeamBudget | None, outlook: Forecast) -> str:
    """The text for a team's own people. `outlook` is of the running month."""
    lines = [
        f"LLM spend of team {shown(team)} in {period.label}: {usd(of.spent)}{_change(of.spent, of.spent_before)}."
    ]
    limit = None if budget is None else budget.limit_nanousd(outlook.now_ms)
    lines.append(_month(outlook, limit))
    lines.append(_movers((("app", of.apps, of.apps_before), ("model", of.models, of.models_before))))
    for title, amounts in (("Top apps", of.apps), ("Top models", of.models), ("Top users", of.users)):
        lines.append(_top(title, amounts))
    lines.append(_aside(of))
    lines.append("What to do: " + " ".join(_advice(team, of, budget, outlook, limit)))
    return "\n".join(line for line in lines if line)


def all_digest(
    teams: Mapping[str, Sums],
    period: Period,
    budgets: Mapping[str, TeamBudget],
    outlooks: Mapping[str, Forecast],
) -> str:
    """The text for finance: all teams together."""
    whole = Sums()
    for of in teams.values():
        whole.add(of)
    spent = {t: of.spent for t, of in teams.items()}
    before = {t: of.spent_before for t, of in teams.items()}
    limits = {t: b.limit_nanousd(outlooks[t].now_ms) for t, b in budgets.items() if t in outlooks}
    ends = {t: o.month_end_nanousd for t, o in outlooks.items()}
    lines = [
        f"LLM spend of all teams in {period.label}: {usd(whole.spent)}{_change(whole.spent, whole.spent_before)}.",
        _running(outlooks, limits),
        _top("Top teams", spent, 5),
        _movers((("team", spent, before),)),
    ]
    unbounded = {t: n for t, n in spent.items() if t not in budgets and n > 0}
    if unbounded:
        lines.append(f"Without a budget: {usd(sum(unbounded.values()))} ({_named(unbounded)}).")
    lines.append(_aside(whole))
    over = {t: ends[t] - limits[t] for t in limits if ends.get(t, 0) > limits[t]}
    todo = []
    if over:
        todo.append(
            f"By the forecast these pass their budgets: {_named(over)}; agree on a raise or on cheaper models."
        )
    if unbounded:
        todo.append("Give the teams without one a budget.")
    lines.append("What to do: " + (" ".join(todo) or "nothing."))
    return "\n".join(line for line in lines if line)


def _running(outlooks: Mapping[str, Forecast], limits: Mapping[str, int]) -> str:
    """What is held against the budgets is what was spent in them."""
    budgeted = {t: o for t, o in outlooks.items() if t in limits} or outlooks
    of = f"of {usd(sum(limits.values()))} in {len(limits)} budgets" if limits else "so far, without a budget"
    settled = sum(o.settled_nanousd for o in budgeted.values())
    return f"Running month: {usd(settled)} {of}; forecast {usd(sum(o.month_end_nanousd for o in budgeted.values()))}."


def _month(outlook: Forecast, limit: int | None) -> str:
    of = f"{usd(outlook.settled_nanousd)} so far"
    if limit is not None:
        share = f" ({_percent(outlook.settled_nanousd, limit)})" if limit else ""
        of = f"{usd(outlook.settled_nanousd)} of {usd(limit)}{share}"
    return f"Running month: {of}; forecast {usd(outlook.month_end_nanousd)}."


def _aside(of: Sums) -> str:
    parts = [f"Refused: {of.refused} requests."] if of.refused else []
    if of.saved > 0:
        parts.append(f"Saved by other models than asked for: {usd(of.saved)}.")
    return " ".join(parts)


def _advice(
    team: str, of: Sums, budget: TeamBudget | None, outlook: Forecast, limit: int | None
) -> list[str]:
    out = []
    if budget is None or limit is None:
        return ["the team has no budget; give it one, so that a runaway loop ends somewhere."]
    if outlook.month_end_nanousd > limit:
        at = outlook.exhausted_at_ms(limit)
        when = f" on {utc(at):%Y-%m-%d}" if at is not None else ""
        command = raise_command(
            team, outlook.month_end_nanousd, outlook.settled_nanousd, limit, outlook.now_ms
        )
        out.append(
            f"at this pace the budget is exhausted{when}; use cheaper models, or ask for more: {command}"
        )
    elif limit and outlook.month_end_nanousd * 100 < IDLE_SHARE * limit and outlook.settled_nanousd:
        out.append(f"less than {IDLE_SHARE} % of the budget is needed by the forecast; it could be lower.")
    dearest = max(of.models.items(), key=lambda x: x[1], default=("", 0))
    if of.spent > 0 and dearest[1] * 100 >= DEAR_SHARE * of.spent and budget.routing is None:
        share = _percent(dearest[1], of.spent)
        out.append(
            f"{shown(dearest[0])} takes {share} of the spend; `spendgate simulate --sweep complexityThreshold=…` says "
            "what routing simple requests to a cheaper model would save."
        )
    return out or ["nothing."]


def _movers(groups: Sequence[tuple[str, Mapping[str, int], Mapping[str, int]]]) -> str:
    moved = [
        (f"{kind} {shown(name) or '(unnamed)'}", now.get(name, 0) - was.get(name, 0))
        for kind, now, was in groups
        for name in {*now, *was}
    ]
    some = sorted((x for x in moved if x[1]), key=lambda x: (-abs(x[1]), x[0]))[:TOP]
    return "Moved most: " + ", ".join(f"{name} {_signed(n)}" for name, n in some) + "." if some else ""


def _top(title: str, amounts: Mapping[str, int], most: int = TOP) -> str:
    named = _named(amounts, most)
    return f"{title}: {named}." if named else ""


def _named(amounts: Mapping[str, int], most: int = TOP) -> str:
    some = sorted(((n, x) for n, x in amounts.items() if x > 0), key=lambda x: (-x[1], x[0]))[:most]
    return ", ".join(f"{shown(n) or '(unnamed)'} {usd(x)}" for n, x in some)


def _change(now: int, before: int) -> str:
    if not before:
        return ""
    share = _percent(abs(now - before), before)
    return f", {_signed(now - before)} ({'+' if now >= before else '-'}{share}) to the one before"


def _signed(nano: int) -> str:
    return f"+{usd(nano)}" if nano >= 0 else f"-{usd(-nano)}"


def _percent(part: int, whole: int) -> str:
    return f"{(200 * part + whole) // (2 * whole)} %" if whole else "0 %"


def _count(into: dict[str, int], name: str, n: int) -> None:
    into[name] = into.get(name, 0) + n
