"""The policy that a command reckons with: files given, those of a running `up`, or the controller's in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy
from spendgate.cli.find_ledger import LedgerLocation
from spendgate.months import month_key, month_last_ms

if TYPE_CHECKING:
    from spendgate.ledger.redis.ledger import RedisLedger
    from spendgate.views.past import Limits

TIMEOUT_S = 10.0


def policy_at_hand(found: LedgerLocation, paths: tuple[str, ...] = ()) -> Policy | None:
    """None where there is none. Raises ConfigurationError, LedgerUnavailable."""
    if paths or found.policy_paths:
        return load_policy(paths or found.policy_paths)
    from spendgate.cli.ledger import with_ledger

    return asyncio.run(with_ledger(found.redis_url, _from_redis, TIMEOUT_S))


async def _from_redis(ledger: RedisLedger) -> Policy | None:
    from spendgate.policy.store import PolicyStore, policy_of

    snapshot = await PolicyStore(ledger.calls.redis).read()
    return None if snapshot is None else policy_of(snapshot)


def limits_at_hand(found: LedgerLocation, month: str, now_ms: int) -> Limits:
    """What teams and groups may spend in a month (`YYYYMM`), with what was carried over: by its own budgets where it is
    over and they were written down, else by those in force. Raises ConfigurationError, LedgerUnavailable."""
    from spendgate.cli.ledger import with_ledger
    from spendgate.views.past import limits_in_force, own_limits

    async def own(ledger: RedisLedger) -> Limits | None:
        return await own_limits(ledger, await ledger.teams(), month)

    async def in_force(ledger: RedisLedger) -> Limits:
        return await limits_in_force(ledger, policy, await ledger.teams(), min(now_ms, month_last_ms(month)))

    limits = asyncio.run(with_ledger(found.redis_url, own, TIMEOUT_S)) if month < month_key(now_ms) else None
    if limits is None:
        policy = policy_at_hand(found) or Policy()
        limits = asyncio.run(with_ledger(found.redis_url, in_force, TIMEOUT_S))
    return limits
