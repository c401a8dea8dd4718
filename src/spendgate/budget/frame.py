"""What of a plan follows from the policy alone: for a team, an app and a model, whatever else is asked. Pure.

It is worked out once and kept by a snapshot. A plain request under a plain budget is planned by it alone; `decide.plan`
is what says how, and a frame's plan is the same. All other decisions have their bounds of it.
"""

from __future__ import annotations

from spendgate.budget.ask import Ask, Choice, DecisionSettings, Plan, Quote
from spendgate.budget.bounds import UNLIMITED, Bound, Candidate
from spendgate.budget.limits import bounds_of
from spendgate.budget.policy import NamesFn, TeamBudget
from spendgate.pricing.span import between, minute
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """It holds from `since_ms` on, and no longer at `until_ms`."""

    budget: TeamBudget
    is_whole: bool
    """Is it all of a plan that its budget has a say in? Else a decision takes its bounds alone."""
    bounds: tuple[Bound, ...]
    limit_nanousd: int
    bound_nanousd: int | None
    allowance_nanousd: int
    since_ms: int
    until_ms: int

    def plan(self, model: str, quote: Quote, client_output_cap: int | None) -> Plan | None:
        """The plan for a request of this model, which has a price; None where there is more to decide."""
        budget, estimate = self.budget, quote.estimate_nanousd
        most = budget.request_nanousd
        if not self.is_whole or (most is not None and estimate > most):
            return None
        clamp = quote.clamp if budget.clamp_output else None
        candidate = Candidate(model, estimate, self.bounds, clamp=clamp, tokens=quote.tokens)
        cap = budget.output_token_cap if client_output_cap is None else None
        written = None if cap is None else quote.output_cap
        choice = Choice(candidate, "", False, quote, output_cap=written)
        return Plan(
            (choice,), limit_nanousd=self.limit_nanousd, bound_nanousd=self.bound_nanousd, output_cap=cap
        )


def frame_of(
    budget: TeamBudget,
    groups: tuple[TeamBudget, ...],
    app: str,
    model: str,
    known_as: NamesFn,
    now_ms: int,
    settings: DecisionSettings,
) -> Frame | None:
    """The frame of a team's plans; None where its bounds are not only the team's, the app's and the model's."""
    if budget.lapsed or any(b.knows_callers for b in (budget, *groups)):
        return None
    rules = budget.rules_for((model,), known_as)
    is_refused = any(r.allowed_apps and app not in r.allowed_apps for r in rules)
    ask = Ask(budget.team, app, model, "", 0, known_as=known_as)
    bounds = bounds_of(budget, ask, model, now_ms, settings, groups)
    month = budget.month_bound_nanousd(now_ms, app)
    since_ms, until_ms = _span((budget, *groups), bounds, now_ms)
    return Frame(
        budget,
        budget.is_plain and not is_refused,
        bounds,
        budget.limit_nanousd(now_ms),
        None if month == UNLIMITED else month,
        budget.fail_open_allowance(now_ms),
        since_ms,
        until_ms,
    )


def _span(budgets: tuple[TeamBudget, ...], bounds: tuple[Bound, ...], now_ms: int) -> tuple[int, int]:
    """How long all is as it is now: until an increase ends, and where the ledger is told periods, within a minute."""
    changes = [r.until_ms for b in budgets for r in b.raises]
    if any(b.periods for b in bounds):
        changes += minute(now_ms)
    return between(changes, now_ms)
