"""What a usage costs, exactly; and what a request may cost at most. Pure.

A kind without a rate of its own is priced by the rate that it derives from:

| kind | priced as | source |
|---|---|---|
| `cached_input` | `input` | no discount is assumed that a price list does not state |
| `cached_input_audio`, … | `input_audio`, … if that has a rate of its own, else `cached_input` | likewise |
| `cache_write_5m` | 1.25 x `input` | Anthropic's and OpenAI's price lists |
| `cache_write_12h` | `cache_write_5m` | OpenAI's price list has a price of its own for some models alone |
| `cache_write_1h`, any other `cache…` | 2 x `input` | Anthropic's price list |
| `tool_input`, unpriced `input_…` | `input` | they are tokens of the prompt |
| `reasoning…`, unpriced `output_…` | `output` | they are tokens of the answer |

What derives from nothing (a search of a model without a price for searches) takes the stand-in that the
caller gives, and `unpriced` names it. Sums are kept in 14,400ths of a pico-USD, so that 1.25 x and the second
of an hour's price stay exact; surcharge and discount multiply the sum; it is rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spendgate.pricing.price import NO_RATES, UNIT_OF, Price, rank_picousd
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS, Usage, input_total

__all__ = [
    "charge",
    "cost_nanousd",
    "cost_pico",
    "estimate_nanousd",
    "least_input_nanousd",
    "output_picousd",
    "plain_estimate",
    "rank_picousd",
]

PARTS = 4 * 3600
"""Parts of a pico-USD in which sums are kept."""
PARTS_PER_NANO = 1000 * PARTS
KINDS_MAX = 256
"""So many kinds are remembered; their names come from catalogues and from what providers answer."""


ONE_REQUEST: Mapping[str, int] = MappingProxyType({"requests": 1})
PLAIN = "plain"
"""What a price remembers the rates of plain requests under."""
ONLY_WHERE_PRICED = frozenset({"requests", "preview_searches"})
"""Kinds that only count where a list has no price of them."""


class Level(dict[str, int | None]):
    """The rates that hold from so much input on, by kind of usage, in parts of a pico-USD; None where nothing prices
    a kind. Each is worked out when it is first asked for."""

    def __init__(self, rates: Mapping[str, int]) -> None:
        super().__init__()
        self.rates = rates

    def __missing__(self, kind: str) -> int | None:
        rate = _rate(self.rates, kind)
        if len(self) < KINDS_MAX:
            self[kind] = rate
        return rate


def cost_nanousd(price: Price, usage: Usage, stand_ins: Mapping[str, int] = NO_RATES) -> int:
    """The cost of a usage in nano-USD, rounded half to even once. Kinds without any price cost their
    stand-in (pico-USD a unit), and nothing without one: `charge` names them."""
    return charge(price, usage, stand_ins)[0]


def charge(price: Price, usage: Usage, stand_ins: Mapping[str, int] = NO_RATES) -> tuple[int, frozenset[str]]:
    """As `cost_nanousd`, and the kinds that have no price at all; `requests` only counts, unless a rate is given
    for it."""
    parts, missing = _parts(price, usage)
    if missing:
        parts += sum(usage[kind] * (_rate(stand_ins, kind) or 0) for kind in missing)
    numerator, denominator = price.multiplier
    return _half_even(parts * numerator, PARTS_PER_NANO * denominator), missing


def cost_pico(price: Price, usage: Usage) -> tuple[int, frozenset[str]]:
    """The cost in pico-USD, half to even, and the kinds used that have no price at all (fees that the table
    does not know, output of a model without an output price): their cost is missing from the sum."""
    parts, missing = _parts(price, usage)
    numerator, denominator = price.multiplier
    return _half_even(parts * numerator, PARTS * denominator), missing


def estimate_nanousd(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    fee_kinds: Mapping[str, int] = NO_RATES,
    *,
    cache_writes: frozenset[str] = frozenset(),
    also: frozenset[str] = frozenset(),
    stand_ins: Mapping[str, int] = NO_RATES,
) -> int:
    """The most that an exchange within these counts can cost, in nano-USD, rounded up.

    Every input token takes the dearest of the rates that can apply: plain and cached; cache writes where
    the request asks for them (`cache_writes`) or the model writes its cache unasked (OpenAI from gpt-5.6 on);
    and the kinds in `also` (`input_audio`, `output_audio`, …). The dearest tier reachable counts.
    `fee_kinds` are the most calls of each fee; one without a price takes its stand-in.
    """
    reachable = _reachable(price, input_tokens)
    dear_input, dear_output = _dearest(price, reachable, cache_writes, also)
    total = input_tokens * dear_input + output_tokens * dear_output
    total += _fees(price, reachable, fee_kinds, stand_ins)
    numerator, denominator = price.multiplier
    return -(-total * numerator // (PARTS_PER_NANO * denominator))


def plain_estimate(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    cache_writes: frozenset[str] = frozenset(),
    also: frozenset[str] = frozenset(),
) -> tuple[int, int]:
    """`estimate_nanousd` of one request without further fees, and `output_picousd`: by rates worked out once."""
    reach = len(_reachable(price, input_tokens))
    known: tuple[int, int, int, int] | None = price.memo.get((PLAIN, reach, cache_writes, also))
    if known is None:
        known = _plain_rates(price, _levels(price)[:reach], cache_writes, also)
    dear_input, dear_output, request, per_token = known
    numerator, denominator = price.multiplier
    total = input_tokens * dear_input + output_tokens * dear_output + request
    return -(-total * numerator // (PARTS_PER_NANO * denominator)), per_token


def _plain_rates(
    price: Price, reachable: tuple[Level, ...], cache_writes: frozenset[str], also: frozenset[str]
) -> tuple[int, int, int, int]:
    """The dearest rates, what the request itself costs, and an output token in pico-USD."""
    dear_input, dear_output = _dearest(price, reachable, cache_writes, also)
    request = _fees(price, reachable, ONE_REQUEST, NO_RATES)
    known = dear_input, dear_output, request, _rounded_up(price, dear_output)
    if len(price.memo) < KINDS_MAX:
        price.memo[PLAIN, len(reachable), cache_writes, also] = known
    return known


def least_input_nanousd(price: Price, input_tokens: int) -> int:
    """The least that so many input tokens can cost, in nano-USD, rounded up: all of them from a cache, where that has
    a rate."""
    lowest = min(
        min(level["input"] or 0, level["cached_input"] or 0) for level in _reachable(price, input_tokens)
    )
    numerator, denominator = price.multiplier
    return -(-input_tokens * lowest * numerator // (PARTS_PER_NANO * denominator))


def output_picousd(price: Price, input_tokens: int, also: frozenset[str] = frozenset()) -> int:
    """The most that one more output token can cost, in pico-USD, rounded up."""
    _, dearest = _dearest(price, _reachable(price, input_tokens), frozenset(), also)
    return _rounded_up(price, dearest)


def _rounded_up(price: Price, rate: int) -> int:
    """A rate, in parts of a pico-USD, as it is billed: in pico-USD."""
    numerator, denominator = price.multiplier
    return -(-rate * numerator // (PARTS * denominator))


def _fees(
    price: Price, reachable: tuple[Level, ...], fee_kinds: Mapping[str, int], stand_ins: Mapping[str, int]
) -> int:
    """The most that so many calls of each fee can cost within these levels, in parts of a pico-USD."""
    if price.minimum:
        fee_kinds = _at_least(price, fee_kinds)
    total = 0
    for kind, n in fee_kinds.items():
        known = [rate for level in reachable if (rate := level[kind]) is not None]
        if known or kind not in ONLY_WHERE_PRICED:
            total += n * (max(known) if known else _rate(stand_ins, kind) or 0)
    return total


def _parts(price: Price, usage: Usage) -> tuple[int, frozenset[str]]:
    level = _reachable(price, input_total(usage))[-1]
    total = 0
    if price.minimum:
        usage = _at_least(price, usage)
    missing = []
    for kind, n in usage.items():
        rate = level[kind]
        if rate is not None:
            total += n * rate
        elif n and kind not in ONLY_WHERE_PRICED:
            missing.append(kind)
    if missing and _is_by_unit(price.rates, usage):
        missing = [kind for kind in missing if kind not in _TOKENS]
    return total, frozenset(missing)


def _is_by_unit(rates: Mapping[str, int], usage: Usage) -> bool:
    """Does a list without any price of tokens price a unit of this usage (seconds of sound, characters, images)? Then
    tokens that are told beside it are billed by nobody (Mistral's transcripts)."""
    return _TOKENS.isdisjoint(rates) and any(usage.get(unit) and unit in rates for unit in _UNITS)


_TOKENS = frozenset(INPUT_KINDS + OUTPUT_KINDS)
_UNITS = ("seconds", "characters", "images")


def _at_least(price: Price, usage: Mapping[str, int]) -> dict[str, int]:
    """A usage with what is billed at least of the kinds that it has."""
    return {kind: max(n, price.minimum.get(kind, 0)) if n else n for kind, n in usage.items()}


def _levels(price: Price) -> tuple[Level, ...]:
    """Those of the price without and with each context tier, ascending; a tier's rates are over the lower ones'."""
    known: tuple[Level, ...] | None = price.memo.get("levels")
    if known is None:
        made = [Level(price.rates)]
        for tier in price.tiers:
            made.append(Level({**made[-1].rates, **tier.rates}))
        known = price.memo["levels"] = tuple(made)
    return known


def _reachable(price: Price, input_tokens: int) -> tuple[Level, ...]:
    """The levels that up to this much input can fall into, the base first."""
    levels = _levels(price)
    if not price.tiers:
        return levels
    passed = sum(input_tokens > tier.above_input_tokens for tier in price.tiers)
    return levels[: 1 + passed]


def _dearest(
    price: Price, reachable: tuple[Level, ...], cache_writes: frozenset[str], also: frozenset[str]
) -> tuple[int, int]:
    """The dearest rates that a token of the input and of the output can take within these levels."""
    key = (len(reachable), cache_writes, also)
    known: tuple[int, int] | None = price.memo.get(key)
    if known is None:
        known = (
            max(_input_rate(level, cache_writes, also) for level in reachable),
            max(_output_rate(level, also) for level in reachable),
        )
        if len(price.memo) < KINDS_MAX:
            price.memo[key] = known
    return known


def _input_rate(level: Level, cache_writes: frozenset[str], also: frozenset[str]) -> int:
    kinds = {"input", "cached_input", *cache_writes, *(k for k in also if not _is_output(k))}
    kinds |= {f"cached_{k}" for k in also if k in ("input_audio", "input_image", "input_video")}
    if "cache_write_5m" in level.rates and "cache_write_1h" not in level.rates:
        kinds.add("cache_write_5m")
    return max(level[k] or 0 for k in kinds)


def _output_rate(level: Level, also: frozenset[str]) -> int:
    kinds = {"output", "reasoning", *(k for k in also if _is_output(k))}
    return max(level[k] or 0 for k in kinds)


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
    if kind.startswith("cached_input_"):  # what has no price of its own when fresh has none from a cache
        fresh = kind.removeprefix("cached_")
        return _rate(rates, fresh if fresh in rates else "cached_input")
    if kind == "cache_write_12h":
        return _rate(rates, "cache_write_5m")
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
