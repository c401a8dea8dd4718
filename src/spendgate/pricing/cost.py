"""What a usage costs, exactly; and what a request may cost at most. Pure.

A kind without a rate of its own is priced by the rate that it derives from:

| kind | priced as | source |
|---|---|---|
| `cached_input` | `input` | no discount is assumed that a price list does not state |
| `cache_write_5m` | 1.25 x `input` | Anthropic's and OpenAI's price lists |
| `cache_write_1h`, any other `cache…` | 2 x `input` | Anthropic's price list |
| `tool_input`, unpriced `input_…` | `input` | they are tokens of the prompt |
| `reasoning…`, unpriced `output_…` | `output` | they are tokens of the answer |

What derives from nothing (a search of a model without a price for searches) takes the stand-in that the
caller gives, and `unpriced` names it. Sums are kept in 14,400ths of a pico-USD, so that 1.25 x and the second
of an hour's price stay exact; surcharge and discount multiply the sum; it is rounded once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from spendgate.pricing.price import NO_RATES, UNIT_OF, Price, rank_picousd
from spendgate.usage import Usage, input_total

__all__ = ["cost_nanousd", "cost_pico", "estimate_nanousd", "output_picousd", "rank_picousd", "unpriced"]

PARTS = 4 * 3600
"""Parts of a pico-USD in which sums are kept."""
PARTS_PER_NANO = 1000 * PARTS


def cost_nanousd(price: Price, usage: Usage, stand_ins: Mapping[str, int] = NO_RATES) -> int:
    """The cost of a usage in nano-USD, rounded half to even once. Kinds without any price cost their
    stand-in (pico-USD a unit), and nothing without one: ask `unpriced` for them."""
    parts, missing = _parts(price, usage)
    parts += sum(usage[kind] * (_rate(stand_ins, kind) or 0) for kind in missing)
    numerator, denominator = price.multiplier
    return _half_even(parts * numerator, PARTS_PER_NANO * denominator)


def cost_pico(price: Price, usage: Usage) -> tuple[int, frozenset[str]]:
    """The cost in pico-USD, half to even, and the kinds used that have no price at all (fees that the table
    does not know, output of a model without an output price): their cost is missing from the sum."""
    parts, missing = _parts(price, usage)
    numerator, denominator = price.multiplier
    return _half_even(parts * numerator, PARTS * denominator), missing


def unpriced(price: Price, usage: Usage) -> frozenset[str]:
    """The kinds used that have no price at all; `requests` only counts, unless a rate is given for it."""
    return _parts(price, usage)[1]


def estimate_nanousd(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    fee_kinds: Mapping[str, int] = NO_RATES,
    *,
    cache_write: bool = False,
    also: Collection[str] = (),
    stand_ins: Mapping[str, int] = NO_RATES,
) -> int:
    """The most that an exchange within these counts can cost, in nano-USD, rounded up.

    Every input token takes the dearest of the rates that can apply: plain and cached; cache writes where
    the request asks for them (`cache_write`) or the model writes its cache unasked (OpenAI from gpt-5.6 on);
    and the kinds in `also` (`input_audio`, `output_audio`, …). The dearest tier reachable counts.
    `fee_kinds` are the most calls of each fee; one without a price takes its stand-in.
    """
    reachable = _reachable(price, input_tokens)
    total = input_tokens * max(_input_rate(price, rates, cache_write, also) for rates in reachable)
    total += output_tokens * max(_output_rate(rates, also) for rates in reachable)
    for kind, n in fee_kinds.items():
        known = [rate for rates in reachable if (rate := _rate(rates, kind)) is not None]
        if known or kind != "requests":
            total += n * (max(known) if known else _rate(stand_ins, kind) or 0)
    numerator, denominator = price.multiplier
    return -(-total * numerator // (PARTS_PER_NANO * denominator))


def output_picousd(price: Price, input_tokens: int, also: Collection[str] = ()) -> int:
    """The most that one more output token can cost, in pico-USD, rounded up."""
    numerator, denominator = price.multiplier
    dearest = max(_output_rate(rates, also) for rates in _reachable(price, input_tokens))
    return -(-dearest * numerator // (PARTS * denominator))


def _parts(price: Price, usage: Usage) -> tuple[int, frozenset[str]]:
    rates = _rates(price, input_total(usage))
    total = 0
    missing = []
    for kind, n in usage.items():
        rate = _rate(rates, kind)
        if rate is not None:
            total += n * rate
        elif n and kind != "requests":
            missing.append(kind)
    return total, frozenset(missing)


def _rates(price: Price, input_tokens: int) -> Mapping[str, int]:
    """The rates that hold at this much input: those of every tier passed, over the base."""
    return _reachable(price, input_tokens)[-1]


def _reachable(price: Price, input_tokens: int) -> list[Mapping[str, int]]:
    """The rates of every tier that up to this much input can fall into, the base first."""
    reachable = [price.rates]
    for tier in price.tiers:
        if input_tokens > tier.above_input_tokens:
            reachable.append({**reachable[-1], **tier.rates})
    return reachable


def _input_rate(price: Price, rates: Mapping[str, int], cache_write: bool, also: Collection[str]) -> int:
    kinds = {"input", "cached_input", *(k for k in also if not _is_output(k))}
    if cache_write:
        kinds |= {"cache_write_5m", "cache_write_1h"}
    elif "cache_write_5m" in rates and "cache_write_1h" not in rates:
        kinds.add("cache_write_5m")
    return max(_rate(rates, k) or 0 for k in kinds)


def _output_rate(rates: Mapping[str, int], also: Collection[str]) -> int:
    kinds = {"output", "reasoning", *(k for k in also if _is_output(k))}
    return max(_rate(rates, k) or 0 for k in kinds)


def _is_output(kind: str) -> bool:
    return kind.startswith(("output", "reasoning"))


_DERIVED = {"cached_input": ("input", 4), "cache_write_5m": ("input", 5), "tool_input": ("input", 4)}
_BY_PREFIX = {
    "cache": ("input", 8),
    "input": ("input", 4),
    "output": ("output", 4),
    "reasoning": ("output", 4),
}


def _rate(rates: Mapping[str, int], kind: str) -> int | None:
    """The rate of a kind in parts of a pico-USD, or None where nothing prices it."""
    if kind in rates:
        return _own_rate(rates, kind)
    derived = _DERIVED.get(kind)
    if derived is None:
        derived = next((d for prefix, d in _BY_PREFIX.items() if kind.startswith(prefix)), None)
    if derived is None or derived[0] not in rates:
        return None
    return rates[derived[0]] * derived[1] * (PARTS // 4)


def _own_rate(rates: Mapping[str, int], kind: str) -> int:
    """The rate that stands for this very kind, in parts of a pico-USD; 0 where none does."""
    return rates.get(kind, 0) * PARTS // UNIT_OF.get(kind, 1)


def _half_even(amount: int, unit: int) -> int:
    quotient, rest = divmod(amount, unit)
    if 2 * rest > unit or (2 * rest == unit and quotient & 1):
        quotient += 1
    return quotient
