"""The bounds that one model's reservation must fit, in the order in which a refusal is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from spendgate.budget.ask import ANY_MODEL, Ask, DecisionSettings
from spendgate.budget.bounds import UNLIMITED, Bound
from spendgate.budget.limit_rules import limit_bounds
from spendgate.budget.policy import TeamBudget
from spendgate.money import percent_of

GROUP_REASON = "group_budget_exceeded"


def bounds_of(
    budget: TeamBudget | None,
    ask: Ask,
    model: str,
    now_ms: int,
    settings: DecisionSettings,
    groups: Sequence[TeamBudget] = (),
) -> tuple[Bound, ...]:
    """The bounds of a model: month (always), day, hour, model pattern (those of all models that may answer), app, run,
    as far as they are set, then those of `limits`; then the same of each group that the team is in.

    Floors are the limits; ceilings add the overshoot allowance, none where the output is clamped: what is
    left is then given out to the last token, and nothing beyond (rules 7 and 12).
    """
    if budget is None:
        own: tuple[Bound, ...] = (Bound("month", "month", UNLIMITED, UNLIMITED, "monthly_budget_exceeded"),)
    else:
        own = tuple(_bounds(budget, ask, model, now_ms, settings))
    for group in groups:
        bounds = tuple(_bounds(group, ask, model, now_ms, settings))
        own += counted_only(bounds) if group.audit else bounds
    return own


def _bounds(
    budget: TeamBudget, ask: Ask, model: str, now_ms: int, settings: DecisionSettings
) -> Iterator[Bound]:
    """Those of one budget, the month's first."""
    overshoot = budget.overshoot_percent
    if overshoot is None:
        overshoot = settings.default_overshoot_percent
    if budget.clamp_output:
        overshoot = Decimal(0)
    group = budget.team if budget.is_group else ""

    def bound(scope: str, window: str, floor: int, reason: str) -> Bound:
        ceiling = UNLIMITED if floor == UNLIMITED else percent_of(floor, 100 + overshoot)
        return Bound(scope, window, floor, ceiling, GROUP_REASON if group else reason, group=group)

    month = bound("month", "month", budget.month_bound_nanousd(now_ms, ask.app), "monthly_budget_exceeded")
    carry = budget.carry(ask.app, overshoot)
    yield month if carry is None else replace(month, carry=carry)
    if budget.daily_nanousd is not None:
        yield bound("day", "day", budget.daily_nanousd, "daily_budget_exceeded")
    if budget.hourly_nanousd is not None:
        yield bound("hour", "hour", budget.hourly_nanousd, "spend_rate_exceeded")
    for rule in budget.rules_for(ask.may_answer(model), ask.known_as):
        if rule.limit_nanousd is not None:
            scope = f"model:{rule.pattern.text}"
            yield bound(scope, "month", rule.limit_nanousd, "model_budget_exceeded")
    app = budget.apps.get(ask.app)
    if app and app.limit_nanousd is not None:
        yield bound(f"app:{app.name}", "month", app.limit_nanousd, "app_budget_exceeded")
    if ask.run and budget.run_nanousd is not None:
        yield bound(f"run:{ask.run}", "run", budget.run_nanousd, "run_budget_exceeded")
    if budget.limits:
        yield from limit_bounds(budget.limits, budget.calendar, ask, model, now_ms, overshoot, group)


def all_bounds(
    budget: TeamBudget | None,
    asked: Ask,
    now_ms: int,
    settings: DecisionSettings,
    groups: Sequence[TeamBudget] = (),
) -> tuple[Bound, ...]:
    """Every bound that some request of the app (of any, where it is "") may meet, whatever its model: month, day, hour,
    each model pattern, each app, the run, and of `limits` those whose value is known; then those of the groups."""
    found: dict[str, Bound] = {}
    apps = (asked.app,) if asked.app or budget is None else ("", *budget.apps)
    for name in apps:
        ask = replace(asked, app=name, model=ANY_MODEL)
        for b in bounds_of(budget, ask, ANY_MODEL, now_ms, settings, groups):
            if b.subject is None or b.subject.per not in ("model", "provider"):
                found.setdefault(b.key, b)
    return tuple(found.values())


def model_scopes(budgets: Iterable[TeamBudget], ask: Ask, model: str) -> tuple[str, ...]:
    """The counters of the limits that a model alone meets, without those that may answer in its stead."""
    alone = replace(ask, fallbacks=(), other_models=())
    found: dict[str, None] = {}
    for budget in budgets:
        for rule in budget.rules_for((model,), ask.known_as):
            if rule.limit_nanousd is not None:
                found[f"model:{rule.pattern.text}"] = None
        for limit in budget.limits:
            if limit.of_models:
                found.update(dict.fromkeys(limit.scope_of(v) for v in limit.values(alone, model)))
    return tuple(found)


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


def counted_only(bounds: tuple[Bound, ...], *, money_alone: bool = False) -> tuple[Bound, ...]:
    """The same counters without their limits. `money_alone`: those of groups, and of requests and tokens, stay."""

    def stays(b: Bound) -> bool:
        return money_alone and (bool(b.group) or b.unit != "usd")

    return tuple(
        b if stays(b) else replace(b, floor_nanousd=UNLIMITED, ceiling_nanousd=UNLIMITED) for b in bounds
    )
