"""What a changed budget would have meant for its own team this month: today's budget against the proposed one. Pure.

The log's exchanges of the month are gone through in the order of their time, once for each budget, each beginning with
what the ledger has settled of the month beside the log. What was refused is taken to cost its estimate times what this
team's requests cost of their estimates. Only the month's bound is judged: what another bound refused (a model's, an
app's, a day's, a run's) stays refused, whatever the month's budget is.

An answer that was cheaper because money was short would have been given by the model asked for, where the proposed
budget has no shortage at that point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import field

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.limits import bounds_of
from spendgate.budget.policy import TeamBudget
from spendgate.budget.rollover import carried_nanousd, with_carry
from spendgate.finops.chargeback.render import table_rows
from spendgate.finops.simulation.render import moment, percent
from spendgate.money import usd_text
from spendgate.months import month_text
from spendgate.proposals.forges import inert
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord
from spendgate.values import dataclass

BY_MONTH = frozenset(("monthly_budget_exceeded", "budget_held"))
"""Reasons that the month's bound gives."""
PRESSURE = "budget_pressure"
_SETTINGS = DecisionSettings()


@dataclass(slots=True)
class Outcomes:
    """What one budget makes of the month: nano-USD and requests."""

    limit_nanousd: int
    spent_nanousd: int = 0
    passed: int = 0
    refused: int = 0
    refused_nanousd: int = 0
    cheaper: int = 0
    """Answered by a cheaper model, since money was short."""
    first_refused_ms: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """A team's month (`YYYYMM`) under both budgets. `other_refusals` by reason: those that no month's budget changes.
    `unlogged_nanousd`: what the ledger has settled and the log does not show; None: there was no ledger to ask.
    `cost_ratio`: what requests cost of their estimates, in thousandths."""

    team: str
    month: str
    first_ms: int
    last_ms: int
    now: Outcomes
    proposed: Outcomes
    other_refusals: dict[str, int]
    unlogged_nanousd: int | None
    cost_ratio: int

    @property
    def would_pass(self) -> int:
        """How many more requests the proposed budget lets pass (below zero: fewer)."""
        return self.now.refused - self.proposed.refused


def story(
    before: TeamBudget,
    after: TeamBudget,
    records: Iterable[UsageRecord],
    month: str,
    settled_nanousd: int | None,
    now_ms: int,
    last_settled_nanousd: int | None = None,
) -> Story:
    """Tell it. `records` are the team's of that month; `settled_nanousd` what the ledger has settled in it (None: no
    ledger), `last_settled_nanousd` in the one before, for what is carried over (None: nothing is known of it)."""
    lines = sorted(records, key=lambda r: r.at_ms)
    settled = [r for r in lines if r.outcome is not Outcome.REFUSED]
    logged = sum(r.cost_nanousd for r in settled)
    unlogged = None if settled_nanousd is None else settled_nanousd - logged
    ratio = _ratio(settled)
    today, proposed = (
        _Run(with_carry(b, carried_nanousd(b, last_settled_nanousd), now_ms), now_ms, max(0, unlogged or 0))
        for b in (before, after)
    )
    others: Counter[str] = Counter()
    for r in lines:
        if r.outcome is Outcome.REFUSED:
            if r.reason not in BY_MONTH:
                others[r.reason] += 1
                continue
            if not r.estimate_nanousd:
                continue  # a repetition of one that is told already
            cost = r.estimate_nanousd * ratio // 1000
            today.refuse(r)
            proposed.ask(r, cost)
        else:
            today.count(r)
            proposed.ask(r, r.cost_nanousd)
    first, last = (lines[0].at_ms, lines[-1].at_ms) if lines else (0, 0)
    return Story(
        after.team, month, first, last, today.out, proposed.out, dict(sorted(others.items())), unlogged, ratio
    )


def _ratio(settled: list[UsageRecord]) -> int:
    """What requests cost of their estimates, in thousandths; all of it where nothing tells."""
    told = [r for r in settled if r.outcome is Outcome.COMPLETE and r.estimate_nanousd]
    estimates = sum(r.estimate_nanousd for r in told)
    return min(1000, sum(r.cost_nanousd for r in told) * 1000 // estimates) if estimates else 1000


@dataclass(slots=True)
class _Run:
    """One budget's month, as it goes on."""

    budget: TeamBudget
    now_ms: int
    spent_nanousd: int
    out: Outcomes = field(init=False)

    def __post_init__(self) -> None:
        self.out = Outcomes(self.budget.limit_nanousd(self.now_ms), self.spent_nanousd)

    def count(self, r: UsageRecord) -> None:
        """It happened so."""
        self.out.passed += 1
        self.out.cheaper += r.reason == PRESSURE
        self._spend(r.cost_nanousd)

    def refuse(self, r: UsageRecord) -> None:
        """It was refused."""
        self.out.refused += 1
        self.out.refused_nanousd += r.estimate_nanousd
        self.out.first_refused_ms = self.out.first_refused_ms or r.at_ms

    def ask(self, r: UsageRecord, cost_nanousd: int) -> None:
        """Would it pass, and at which cost?"""
        ask = Ask(self.budget.team, r.app, r.model, r.dialect, 0)
        bound = bounds_of(self.budget, ask, r.model, self.now_ms, _SETTINGS)[0]
        fits = bound.floor_nanousd < 0 or (
            self.spent_nanousd < bound.floor_nanousd
            and self.spent_nanousd + r.estimate_nanousd <= bound.ceiling_nanousd
        )
        if not fits and not self.budget.audit:
            self.refuse(r)
            return
        self.out.passed += 1
        if r.reason == PRESSURE and not self._is_short(r.estimate_nanousd):
            cost_nanousd += max(0, r.saved_nanousd)  # the model asked for
        else:
            self.out.cheaper += r.reason == PRESSURE
        self._spend(cost_nanousd)

    def _is_short(self, estimate_nanousd: int) -> bool:
        threshold = self.budget.downgrade_threshold
        limit = self.out.limit_nanousd
        return (
            threshold is not None
            and (self.spent_nanousd + estimate_nanousd) * 100 >= threshold.percent * limit
        )

    def _spend(self, nano: int) -> None:
        self.spent_nanousd += nano
        self.out.spent_nanousd = self.spent_nanousd


def to_markdown(told: Story) -> str:
    """The comment of a pull request."""
    now, then = told.now, told.proposed
    rows = [
        ("month's budget", _usd(now.limit_nanousd), _usd(then.limit_nanousd)),
        ("requests refused by it", f"{now.refused:,}", f"{then.refused:,}"),
        ("… worth, as estimated", _usd(now.refused_nanousd), _usd(then.refused_nanousd)),
        ("answered by a cheaper model for lack of money", f"{now.cheaper:,}", f"{then.cheaper:,}"),
        ("spent", _usd(now.spent_nanousd), _usd(then.spent_nanousd)),
        ("used of the budget", *(percent(o.spent_nanousd, o.limit_nanousd) for o in (now, then))),
        ("first refused", *(moment(o.first_refused_ms) for o in (now, then))),
    ]  # fmt: skip
    lines = table_rows((month_text(told.month), "today's budget", "proposed"), rows, names=1)
    notes = [f"- {note}" for note in _notes(told)]
    return "\n".join(
        [f"## What it means for team {inert(told.team)}", "", _headline(told), "", *lines, "", *notes, ""]
    )


def _headline(told: Story) -> str:
    now, then = told.now, told.proposed
    if not told.last_ms:
        return f"The log has nothing of the team in {month_text(told.month)}."
    if not now.refused and not then.refused:
        return f"In {month_text(told.month)} no request was refused by the month's budget, and none would be."
    if told.would_pass >= 0:
        return (
            f"Of {now.refused:,} requests that today's budget refused in {month_text(told.month)}, the proposed one "
            f"lets {told.would_pass:,} pass: {_usd(then.spent_nanousd - now.spent_nanousd)} more spent so far."
        )
    return (
        f"The proposed budget would have refused {then.refused:,} requests in {month_text(told.month)}, today's "
        f"refused {now.refused:,}: {_usd(now.spent_nanousd - then.spent_nanousd)} less spent so far."
    )


def _notes(told: Story) -> list[str]:
    found = [f"Logged {moment(told.first_ms)} to {moment(told.last_ms)}."] if told.last_ms else []
    if told.unlogged_nanousd is None:
        found.append("No ledger was asked: the counters are the log's own, and begin with it.")
    elif told.unlogged_nanousd > 0:
        found.append(
            f"{_usd(told.unlogged_nanousd)} of the month are not in the log; both columns begin with them."
        )
    elif told.unlogged_nanousd < 0:
        found.append(
            f"The log has {_usd(-told.unlogged_nanousd)} more than the ledger: it was adjusted, or is another's."
        )
    if told.now.refused:
        share = f"{told.cost_ratio // 10}.{told.cost_ratio % 10} %"
        found.append(
            f"What was refused is taken to cost {share} of its estimate, as the team's other requests did."
        )
    if told.other_refusals:
        said = ", ".join(f"{reason} {n:,}" for reason, n in told.other_refusals.items())
        found.append(f"Refused by other bounds, and so whatever the month's budget is: {said}.")
    return found


def _usd(nano: int) -> str:
    return usd_text(nano, 4)
