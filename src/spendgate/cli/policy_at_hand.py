"""The policy that a command reckons with: files given, those of a running `up`, or the controller's in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.cli.find_ledger import LedgerLocation
from spendgate.months import month_key, month_last_ms

if TYPE_CHECKING:
    from spendgate.ledger.redis.ledger import RedisLedger

TIMEOUT_S = 10.0


def policy_at_hand(found: LedgerLocation, paths: tuple[str, ...] = ()) -> Policy | None:
    """None where there is none. Raises ConfigurationError, LedgerUnavailable."""
    if paths or found.policy_paths:
        return load_policy(paths or found.policy_paths)
    return asyncio.run(_from_redis(found.redis_url))


async def _from_redis(url: str) -> Policy | None:
    from spendgate.ledger.redis import url as connect
    from spendgate.policy.store import PolicyStore, policy_of

    client = connect.client(url, TIMEOUT_S)
    try:
        snapshot = await PolicyStore(client).read()
    finally:
        await client.aclose()
    if snapshot is None:
        return None
    return policy_of(snapshot)


def limits_at_hand(found: LedgerLocation, month: str, now_ms: int) -> dict[str, int]:
    """What teams may spend in a month (`YYYYMM`), nano-USD: by its own budgets where it is over and they were written
    down, else by those in force, for teams that the policy names. Raises ConfigurationError, LedgerUnavailable."""
    from spendgate.policy.month_budgets import limits_of

    if month < month_key(now_ms):
        own = asyncio.run(_own(found.redis_url, month))
        if own is not None:
            return limits_of(own, month)
    policy = policy_at_hand(found)
    budgets = {} if policy is None else {t: policy.budget(t) for t in policy.teams}
    at_ms = min(now_ms, month_last_ms(month))
    return {t: b.limit_nanousd(at_ms) for t, b in budgets.items() if b is not None}


async def _own(redis_url: str, month: str) -> dict[str, TeamBudget] | None:
    from spendgate.cli.ledger import with_ledger
    from spendgate.policy.month_budgets import budgets_of

    async def read(ledger: RedisLedger) -> dict[str, TeamBudget] | None:
        return await budgets_of(ledger.calls.redis, await ledger.teams(), month)

    return await with_ledger(redis_url, read, TIMEOUT_S)
