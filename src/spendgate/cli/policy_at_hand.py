"""The policy that a command reckons with: files given, those of a running `up`, or the controller's in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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
    """What teams may spend in a month (`YYYYMM`), nano-USD, with what was carried over: by its own budgets where it is
    over and they were written down, else by those in force, for teams that the policy names. Raises
    ConfigurationError, LedgerUnavailable."""
    from spendgate.cli.ledger import with_ledger
    from spendgate.policy.month_budgets import budgets_of
    from spendgate.views.carries import limits_at

    async def own(ledger: RedisLedger) -> dict[str, TeamBudget] | None:
        return await budgets_of(ledger.calls.redis, await ledger.teams(), month)

    budgets: Mapping[str, TeamBudget] | None = None
    if month < month_key(now_ms):
        budgets = asyncio.run(with_ledger(found.redis_url, own, TIMEOUT_S))
    if budgets is None:
        budgets = (policy_at_hand(found) or Policy()).budgets
    at_ms = min(now_ms, month_last_ms(month))
    return asyncio.run(
        with_ledger(found.redis_url, lambda ledger: limits_at(ledger, budgets, at_ms), TIMEOUT_S)
    )
