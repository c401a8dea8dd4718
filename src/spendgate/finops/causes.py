"""Why one model's day differs from its invoice: the causes, and how they are told apart. Pure; nano-USD.

The order is that of `reconcile`'s docstring; what one cause explains is gone for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from spendgate.money import NANO_PER_USD
from spendgate.pricing.cost import cost_pico
from spendgate.pricing.table import Price
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS

TIME_ZONE = "time zone edge"
BYPASS = "bypassed the gateway"
ESTIMATES = "settled at estimates"
ABORTED = "aborted streams"
CACHE = "cache semantics"
MISSING = "not on the invoice"
ROUNDING = "rounding"
PRICE = "price changed"
UNEXPLAINED = "unexplained"
CAUSES = (TIME_ZONE, BYPASS, ESTIMATES, ABORTED, CACHE, MISSING, ROUNDING, PRICE, UNEXPLAINED)
FOLDED = {"reasoning": "output", "tool_input": "input"}
"""Kinds that providers bill within another."""


@dataclass(slots=True)
class Day:
    """One model's day on one side. `cost_nanousd` of the invoice; `estimated_nanousd` is the part of a metered
    cost that was settled at an estimate, without tokens; `lines` how many amounts the invoice adds up."""

    cost_nanousd: int = 0
    requests: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    estimated_nanousd: int = 0
    lines: int = 0

    @property
    def is_empty(self) -> bool:
        """Is there nothing at all?"""
        return not (self.cost_nanousd or self.requests or any(self.tokens.values()))

    def side(self, kinds: Sequence[str]) -> int:
        """The tokens of one side."""
        return sum(self.tokens.get(k, 0) for k in kinds)


def causes_of(
    mine: Day,
    billed: Day,
    price: Price,
    has_tokens: bool,
    counts_requests: bool,
    uniform: bool,
    quantum: Decimal,
) -> dict[str, int]:
    """Take one day apart. The amounts add up to its difference."""
    rest = billed.cost_nanousd - mine.cost_nanousd
    if mine.is_empty:
        return {BYPASS: rest}
    if billed.is_empty:
        return {MISSING: rest}
    out: dict[str, int] = {}

    def take(cause: str, nano: int) -> None:
        nonlocal rest
        out[cause] = out.get(cause, 0) + nano
        rest -= nano

    more = billed.requests - mine.requests if counts_requests else None
    if has_tokens:
        for cause, nano in _of_tokens(mine, billed, price, more):
            take(cause, nano)
    elif more and more > 0 and billed.requests:
        take(BYPASS, billed.cost_nanousd * more // billed.requests)
    if abs(rest) <= _slack(mine, billed, quantum):
        take(ROUNDING, rest)
    elif has_tokens or uniform:
        take(PRICE, rest)
    else:
        take(UNEXPLAINED, rest)
    return {cause: nano for cause, nano in out.items() if nano}


def _slack(mine: Day, billed: Day, quantum: Decimal) -> int:
    """Half of the last digit for each amount that was rounded, ours to half a nano-dollar each."""
    printed = int(quantum * NANO_PER_USD * max(1, billed.lines) / 2)
    return printed + mine.requests // 2 + 1


def _of_tokens(mine: Day, billed: Day, price: Price, more: int | None) -> list[tuple[str, int]]:
    """What other tokens than the metered ones cost, by cause."""
    kinds = {*mine.tokens, *billed.tokens}
    extra = {k: billed.tokens.get(k, 0) - mine.tokens.get(k, 0) for k in kinds}
    worth = {k: n * cost_pico(price, {k: 1000})[0] // 1_000_000 for k, n in extra.items() if n}
    side_in = billed.side(INPUT_KINDS) - mine.side(INPUT_KINDS)
    side_out = billed.side(OUTPUT_KINDS) - mine.side(OUTPUT_KINDS)
    value_in = sum(n for k, n in worth.items() if k in INPUT_KINDS)
    value_out = sum(n for k, n in worth.items() if k in OUTPUT_KINDS)
    others = sum(worth.values()) - value_in - value_out
    estimated = mine.estimated_nanousd
    if not estimated and more is not None and more <= 0 and side_in > 0 and side_out > 0:
        known = sum(n * cost_pico(price, {k: 1000})[0] // 1_000_000 for k, n in mine.tokens.items())
        estimated = max(0, mine.cost_nanousd - known)  # they stand in one cell with metered exchanges
    if estimated and (more is None or more <= 0):
        return [(ESTIMATES, sum(worth.values()) - estimated)]
    passed = more > 0 if more is not None else side_in > 0 and side_out > 0
    if passed:
        return [(BYPASS, sum(worth.values()))]
    fewer = more < 0 if more is not None else side_in < 0 and side_out < 0
    if fewer:
        return [(MISSING, sum(worth.values()))]
    out = [(ABORTED, value_out)]
    if abs(side_in) * 100 <= mine.side(INPUT_KINDS):
        out.append((CACHE, value_in))
    else:  # the same requests with other input: clients that left before it was told
        out.append((ABORTED, value_in))
    out.append((BYPASS if others > 0 else MISSING, others))
    return [(cause, nano) for cause, nano in out if nano]
