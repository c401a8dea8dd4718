"""Why one model's day differs from its invoice: the causes, and how they are told apart. Pure; nano-USD.

The order is that of `reconcile`'s docstring; what one cause explains is gone for the next. A day whose money agrees has
none, whatever its tokens say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from decimal import Decimal

from spendgate.finops.invoice import line
from spendgate.money import NANO_PER_USD
from spendgate.pricing.cost import cost_pico
from spendgate.pricing.table import Price
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS
from spendgate.values import dataclass

TIME_ZONE = "time zone edge"
BYPASS = "bypassed the gateway"
ESTIMATES = "settled at estimates"
TWICE = "billed twice"
CACHED_TWICE = "cached input billed twice"
ABORTED = "aborted streams"
CACHE = "cache semantics"
MISSING = "not on the invoice"
ROUNDING = "rounding"
PRICE = "price changed"
FEES = "tools and fees"
COMMITMENTS = "commitments"
CREDITS = "credits"
REFUNDS = "refunds and adjustments"
TAXES = "taxes"
UNKNOWN = "not understood"
UNEXPLAINED = "unexplained"
CAUSES = (
    TIME_ZONE, BYPASS, ESTIMATES, TWICE, CACHED_TWICE, ABORTED, CACHE, MISSING, ROUNDING, PRICE, FEES, COMMITMENTS,
    CREDITS, REFUNDS, TAXES, UNKNOWN, UNEXPLAINED,
)  # fmt: skip
OF_CHARGE = {
    line.FEE: FEES, line.COMMITMENT: COMMITMENTS, line.CREDIT: CREDITS, line.REFUND: REFUNDS, line.TAX: TAXES,
    line.UNKNOWN: UNKNOWN,
}  # fmt: skip
"""The cause of a line that is no model's usage."""
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


def causes_of(
    mine: Day,
    billed: Day,
    price: Price,
    kinds: Collection[str],
    counts_requests: bool,
    uniform: bool,
    quantum: Decimal,
) -> dict[str, int]:
    """Take one day apart; `kinds` are those that the invoice counts tokens by. The amounts add up to the day's
    difference."""
    rest = billed.cost_nanousd - mine.cost_nanousd
    if mine.is_empty:
        return {BYPASS: rest} if rest else {}
    is_rounded = abs(rest) <= slack(mine, billed, quantum)
    if billed.is_empty and not (billed.lines and is_rounded):  # a line that is printed as 0.00 is there
        return {MISSING: rest} if rest else {}
    if is_rounded:
        return {ROUNDING: rest} if rest else {}
    out: dict[str, int] = {}

    def take(cause: str, nano: int) -> None:
        nonlocal rest
        out[cause] = out.get(cause, 0) + nano
        rest -= nano

    more = billed.requests - mine.requests if counts_requests else None
    has_tokens = any(billed.tokens.values())
    if has_tokens:
        counted = _as_counted(mine, kinds)
        if _is_twice(counted, billed):
            take(TWICE, rest)
        for cause, nano in _of_tokens(mine, counted, billed.tokens, price, more) if rest else ():
            take(cause, nano)
    elif more and more > 0 and billed.requests:
        take(BYPASS, billed.cost_nanousd * more // billed.requests)
    if abs(rest) <= slack(mine, billed, quantum):
        take(ROUNDING, rest)
    elif (has_tokens and UNEXPLAINED not in out) or uniform:
        take(PRICE, rest)
    else:
        take(UNEXPLAINED, rest)
    return {cause: nano for cause, nano in out.items() if nano}


def slack(mine: Day, billed: Day, quantum: Decimal) -> int:
    """Half of the last digit for each amount that was rounded, ours to half a nano-dollar each."""
    printed = int(quantum * NANO_PER_USD * max(1, billed.lines) / 2)
    return printed + mine.requests // 2 + 1


def _as_counted(mine: Day, kinds: Collection[str]) -> dict[str, int]:
    """Our tokens by the kinds that the invoice counts: what it has no kind for stands in its side's plain one, and fees
    that it does not count are left out."""
    out: dict[str, int] = {}
    for kind, n in mine.tokens.items():
        name = kind
        if kind not in kinds:
            if kind in INPUT_KINDS:
                name = "input"
            elif kind in OUTPUT_KINDS:
                name = "output"
            else:
                continue
        out[name] = out.get(name, 0) + n
    return out


def _is_twice(counted: Mapping[str, int], billed: Day) -> bool:
    """Is every kind billed at just double the tokens?"""
    some = [(n, billed.tokens.get(kind, 0)) for kind, n in counted.items() if n]
    return len(some) > 1 and all(_close(theirs, 2 * ours, 1000) for ours, theirs in some)


def _close(a: int, b: int, of: int = 100) -> bool:
    """Are two counts equal to one part in so many?"""
    return abs(a - b) * of <= max(abs(a), abs(b))


def _side(tokens: Mapping[str, int], kinds: Sequence[str]) -> int:
    return sum(tokens.get(k, 0) for k in kinds)


def _of_tokens(
    mine: Day, counted: Mapping[str, int], billed: Mapping[str, int], price: Price, more: int | None
) -> list[tuple[str, int]]:
    """What other tokens than the metered ones cost, by cause."""
    extra = {k: billed.get(k, 0) - counted.get(k, 0) for k in {*counted, *billed}}
    worth = {k: n * cost_pico(price, {k: 1000})[0] // 1_000_000 for k, n in extra.items() if n}
    side_in = _side(extra, INPUT_KINDS)
    side_out = _side(extra, OUTPUT_KINDS)
    value_in = sum(n for k, n in worth.items() if k in INPUT_KINDS)
    value_out = sum(n for k, n in worth.items() if k in OUTPUT_KINDS)
    others = sum(worth.values()) - value_in - value_out
    estimated = mine.estimated_nanousd
    if not estimated and more is not None and more <= 0 and side_in > 0 and side_out > 0:
        known = sum(n * cost_pico(price, {k: 1000})[0] // 1_000_000 for k, n in mine.tokens.items())
        estimated = max(0, mine.cost_nanousd - known)  # they stand in one cell with metered exchanges
    if estimated and (more is None or more <= 0):
        return [(ESTIMATES, sum(worth.values()) - estimated)]
    cached = counted.get("cached_input", 0)
    same_out = abs(side_out) * 100 <= max(_side(counted, OUTPUT_KINDS), 1)
    if (
        cached
        and same_out
        and _close(extra.get("input", 0), cached, 50)
        and _close(billed.get("cached_input", 0), cached)
    ):
        return [(CACHED_TWICE, value_in), (ABORTED, value_out)]
    passed = more > 0 if more is not None else side_in > 0 and side_out > 0
    if passed:
        return [(BYPASS, sum(worth.values()))]
    fewer = more < 0 if more is not None else side_in < 0 and side_out < 0
    if fewer:
        return [(MISSING, sum(worth.values()))]
    same_in = abs(side_in) * 100 <= _side(counted, INPUT_KINDS)
    out = [(ABORTED, value_out), (CACHE if same_in else UNEXPLAINED, value_in)]
    out.append((BYPASS if others > 0 else MISSING, others))
    return [(cause, nano) for cause, nano in out if nano]
