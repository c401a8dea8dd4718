"""The price of a request before it is sent: facts × count × price table → a Quote for the decision."""

from __future__ import annotations

from spendgate.budget.ask import Quote
from spendgate.budget.bounds import Clamp
from spendgate.dialects.base import RequestFacts
from spendgate.pricing.cost import estimate_nanousd, output_picousd, rank_picousd
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import ANY, Terms
from spendgate.tokens.bound import input_bound
from spendgate.tokens.count import Counted

CLAMP_MIN_TOKENS = 16
"""An output cap lower than this is no useful part of an answer."""

CONTEXT_TOKENS = 200_000
"""The context window of a model that the price table gives none for."""


def make_quote(
    prices: PriceTable,
    model: str,
    facts: RequestFacts,
    counted: Counted,
    cap: int | None,
    default_output_tokens: int,
    terms: Terms = ANY,
) -> Quote:
    """Estimate the most that `model` is expected to cost for this request, under `terms`.

    `cap`: the output cap that will stand in the request, None where it has none (then the smaller of the
    model's maximum and the default counts). A model without a price is estimated by the dearest of its
    family (rule 11) and has no rank.
    """
    price = prices.find(model, terms)
    own = price is not None
    if price is None:
        price = prices.dearest_of_family(model, terms)
    most = price.max_output_tokens if own else None
    if cap is None:
        cap = min(most, default_output_tokens) if most else default_output_tokens
    elif most:
        cap = min(cap, most)
    input_tokens = input_bound(counted, model, "tools" in facts.needs)
    input_tokens += facts.extra_input_tokens
    if facts.unseen_input:
        input_tokens = max(input_tokens, (own and price.context_tokens) or CONTEXT_TOKENS)
    input_tokens += facts.tool_input_tokens
    output_tokens = cap * facts.choices + facts.extra_output_tokens
    also = facts.dear_kinds
    estimate = estimate_nanousd(
        price, input_tokens, output_tokens, {"requests": 1, **facts.fee_kinds},
        cache_write=facts.cache_write, also=also, stand_ins=prices.stand_ins,
    )  # fmt: skip
    for other in facts.other_models:
        dearer = prices.find(other, terms) or prices.dearest_of_family(other, terms)
        most_of_it = estimate_nanousd(
            dearer, input_tokens, output_tokens, {"requests": 1, **facts.fee_kinds},
            cache_write=facts.cache_write, also=also, stand_ins=prices.stand_ins,
        )  # fmt: skip
        estimate = max(estimate, most_of_it)
    per_token = output_picousd(price, input_tokens, also) * facts.choices
    fixed = max(0, estimate - cap * per_token // 1000)
    return Quote(
        estimate_nanousd=estimate,
        rank_picousd=rank_picousd(price) if own else None,
        output_cap=cap,
        clamp=None
        if facts.body_fixed or not cap
        else Clamp(fixed, per_token, max(CLAMP_MIN_TOKENS, facts.output_cap_min)),
        priced_as="" if own else price.model,
    )
