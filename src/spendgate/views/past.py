"""A month that is over, with what it is judged by: its own budgets where those are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spendgate.ledger.accounts import TeamMonth
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_last_ms
from spendgate.policy.month_budgets import budgets_of
from spendgate.views.carries import limits_at


@dataclass(frozen=True, slots=True)
class PastMonth:
    """Teams' months, and their budgets at the month's end, with what was carried over (nano-USD by team). `own`: are
    they the month's own?"""

    months: tuple[TeamMonth, ...]
    limits: Mapping[str, int]
    own: bool


async def past_month(ledger: RedisLedger, month: str, instead: Mapping[str, int]) -> PastMonth:
    """Read a month (`YYYYMM`) that is over: teams that had a budget in it, or spent. `instead` are the budgets where
    nothing is known of its own; then every team is there. Raises LedgerUnavailable."""
    teams = await ledger.teams()
    own = await budgets_of(ledger.calls.redis, teams, month)
    limits = dict(instead) if own is None else await limits_at(ledger, own, month_last_ms(month))
    months = await ledger.months(sorted({*teams, *limits}), month)
    if own is not None:
        months = [m for m in months if m.team in limits or m.cells or m.committed_nanousd]
    return PastMonth(tuple(months), limits, own is not None)
