"""What many exchanges cost together where a price has context tiers. Pure.

A tier holds for an exchange, never for a day: the sum of a day's small requests passes any tier. Which part of a day
was in the tier is told by its money: the cost lies between that of all tokens at the base rates and that of all at the
tier's, and where it lies is the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.money import PICO_PER_NANO
from spendgate.pricing.cost import cost_pico
from spendgate.pricing.price import Price
from spendgate.usage import Usage, input_total

Part = tuple[int, int]
"""Numerator and denominator of the part that was in the tier."""
NONE: Part = (0, 1)
ALL: Part = (1, 1)


def ends_of(price: Price) -> tuple[Price, Price]:
    """The price at its base rates alone, and at those of its highest tier."""
    if not price.tiers:
        return price, price
    base = replace(price, tiers=())
    rates: dict[str, int] = dict(price.rates)
    for tier in price.tiers:
        rates.update(tier.rates)
    return base, replace(base, rates=rates)


def with_requests(tokens: Usage, requests: int) -> Usage:
    """The tokens with their requests, for prices that have a fee for each."""
    return {**tokens, "requests": requests} if requests > 0 else dict(tokens)


def part_of(price: Price, usage: Usage, cost_nanousd: int) -> Part | None:
    """The part of a usage that was in the tier by what it cost; None where the cost is beyond both ends. Rounding of
    each exchange is no evidence."""
    low, high = (cost_pico(end, usage)[0] for end in ends_of(price))
    cost, slack = cost_nanousd * PICO_PER_NANO, (usage.get("requests", 0) + 1) * PICO_PER_NANO
    if abs(cost - low) <= slack:
        return NONE
    if abs(cost - high) <= slack:
        return ALL
    return (cost - low, high - low) if low < cost < high else None


def by_mean(price: Price, usage: Usage) -> Part:
    """All or nothing by the mean exchange; nothing where the exchanges were not counted."""
    requests = usage.get("requests", 0)
    if not price.tiers or not requests:
        return NONE
    return ALL if input_total(usage) > price.tiers[0].above_input_tokens * requests else NONE


def cost_at(price: Price, usage: Usage, part: Part) -> int:
    """Nano-USD of a usage of which this part is in the tier."""
    low, high = (cost_pico(end, usage)[0] for end in ends_of(price))
    numerator, denominator = part
    pico = low + (high - low) * numerator // denominator
    return (pico + PICO_PER_NANO // 2) // PICO_PER_NANO


def weights(price: Price, usage: Usage, cost_nanousd: int) -> Mapping[str, int]:
    """What each kind of a usage weighs in its cost, for sharing it out."""
    base, top = ends_of(price)
    low = {k: max(0, cost_pico(base, {k: n})[0]) for k, n in usage.items()}
    if base is top:
        return low
    high = {k: max(0, cost_pico(top, {k: n})[0]) for k, n in usage.items()}
    numerator, denominator = part_of(price, usage, cost_nanousd) or by_mean(price, usage)
    return {k: low[k] * (denominator - numerator) + high[k] * numerator for k in usage}
