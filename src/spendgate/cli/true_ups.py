"""Making true-ups and backfills: which month each is booked in, and whether a counter moves by it."""

from __future__ import annotations

import time
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spendgate.errors import LedgerError
from spendgate.months import month_key

if TYPE_CHECKING:
    from spendgate.budget.policy import Policy
    from spendgate.finops.reconciliation.true_up import TrueUp
    from spendgate.ledger.accounts import Adjusted
    from spendgate.ledger.redis.ledger import RedisLedger


async def read_audit(ledger: RedisLedger, teams: Sequence[str]) -> list[Adjusted]:
    """All adjustments of teams. Raises LedgerUnavailable."""
    return [made for team in teams for made in await ledger.adjustments(team)]


async def make(
    ledger: RedisLedger,
    planned: list[TrueUp],
    policy: Policy | None,
    by: str,
    what: str,
    *,
    enforce: bool = False,
) -> None:
    """Make adjustments one by one: each in the month that its id names. No gateway enforces a month that is over; the
    running one is not moved unless `enforce` is given, and what falls there, or into a closed month, is an accounting
    entry beside the counters. Raises LedgerError for the first that cannot be made."""
    from spendgate.budget.limits import month_scopes
    from spendgate.ledger.redis.closing import look_at_month

    running = month_key(time.time_ns() // 1_000_000)
    closed: dict[tuple[str, str], bool] = {}
    for t in planned:
        month, day = _booked(t.adjustment_id, running)
        where = (t.team, month)
        if where not in closed:
            closed[where] = (await look_at_month(ledger, [t.team], month))[0].is_closed
        budget = policy.budget(t.team) if policy else None
        moves = not t.beside and not closed[where] and (month < running or enforce)
        scopes = month_scopes(budget, t.app, t.model) if moves else ()
        groups = tuple(g.team for g in policy.groups_of(t.team)) if policy else ()
        (result,) = await ledger.adjust([replace(t.adjustment(by, scopes, day), groups=groups)])
        if result.outcome == "floor":  # the month has less than is taken back: it can only be an entry
            (result,) = await ledger.adjust([t.adjustment(by, (), day)])
        if result.outcome not in ("adjusted", "replayed"):
            raise LedgerError(
                f"{what} of team {t.team}, app {t.app}, model {t.model}: {result.outcome} ({result.detail}). What was "
                "made before stands; run it again, or adjust by hand"
            )


def _booked(adjustment_id: str, running: str) -> tuple[str, str]:
    """The month and the day of an adjustment by its id (`invoice/openai/202610/…`, `backfill/202610/20261003/…`): its
    own day or the last of its month; "", today, in the running one."""
    parts = adjustment_id.split("/")
    month = parts[1] if len(parts) == 4 and len(parts[2]) == 8 else parts[2]
    if month >= running:
        return running, ""
    named = parts[2] if len(parts[2]) == 8 else ""
    return month, named or f"{month}{monthrange(int(month[:4]), int(month[4:]))[1]:02d}"
