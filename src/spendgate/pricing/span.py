"""Between which moments something that depends on the time stays what it is at one: from the first on, and no longer at
the second. What is kept is kept so long. Pure; milliseconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable

from spendgate.pricing.price import ALWAYS
from spendgate.pricing.table import PriceMatch

FOREVER = 1 << 62
MINUTE_MS = 60_000


def between(changes: Iterable[int], at_ms: int) -> tuple[int, int]:
    """The last change up to a moment, and the first after it."""
    since, until = ALWAYS, FOREVER
    for ms in changes:
        if ms <= at_ms:
            since = max(since, ms)
        else:
            until = min(until, ms)
    return since, until


def minute(at_ms: int) -> tuple[int, int]:
    """The minute that a moment lies in: nothing that follows a calendar or a clock changes within one."""
    start = at_ms - at_ms % MINUTE_MS
    return start, start + MINUTE_MS


def price_span(found: PriceMatch, at_ms: int) -> tuple[int, int]:
    """How long the standard price of a model is what it is at a moment."""
    changes = [p.since_ms for p in found.entry.periods[1:]]  # the first holds for all time before, too
    for discount in found.discounts:
        changes += [ms for ms in (discount.since_ms, discount.until_ms) if ms is not None]
    if found.entry.hours:
        changes += minute(at_ms)
    return between(changes, at_ms)
