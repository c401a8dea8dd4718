"""The decision: facts and policy → an ordered plan of candidates for one atomic ledger call. Pure.

The ledger knows the spend, the plan does not: what depends on it is written as windows of what the month has used
(settled, and this request's own estimate: a downgrade applies from its threshold on) and as bounds. The rules' numbers
are those of docs/reference/decision.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace

from spendgate.budget.ask import Ask, Choice, DecisionSettings, Plan, PlannedRefusal, Quote
from spendgate.budget.bounds import CARRY_PARTS, UNLIMITED, Bound, Candidate, LearnedHold
from spendgate.budget.limits import bounds_of, counted_only
from spendgate.budget.patterns import best_match
from spendgate.budget.policy import TeamBudget
from spendgate.money import nano_to_usd
from spendgate.pricing.aliases import bare, same
from spendgate.values import dataclass

QuoteFn = Callable[[str, int | None], Quote]
ServableFn = Callable[[str], str]
BoundsFn = Callable[[str], tuple[Bound, ...] | None]

PRESSURE_ABOVE = (4, 5)
"""With cost routing, pressure starts above 0.8 of the month's limit (rule 3)."""


def _none_kept(model: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class _Option:
    """A model that may serve, and why."""

    model: str
    reason: str = ""
    downgraded: bool = False
    kept_because: str = ""


@dataclass(slots=True)
class _DecisionInput:
    """All that one decision looks at; quotes are made once a model."""

    ask: Ask
    budget: TeamBudget
    now_ms: int
    quote_fn: QuoteFn
    servable: ServableFn
    settings: DecisionSettings
    groups: tuple[TeamBudget, ...]
    kept: BoundsFn
    _quotes: dict[str, tuple[Quote, bool]] = field(default_factory=dict)

    @property
    def cap(self) -> int | None:
        """The policy's output cap, where the client gave none."""
        return self.budget.output_token_cap if self.ask.client_output_cap is None else None

    def bounds(self, model: str) -> tuple[Bound, ...]:
        """The bounds of a model."""
        kept = self.kept(model)
        if kept is not None:
            return kept
        return bounds_of(self.budget, self.ask, model, self.now_ms, self.settings, self.groups)

    def quote(self, model: str) -> Quote:
        """The estimate for a model; with clamping, lowered to what one request may cost (rule 12)."""
        return self.quoted(model)[0]

    def is_same(self, model: str, asked: str) -> bool:
        """Is a wanted model the one that is asked for, by another of its names and at the same price?"""
        if model == asked:
            return True
        if not same(model, asked):
            return False
        return self.quote(model).rank_picousd == self.quote(asked).rank_picousd

    def quoted(self, model: str) -> tuple[Quote, bool]:
        """The same, and whether the output cap was lowered for it."""
        known = self._quotes.get(model)
        if known is None:
            quote = self.quote_fn(model, self.cap)
            tokens = self._affordable(quote)
            known = (quote, False) if tokens is None else (self.quote_fn(model, tokens), True)
            self._quotes[model] = known
        return known

    def _affordable(self, quote: Quote) -> int | None:
        """The output tokens that maxUSDPerRequest pays for; None where nothing need or can be lowered."""
        most, clamp = self.budget.request_nanousd, quote.clamp
        if not self.budget.clamp_output or most is None or clamp is None or quote.estimate_nanousd <= most:
            return None
        tokens = (most - clamp.fixed_nanousd) * 1000 // max(clamp.output_picousd_per_token, 1)
        return tokens if tokens >= clamp.output_tokens_min else None


def plan(
    ask: Ask,
    budget: TeamBudget | None,
    now_ms: int,
    quote: QuoteFn,
    servable: ServableFn,
    settings: DecisionSettings,
    groups: tuple[TeamBudget, ...] = (),
    kept: BoundsFn = _none_kept,
) -> Plan:
    """Decide one request. `groups` bound the team beside its own budget.

    `quote(model, cap)` estimates a model with the output cap `cap` (None: the client's own, or the default).
    `servable(model)` is "" where the exchange's dialect and upstream can serve the model, else why not
    (`dialect`, `upstream`, `capability`). `kept(model)` has the bounds of a model where they are kept.
    """
    asked = _asked(ask, servable)
    if budget is None:
        refused = (
            settings.unbudgeted == "reject" and not groups
        )  # a pool: its teams need no budget of their own
        return _unbudgeted(ask, asked, quote(asked.model, None), settings, now_ms, groups, refused=refused)
    if budget.lapsed:
        return _unbudgeted(ask, asked, quote(asked.model, None), settings, now_ms, groups, refused=True)
    case = _DecisionInput(ask, budget, now_ms, quote, servable, settings, groups, kept)
    choices, refusal = _decided(case, asked)
    month = budget.month_bound_nanousd(now_ms, ask.app)
    return Plan(
        choices,
        refusal,
        audit=budget.audit,
        limit_nanousd=budget.limit_nanousd(now_ms),
        bound_nanousd=None if month == UNLIMITED else month,
        output_cap=case.cap,
        kept_because=asked.kept_because if ask.require_model else "",
        unpriced=case.quote(asked.model).rank_picousd is None,
        requested=_counted_only(case, asked) if budget.audit else None,
    )


def _decided(case: _DecisionInput, asked: _Option) -> tuple[tuple[Choice, ...], PlannedRefusal | None]:
    """What a budget of the team's own makes of it: choices in their order, or a refusal."""
    fault = _fault(case, asked.model)
    if fault is not None and fault.reason == "app_not_allowed_for_model":
        return (), fault
    relaxed, pressed = _relaxed(case, asked), _pressed(case, asked)
    if fault is not None:
        relaxed = [o for o in relaxed if o.model != asked.model]
        pressed = [o for o in pressed if o.model != asked.model]
        if not relaxed:
            return (), fault
    return _windows(case, asked, relaxed, pressed or relaxed), None


def audit_fallback(planned: Plan) -> Choice:
    """The requested model with nothing but counters: what a plan in audit lets pass (rule 13)."""
    if planned.requested is None:
        raise ValueError("the plan was refused before a model was considered")
    return planned.requested


def fail_open_allowance(budget: TeamBudget | None, now_ms: int) -> int:
    """What one replica may admit while the ledger does not answer, nano-USD; UNLIMITED: all (rule 10)."""
    return UNLIMITED if budget is None else budget.fail_open_allowance(now_ms)


def _asked(ask: Ask, servable: ServableFn) -> _Option:
    """The requested model: the body's, or the one that X-Require-Model demands (rule 2)."""
    if not ask.require_model:
        return _Option(ask.model)
    if bare(ask.require_model) == bare(ask.model):  # the client's own spelling is what its provider knows
        return _Option(ask.model, "required_model")
    if why := servable(ask.require_model):
        return _Option(ask.model, kept_because=why)
    return _Option(ask.require_model, "required_model")


def _unbudgeted(
    ask: Ask,
    asked: _Option,
    quote: Quote,
    settings: DecisionSettings,
    now_ms: int,
    groups: tuple[TeamBudget, ...],
    *,
    refused: bool,
) -> Plan:
    """Rule 1: metered all the same, and bound by the groups that the team is in."""
    choice = _choice(asked, quote, bounds_of(None, ask, asked.model, now_ms, settings, groups))
    outline = Plan(
        (choice,),
        kept_because=asked.kept_because,
        unpriced=quote.rank_picousd is None,
        note="" if groups else "no_budget_defined",
        requested=choice,
    )
    if refused:
        return replace(outline, choices=(), refusal=PlannedRefusal(429, "unbudgeted", asked.model))
    return outline


def _relaxed(case: _DecisionInput, asked: _Option) -> list[_Option]:
    """What to try while the budget is not under pressure: the route of rule 3, the requested model last."""
    routing = case.budget.routing
    if routing is None or case.ask.require_model:
        return [asked]
    if case.ask.input_tokens < routing.complexity_threshold:
        want = _Option(routing.cheap_model, "simple_query")
    else:
        want = _Option(routing.expensive_model or asked.model, "complex_query")
    if case.is_same(want.model, asked.model):
        return [replace(want, model=asked.model)]
    why = _obstacle(case, want.model, asked.model, may_be_dearer=want.reason == "complex_query")
    return [replace(asked, kept_because=why)] if why else [want, asked]


def _pressed(case: _DecisionInput, asked: _Option) -> list[_Option]:
    """What to try under pressure (rules 3 to 5): the cheaper models by preference, the requested one last."""
    if case.ask.require_model:
        return [asked]
    options: list[_Option] = []
    first_obstacle = ""
    for model in _targets(case, asked.model):
        if case.is_same(model, asked.model):
            reason = "budget_pressure" if case.budget.routing and not options else ""
            return [*options, replace(asked, reason=reason)]
        why = _obstacle(case, model, asked.model, may_be_dearer=False)
        if not why:
            options.append(_Option(model, "budget_pressure", downgraded=True))
        first_obstacle = first_obstacle or why
    if options or not first_obstacle:
        return [*options, asked]
    return [replace(asked, kept_because=first_obstacle)]


def _targets(case: _DecisionInput, asked: str) -> list[str]:
    """The models wanted under pressure: the mapping for this model, then cheapModel, then defaultModel."""
    budget = case.budget
    mapping = best_match(budget.downgrades, asked, case.ask.known_as(asked)) if budget.downgrades else None
    wanted = [
        mapping.to if mapping else "",
        budget.routing.cheap_model if budget.routing else "",
        budget.default_model,
    ]
    return [m for m in dict.fromkeys(wanted) if m]


def _obstacle(case: _DecisionInput, model: str, asked: str, *, may_be_dearer: bool) -> str:
    """Why a wanted model cannot take the requested one's place ("": it can)."""
    if why := case.servable(model):
        return why
    if not may_be_dearer and _is_dearer(case, model, asked):
        return "dearer"
    fault = _fault(case, model)
    return fault.reason if fault else ""


def _is_dearer(case: _DecisionInput, model: str, asked: str) -> bool:
    """Compare by list price. An unpriced target counts as dearer unless routing names it; an unpriced request
    is compared by what the ledger would hold for it, so that an unknown name is no way around a downgrade."""
    target, own = case.quote(model), case.quote(asked)
    if target.rank_picousd is None:
        return not (case.budget.routing and case.budget.routing.cheap_model == model)
    if own.rank_picousd is None:
        return target.estimate_nanousd > own.estimate_nanousd
    return target.rank_picousd > own.rank_picousd


def _fault(case: _DecisionInput, model: str) -> PlannedRefusal | None:
    """Why a model is refused whatever was spent: the app, a missing price, the cost of one request."""
    budget, quote = case.budget, case.quote(model)
    # without either no model that may answer is refused
    looks = budget.model_rules or budget.unpriced_models == "reject"
    for answering in case.ask.may_answer(model) if looks else ():
        for rule in budget.rules_for((answering,), case.ask.known_as):
            if rule.allowed_apps and case.ask.app not in rule.allowed_apps:
                allowed = sorted(rule.allowed_apps)
                details: dict[str, object] = {"allowed_apps": allowed, "model_pattern": rule.pattern.text}
                return PlannedRefusal(403, "app_not_allowed_for_model", answering, details)
        if budget.unpriced_models == "reject" and case.quote(answering).rank_picousd is None:
            return PlannedRefusal(429, "unpriced_model", answering)
    most = budget.request_nanousd
    if most is not None and quote.estimate_nanousd > most:
        details = {
            "estimated_usd": nano_to_usd(quote.estimate_nanousd),
            "max_usd_per_request": nano_to_usd(most),
        }
        return PlannedRefusal(429, "request_cost_exceeded", model, details)
    return None


def pressure_parts(budget: TeamBudget) -> int:
    """The part of the month's limit (of `CARRY_PARTS`) at which pressure starts; 0: never."""
    starts = [CARRY_PARTS * PRESSURE_ABOVE[0] // PRESSURE_ABOVE[1]] if budget.routing else []
    if budget.downgrade_threshold:
        starts.append(budget.downgrade_threshold.percent * CARRY_PARTS // 100)
    return min(starts, default=0)


def pressure_from_nanousd(budget: TeamBudget, now_ms: int) -> int | None:
    """The used amount at which pressure starts: above 0.8 where routed, or at the threshold. None: never."""
    limit = budget.limit_nanousd(now_ms)
    starts: list[int] = []
    if budget.routing:
        part, whole = PRESSURE_ABOVE
        starts.append(limit * part // whole + 1)
    threshold = budget.downgrade_threshold
    if threshold:
        starts.append(-(-limit * threshold.percent // 100))
    return min(starts, default=None)


def _windows(
    case: _DecisionInput, asked: _Option, relaxed: list[_Option], pressed: list[_Option]
) -> tuple[Choice, ...]:
    """Join both lists into one order: each has its window, what ends both alike stands once at the end."""
    start = pressure_from_nanousd(case.budget, case.now_ms)
    own = case.quote(asked.model).estimate_nanousd
    if start is None or pressed == relaxed:
        return tuple(_priced(case, o) for o in relaxed)
    if start <= 0:
        return tuple(_priced(case, o) for o in pressed)
    tail = 0
    while tail < min(len(relaxed), len(pressed)) and relaxed[-1 - tail] == pressed[-1 - tail]:
        tail += 1
    return (
        *(_priced(case, o, own, from_nanousd=start) for o in pressed[: len(pressed) - tail]),
        *(_priced(case, o, own, below_nanousd=start) for o in relaxed[: len(relaxed) - tail]),
        *(_priced(case, o) for o in relaxed[len(relaxed) - tail :]),
    )


def _priced(
    case: _DecisionInput,
    option: _Option,
    own_nanousd: int = 0,
    from_nanousd: int = 0,
    below_nanousd: int = UNLIMITED,
) -> Choice:
    """An option with its estimate, bounds, clamp and window."""
    budget, (quote, is_lowered) = case.budget, case.quoted(option.model)
    bounds = case.bounds(option.model)
    if quote.rank_picousd is None and budget.unpriced_models == "allow":
        bounds = counted_only(bounds, money_alone=True)
    candidate = Candidate(
        option.model,
        quote.estimate_nanousd,
        bounds,
        used_from_nanousd=from_nanousd,
        used_below_nanousd=below_nanousd,
        own_nanousd=own_nanousd,
        clamp=quote.clamp if budget.clamp_output else None,
        learned=_learned(budget, quote) if case.ask.fits else None,
        tokens=quote.tokens,
        carry_parts=pressure_parts(budget) if from_nanousd > 0 or below_nanousd >= 0 else 0,
    )
    cap = _cap_to_write(case, option.model, quote.output_cap, is_lowered=is_lowered)
    return Choice(candidate, option.reason, option.downgraded, quote, option.kept_because, cap)


def _learned(budget: TeamBudget, quote: Quote) -> LearnedHold | None:
    """How what is held may be learned; None where nothing tells input and output apart."""
    shares = quote.shares
    if shares is None:
        return None
    fees = quote.estimate_nanousd - shares.input_nanousd - shares.output_nanousd
    return LearnedHold(
        fees,
        shares.input_min_nanousd,
        shares.input_nanousd,
        shares.output_nanousd,
        budget.hold_percentile,
        budget.hold_min_samples,
    )


def _cap_to_write(case: _DecisionInput, model: str, cap: int, *, is_lowered: bool) -> int | None:
    """The output limit that makes the estimate true: the policy's where the client gave none, a lowered one,
    or another model's maximum where the client's limit is above it."""
    own = case.ask.client_output_cap
    if case.cap is not None or is_lowered:
        return cap
    return cap if own is not None and cap < own and model != case.ask.model else None


def _counted_only(case: _DecisionInput, asked: _Option) -> Choice:
    quote = case.quote_fn(asked.model, None)
    bounds = case.bounds(asked.model)
    own = counted_only(tuple(b for b in bounds if not b.group))
    return _choice(asked, quote, (*own, *(b for b in bounds if b.group)))


def _choice(option: _Option, quote: Quote, bounds: tuple[Bound, ...]) -> Choice:
    candidate = Candidate(option.model, quote.estimate_nanousd, bounds, tokens=quote.tokens)
    return Choice(candidate, option.reason, option.downgraded, quote, option.kept_because)
