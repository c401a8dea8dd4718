"""Replaying a million exchanges: plans are remembered where an earlier one certainly holds. Pure.

A plan depends on a request's size only through the routing threshold, the context length of models, an
output limit, the cost of one request and models without a price. Where none of these can matter, the plan of
one request is the plan of the next; what differs is its estimate, and that matters only near a bound. So a
remembered plan decides where every bound is certainly passed or certainly reached, whatever the estimate up
to an upper bound of it; in all other cases the decision itself is asked. The tests hold both ways to the same
outcome.
"""

from __future__ import annotations

from dataclasses import replace

from spendgate.budget.ask import Choice, Plan
from spendgate.budget.policy import TeamBudget
from spendgate.exchange.snapshot import Snapshot
from spendgate.finops.simulation.logged_request import PLAIN, LoggedRequest
from spendgate.pricing.table import Price, PriceTable
from spendgate.values import dataclass

Decided = tuple[Choice | None, str, int | None]
"""The choice (None: refused), the reason, the output limit put on the request."""

INPUT_SLACK = 3
"""An input bound is at most twice the tokens (`tokens.bound`), and an overhead."""
INPUT_OVERHEAD = 2000
_Key = tuple[str, str, str, str, str, str, bool, bool, int, int]
DAY_MS = 86_400_000


LONGEST_ANSWER = 10_000_000
"""No model makes a longer one."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A plan with the sizes up to which it holds, and the dearest rate of its models (pico-USD a token)."""

    choices: tuple[Choice, ...]
    refusal: str
    context_tokens: int
    output_tokens: int
    top_picousd: int


class PlanCache:
    """Plans by who asks for what; one object a replay."""

    def __init__(self, snapshot: Snapshot, logged_at: PriceTable) -> None:
        self._prices = snapshot.prices
        self._logged_at = logged_at
        self._default = snapshot.settings.assumed_output_tokens
        self._plans: dict[_Key, _Remembered] = {}
        self._output_rates: dict[str, int] = {}
        self._dated: dict[tuple[str, str, str], bool | None] = {}

    def decide(
        self, demand: LoggedRequest, budget: TeamBudget | None, settled: dict[str, int]
    ) -> Decided | None:
        """The decision where it is certain, None where it must be asked."""
        day = self._day(demand, budget)
        known = self._plans.get(_key(demand, budget, day)) if day is not None else None
        if known is None or not demand.tokens or not demand.is_plain:
            return None
        if demand.input_tokens > known.context_tokens:
            return None
        cap = self._most_output(demand)
        if cap > known.output_tokens:
            return None
        if known.refusal:
            return None, known.refusal, None
        most = demand.input_tokens * INPUT_SLACK + INPUT_OVERHEAD + cap
        return _certain(known, settled, most * known.top_picousd // 1000 + 1)

    def learn(self, demand: LoggedRequest, budget: TeamBudget | None, planned: Plan) -> None:
        """Remember a plan, if it can hold for another request at all."""
        day = self._day(demand, budget)
        if day is None:
            return
        key = _key(demand, budget, day)
        if key in self._plans or not demand.tokens or not demand.is_plain or demand.service_tier:
            return
        if budget is not None and (
            budget.request_nanousd is not None
            or budget.run_nanousd is not None
            or budget.output_token_cap is not None
            or budget.holds_learned
        ):
            return
        prices: list[Price] = []
        for model in _models(demand, budget):
            price = self._prices.find(model, demand.terms)
            if price is None:
                return
            prices.append(price)
        context = min((p.context_tokens for p in prices if p.context_tokens is not None), default=1 << 60)
        output = min(
            (p.max_output_tokens for p in prices if p.max_output_tokens is not None), default=1 << 60
        )
        if demand.input_tokens > context or self._most_output(demand) > output:
            return
        refusal = planned.refusal.reason if planned.refusal is not None else ""
        top = max(_top_rate(p) for p in prices)
        self._plans[key] = _Remembered(planned.choices, refusal, context, output, top)

    def _day(self, demand: LoggedRequest, budget: TeamBudget | None) -> int | None:
        """The day that a plan holds for, where a price or discount begins or ends on a day; 0 for all days; None
        where a price hangs on the hour."""
        who = (demand.asked, demand.provider, demand.team)
        if who not in self._dated:
            self._dated[who] = self._hangs(demand, budget)
        dated = self._dated[who]
        return None if dated is None else demand.at_ms // DAY_MS if dated else 0

    def _hangs(self, demand: LoggedRequest, budget: TeamBudget | None) -> bool | None:
        models = _models(demand, budget)
        for model in models:
            found = self._prices.locate(model, demand.provider)
            if found is not None and found.entry.hours:
                return None
        return any(self._prices.varies(model, demand.provider) for model in models)

    def _most_output(self, demand: LoggedRequest) -> int:
        """Not less than any output limit that the estimate can be read as."""
        rate = self._output_rates.get(demand.model)
        if rate is None:
            price = self._logged_at.find(demand.model, demand.terms)
            rate = self._output_rates[demand.model] = price.rates.get("output", 0) if price else 0
        inferred = demand.estimate_nanousd * 1000 // rate if rate else demand.estimate_nanousd * 1000
        return max(self._default or LONGEST_ANSWER, demand.output_tokens, inferred)


def _certain(known: _Remembered, settled: dict[str, int], most_nanousd: int) -> Decided | None:
    """Mirror of `evaluate` for an estimate that is only known to be at most `most_nanousd`."""
    month = settled.get("month", 0)
    reason = "monthly_budget_exceeded"
    for choice in known.choices:
        candidate = choice.candidate
        least = replace(candidate, own_nanousd=0).is_open(month)
        if least != replace(candidate, own_nanousd=most_nanousd).is_open(month):
            return None
        if not least:
            continue
        for bound in candidate.bounds:
            if bound.floor_nanousd < 0:
                continue
            spent = settled.get(bound.scope, 0)
            if spent >= bound.floor_nanousd:
                reason = bound.reason
                break
            if spent + most_nanousd > bound.ceiling_nanousd:
                return None
        else:
            return choice, choice.reason, choice.output_cap
    return None, reason, None


def _key(demand: LoggedRequest, budget: TeamBudget | None, day: int) -> _Key:
    """All that a plan depends on, sizes apart."""
    below, limit = False, 0
    if budget is not None:
        below = budget.routing is not None and demand.input_tokens < budget.routing.complexity_threshold
        limit = budget.limit_nanousd(demand.at_ms) if budget.raises else 0
    who = (demand.team, demand.app, demand.asked, demand.dialect)
    return (*who, demand.provider, demand.residency, demand.required, below, limit, day)


def _models(demand: LoggedRequest, budget: TeamBudget | None) -> set[str]:
    """Every model that the plan may look at."""
    models = {demand.asked}
    if budget is not None:
        models |= {budget.default_model, *(d.to for d in budget.downgrades)}
        if budget.routing:
            models |= {budget.routing.cheap_model, budget.routing.expensive_model}
    return models - {""}


def _top_rate(price: Price) -> int:
    """No plain token costs more: kinds without an own rate cost at most twice their base's."""
    tables = (price.rates, *(t.rates for t in price.tiers))
    return 2 * max((rate for rates in tables for kind, rate in rates.items() if kind in PLAIN), default=0)
