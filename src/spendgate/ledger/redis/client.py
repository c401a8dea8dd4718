"""Redis for the parts that keep something of their own in it, beside the ledger's scripts: alerts, the policy, the
reports of gateways. Whoever is not in this package names the client, what its calls raise and how they are bounded from
here, so that redis-py is known in one place.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Any, TypeVar

import redis.asyncio as aioredis
from redis.exceptions import NoScriptError, RedisError

from spendgate.errors import LedgerUnavailable
from spendgate.tasks import in_task

Client = aioredis.Redis
UNREACHABLE = (RedisError, OSError, TimeoutError)
"""What a call raises where Redis is away, refuses, or is too slow."""
CALL_S = 10.0
_T = TypeVar("_T")


async def answered(what: str, call: Awaitable[_T], timeout_s: float = CALL_S) -> _T:
    """Await a call within `timeout_s` (seconds); `what` names it. Raises LedgerUnavailable."""
    await in_task()
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except UNREACHABLE as e:
        raise LedgerUnavailable(f"{what}: Redis did not answer: {type(e).__name__}: {e}") from e


class LoadedScript:
    """A Lua script that is sent once, and named by its digest after that; sent again where a new server lost it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Client, key: str, *args: Any) -> Any:
        """Run it on one key. Raises what redis-py raises."""
        try:
            return await client.evalsha(self.sha, 1, key, *args)
        except NoScriptError:
            return await client.eval(self.text, 1, key, *args)
