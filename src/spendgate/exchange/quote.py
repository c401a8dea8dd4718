"""The price of a request before it is sent: facts × count × price table → a Quote for the decision.

The estimate is the most that the provider may bill: the dearest of the models that may answer, of the tiers that may
be served, and of the rates that a token can take. Input that the request does not carry counts as one context window.
"""

from __future__ import annotations

from dataclasses import replace

from spendgate.budget.ask import Quote, Shares
from spendgate.budget.bounds import Clamp
from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request.hosted import RESULT_TOKENS
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.pricing.cost import (
    estimate_nanousd,
    least_input_nanousd,
    output_picousd,
    plain_estimate,
    rank_picousd,
)
from spendgate.pricing.price import Price
from spendgate.pricing.span import price_span
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import ANY, Terms
from spendgate.tokens.bound import Family, bound_in, family, input_bound
from spendgate.tokens.count import Counted
from spendgate.values import dataclass

CLAMP_MIN_TOKENS = 16
"""An output cap lower than this is no useful part of an answer."""
HOLD_MIN_NANOUSD = 1
"""No hold is nothing, also where the price is."""


@dataclass(frozen=True, slots=True)
class _Priced:
    """One model's part of an estimate."""

    price: Price
    own: bool
    """It is the model's own price, and no stand-in."""
    cap: int
    input_tokens: int
    output_tokens: int
    nanousd: int


def make_quote(
    prices: PriceTable,
    model: str,
    facts: RequestFacts,
    counted: Counted,
    cap: int | None,
    default_output_tokens: int | None,
    terms: Terms = ANY,
    served: tuple[str, ...] = (),
    *,
    shares: bool = False,
) -> Quote:
    """Estimate the most that `model` is expected to cost for this request, under `terms`.

    `cap`: the output cap that will stand in the request, None where it has none (then the smaller of the
    model's maximum and the default counts; without a default, None, the model's maximum). A model without a price is
    estimated by the dearest of its family (rule 11) and has no rank; where it is known what answers under its name
    (`served`, each of them priced), by the dearest of those. `shares`: say what the estimate consists of, where one
    model alone makes it.
    """
    asked = _priced(prices, model, facts, counted, cap, default_output_tokens, terms)
    learned = not asked.own and bool(served) and all(prices.find(m, terms) is not None for m in served)
    if learned:
        known = (_priced(prices, m, facts, counted, cap, default_output_tokens, terms) for m in served)
        asked = replace(max(known, key=lambda each: each.nanousd), own=False)
    others = list(facts.other_models)
    if model == facts.model:  # where another model is written, the request's own list is taken out
        others += facts.fallbacks
    also = [_priced(prices, m, facts, counted, cap, default_output_tokens, terms) for m in others]
    beside = [each.nanousd for each in also]
    if facts.fallbacks_add and model == facts.model:
        estimate = asked.nanousd + sum(beside)
    else:
        estimate = max(asked.nanousd, *beside) if beside else asked.nanousd
    estimate = min(max(estimate, HOLD_MIN_NANOUSD), LEDGER_MAX_NANOUSD)
    per_token = output_picousd(asked.price, asked.input_tokens, facts.dear_kinds) * facts.choices
    fixed = max(0, estimate - asked.cap * per_token // 1000)
    clamps = not (facts.body_fixed or beside) and asked.cap > 0
    return Quote(
        estimate_nanousd=estimate,
        rank_picousd=rank_picousd(asked.price) if asked.own else None,
        output_cap=asked.cap,
        clamp=Clamp(fixed, per_token, max(CLAMP_MIN_TOKENS, facts.output_cap_min)) if clamps else None,
        priced_as="" if asked.own else asked.price.model,
        learned=learned,
        tokens=max(each.input_tokens + each.output_tokens for each in (asked, *also)),
        shares=_shares(asked, facts, estimate) if shares and not beside else None,
    )


def _shares(asked: _Priced, facts: RequestFacts, estimate: int) -> Shares | None:
    """The parts of one model's estimate; None where none of it is input, or output."""
    tokens = asked.input_tokens

    def most(output_tokens: int) -> int:
        return estimate_nanousd(
            asked.price, tokens, output_tokens, cache_writes=facts.cache_writes, also=facts.dear_kinds
        )

    brought = most(0)
    made = min(most(asked.output_tokens), estimate) - brought
    if brought <= 0 or made <= 0:
        return None
    return Shares(brought, made, min(least_input_nanousd(asked.price, tokens), brought), tokens)


def _priced(
    prices: PriceTable,
    model: str,
    facts: RequestFacts,
    counted: Counted,
    cap: int | None,
    default_output_tokens: int | None,
    terms: Terms,
) -> _Priced:
    price = prices.find(model, terms)
    own = price is not None
    if price is None:
        price = prices.dearest_of_family(model, terms)
    most = price.max_output_tokens if own else None
    if cap is None:
        cap = _assumed_cap(prices, model, most, default_output_tokens)
    elif most:
        cap = min(cap, most)
    input_tokens = _input_tokens(prices, model, price if own else None, facts, counted, terms.provider)
    output_tokens = cap * facts.choices + facts.extra_output_tokens
    nanousd = 0
    for each in _as_served(prices, model, price, own, facts, terms):
        most_of_it = estimate_nanousd(
            each, input_tokens, output_tokens, {"requests": 1, **facts.fee_kinds},
            cache_writes=facts.cache_writes, also=facts.dear_kinds, stand_ins=prices.stand_ins,
        )  # fmt: skip
        if most_of_it > nanousd:
            nanousd, price = most_of_it, each
    fees = facts.fee_nanousd - (-input_tokens * prices.router_fee(model, terms.provider) // 1000)
    return _Priced(price, own, cap, input_tokens, output_tokens, nanousd + fees)


def _assumed_cap(prices: PriceTable, model: str, most: int | None, default_output_tokens: int | None) -> int:
    """The output cap where neither the request nor the policy has one. `most`: the most that its price allows."""
    if most and default_output_tokens:
        return min(most, default_output_tokens)
    return prices.output_tokens(model, most) if default_output_tokens is None else default_output_tokens


def _input_tokens(
    prices: PriceTable, model: str, price: Price | None, facts: RequestFacts, counted: Counted, provider: str
) -> int:
    """All that the model may be billed for reading: the request in each turn, and what it does not carry."""
    carried = input_bound(counted, model, "tools" in facts.needs) + facts.extra_input_tokens
    tokens = carried
    if facts.unseen_input:
        window = prices.context_tokens(model, price, provider)
        brought = window
        if facts.unseen_results:
            brought = max(window, sum(min(window, i * RESULT_TOKENS) for i in range(facts.turns)))
        tokens = max(carried, brought) + brought * (facts.unseen_windows - 1)
    return tokens + carried * (facts.turns - 1) + facts.tool_input_tokens


def _as_served(
    prices: PriceTable, model: str, price: Price, own: bool, facts: RequestFacts, terms: Terms
) -> tuple[Price, ...]:
    """The prices that it may be served at: a tier that the client asks for (flex, batch) is no promise that it is got,
    so the standard price counts too."""
    hosts = tuple(prices.everywhere(model, terms)) if facts.routed else ()
    if not terms.tier or facts.batch:
        return (price, *hosts)
    standard = Terms(terms.provider, "", terms.residency, terms.at_ms)
    found = prices.find(model, standard) if own else prices.dearest_of_family(model, standard)
    return (price, *hosts) if found is None else (price, found, *hosts)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a model is sold at, at one address and the standard price: all of an estimate that a plain request leaves
    open. It holds from `since_ms` on, and no longer at `until_ms`."""

    price: Price
    rank_picousd: int
    cap: int
    """The output cap of a request without one."""
    family: Family
    router_fee: int
    since_ms: int
    until_ms: int

    def quote(self, facts: RequestFacts, counted: Counted, cap: int | None) -> Quote:
        """`make_quote` of a plain request (`is_plain`)."""
        most = self.price.max_output_tokens
        if cap is None:
            cap = self.cap
        elif most and most < cap:
            cap = most
        tokens = bound_in(self.family, counted, "tools" in facts.needs) + facts.extra_input_tokens
        made = cap * facts.choices + facts.extra_output_tokens
        estimate, per_token = plain_estimate(self.price, tokens, made, facts.cache_writes, facts.dear_kinds)
        if self.router_fee:
            estimate -= -tokens * self.router_fee // 1000
        estimate = min(max(estimate, HOLD_MIN_NANOUSD), LEDGER_MAX_NANOUSD)
        clamp = None
        if cap > 0 and not facts.body_fixed:
            per_token *= facts.choices
            fixed = max(0, estimate - cap * per_token // 1000)
            clamp = Clamp(fixed, per_token, max(CLAMP_MIN_TOKENS, facts.output_cap_min))
        return Quote(estimate, self.rank_picousd, cap, clamp, tokens=tokens + made)


def offer_of(
    prices: PriceTable, model: str, terms: Terms, default_output_tokens: int | None, at_ms: int
) -> Offer | None:
    """The offer under standard terms at a moment; None where the model has no price of its own."""
    found = prices.locate(model, terms.provider)
    price = prices.find(model, terms)
    if found is None or price is None:
        return None
    cap = _assumed_cap(prices, model, price.max_output_tokens, default_output_tokens)
    fee = prices.router_fee(model, terms.provider)
    return Offer(price, rank_picousd(price), cap, family(model), fee, *price_span(found, at_ms))


def is_plain(facts: RequestFacts) -> bool:
    """Do only texts and a cap decide what it costs, with one model and at the standard price?"""
    return not (
        facts.fallbacks
        or facts.other_models
        or facts.routed
        or facts.unseen_input
        or facts.service_tier
        or facts.residency
        or facts.fee_kinds
        or facts.fee_nanousd
        or facts.tool_input_tokens
        or facts.turns != 1
    )
