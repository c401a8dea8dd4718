"""The bounds that one model's reservation must fit, in the order in which a refusal is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from spendgate.budget.ask import ANY_MODEL, Ask, DecisionSettings
from spendgate.budget.bounds import UNLIMITED, Bound
from spendgate.budget.policy import NamesFn, TeamBudget
from spendgate.money import percent_of


def bounds_of(
    budget: TeamBudget | None, ask: Ask, model: str, now_ms: int, settings: DecisionSettings
) -> tuple[Bound, ...]:
    """The bounds of a model: month (always), day, hour, model pattern (those of all models that may answer), app, run,
    as far as they are set.

    Floors are the limits; ceilings add the overshoot allowance, none where the output is clamped: what is
    left is then given out to the last token, and nothing beyond (rules 7 and 12).
    """
    if budget is None:
        return (Bound("month", "month", UNLIMITED, UNLIMITED, "monthly_budget_exceeded"),)
    overshoot = budget.overshoot_percent
    if overshoot is None:
        overshoot = settings.default_overshoot_percent
    if budget.clamp_output:
        overshoot = Decimal(0)

    def bound(scope: str, window: str, floor: int, reason: str) -> Bound:
        ceiling = UNLIMITED if floor == UNLIMITED else percent_of(floor, 100 + overshoot)
        return Bound(scope, window, floor, ceiling, reason)

    month = budget.month_bound_nanousd(now_ms, ask.app)
    out = [bound("month", "month", month, "monthly_budget_exceeded")]
    if budget.daily_nanousd is not None:
        out.append(bound("day", "day", budget.daily_nanousd, "daily_budget_exceeded"))
    if budget.hourly_nanousd is not None:
        out.append(bound("hour", "hour", budget.hourly_nanousd, "spend_rate_exceeded"))
    for rule in budget.rules_for(ask.may_answer(model), ask.known_as):
        if rule.limit_nanousd is not None:
            scope = f"model:{rule.pattern.text}"
            out.append(bound(scope, "month", rule.limit_nanousd, "model_budget_exceeded"))
    app = budget.apps.get(ask.app)
    if app and app.limit_nanousd is not None:
        out.append(bound(f"app:{app.name}", "month", app.limit_nanousd, "app_budget_exceeded"))
    if ask.run and budget.run_nanousd is not None:
        out.append(bound(f"run:{ask.run}", "run", budget.run_nanousd, "run_budget_exceeded"))
    return tuple(out)


def all_bounds(
    budget: TeamBudget, app: str, run: str, now_ms: int, settings: DecisionSettings
) -> tuple[Bound, ...]:
    """Every bound that some request of the app (of any, where app is "") may meet: month, day, hour, each model
    pattern, each app, the run."""
    apps = (app,) if app else ("", *budget.apps)
    found: dict[str, Bound] = {}
    for name in apps:
        ask = Ask(team=budget.team, app=name, model=ANY_MODEL, dialect="", input_tokens=0, run=run)
        for b in bounds_of(budget, ask, ANY_MODEL, now_ms, settings):
            found.setdefault(b.scope, b)
    return tuple(found.values())


def model_scopes(budget: TeamBudget, models: Iterable[str], known_as: NamesFn) -> tuple[str, ...]:
    """The counters of the limits of these models."""
    rules = budget.rules_for(models, known_as)
    return tuple(f"model:{rule.pattern.text}" for rule in rules if rule.limit_nanousd is not None)


def month_scopes(budget: TeamBudget | None, app: str, model: str) -> tuple[str, ...]:
    """The counters of the month that spend of an app with a model moves, `month` first."""
    scopes = ["month"]
    rule = budget.model_rule(model) if budget else None
    if rule and rule.limit_nanousd is not None:
        scopes.append(f"model:{rule.pattern.text}")
    limited = budget.apps.get(app) if budget else None
    if limited and limited.limit_nanousd is not None:
        scopes.append(f"app:{limited.name}")
    return tuple(scopes)


def counted_only(bounds: tuple[Bound, ...]) -> tuple[Bound, ...]:
    """The same counters without their limits."""
    return tuple(replace(b, floor_nanousd=UNLIMITED, ceiling_nanousd=UNLIMITED) for b in bounds)
