"""The policy that a command reckons with: files given, those of a running `up`, or the controller's in Redis."""

from __future__ import annotations

import asyncio

from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy
from spendgate.cli.find_ledger import LedgerLocation

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
