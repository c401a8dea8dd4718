"""What a month comes to where something was carried over: 100 % is the budget, what is added to it, and the rest of
last month. Pure; nano-USD.

A decision takes the bounds as the policy has them: the ledger raises those by itself, in the script that holds.
"""

from __future__ import annotations

from dataclasses import replace

from spendgate.budget.policy import Raise, TeamBudget
from spendgate.months import next_month_start


def carried_nanousd(budget: TeamBudget, last_settled_nanousd: int | None) -> int:
    """What last month left to this one. None: the ledger has no such month, and nothing is left of it."""
    carry = budget.carry()
    return 0 if carry is None else carry.amount_nanousd(last_settled_nanousd)


def with_carry(budget: TeamBudget, carried: int, now_ms: int) -> TeamBudget:
    """The budget as people read it: what was carried over (nano-USD) stands in it as an increase until the month's
    end, so that its limit, its bound, its thresholds and its phase are those that are enforced. Not for decisions."""
    if not carried:
        return budget
    until_ms = int(next_month_start(now_ms).timestamp() * 1000)
    return replace(budget, raises=(*budget.raises, Raise(carried, until_ms)), rollover_percent=None)
