"""What providers themselves say that an answer costs: then that is the bill, in every API that can carry it."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from spendgate.dialects.wire.json_read import JsonObject, count_of, object_of
from spendgate.money import NANO_PER_USD

TOLD_USD_MAX = 10_000
"""No answer costs more; a larger amount is not believed."""


FIELDS = ("usage.cost", "usage.cost.total_cost", "usage.estimated_cost", "usage.cost_in_usd_ticks")
"""Where a usage object tells it."""
TELLERS = frozenset({"openrouter", "perplexity", "deepinfra", "x-ai"})
"""The providers that do."""


def told_nanousd(usage: JsonObject) -> int | None:
    """The amount that a usage object tells, in nano-USD: OpenRouter's `cost` in USD (with the vendor's own bill where
    the caller brought a key of theirs), Perplexity's `cost.total_cost`, DeepInfra's `estimated_cost`, xAI's
    `cost_in_usd_ticks` of 10^-10 USD. None where it says nothing, or nothing believable."""
    ticks = count_of(usage.get("cost_in_usd_ticks"))
    if ticks is not None and ticks > 0:
        return -(-ticks // 10)
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return _nano(cost.get("total_cost")) or None
    if cost is None and "estimated_cost" in usage:
        return _nano(usage["estimated_cost"]) or None
    nano = _nano(cost)
    if nano is None or not (nano or "cost_details" in usage):
        return None  # a bare zero says less than a price list
    if usage.get("is_byok") is True:
        nano += _nano(object_of(usage.get("cost_details")).get("upstream_inference_cost")) or 0
    return nano


def _nano(usd: object) -> int | None:
    """An amount in nano-USD: the shortest text of a float is what was written."""
    if isinstance(usd, bool) or not isinstance(usd, int | float | str):
        return None
    try:
        amount = Decimal(usd if isinstance(usd, str) else repr(usd))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= TOLD_USD_MAX:
        return None
    return int((amount * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN))
