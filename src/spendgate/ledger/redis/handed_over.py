"""Words that one gateway leaves for another in Redis, for seconds: no money, no history."""

from __future__ import annotations

from typing import Any, cast

from spendgate.ledger.redis.calls import RedisCalls
from spendgate.ledger.redis.codec import PREFIX, text


class Words:
    """By name. Raises LedgerUnavailable where Redis is away."""

    def __init__(self, calls: RedisCalls) -> None:
        self._calls = calls

    async def leave(self, name: str, word: str, ttl_ms: int) -> None:
        """Keep a word for so long."""
        redis = cast(Any, self._calls.redis)
        await self._calls.bulk("leave word", lambda: redis.set(f"{PREFIX}word:{name}", word, px=ttl_ms))

    async def find(self, name: str) -> str:
        """The word of this name, "" where there is none."""
        redis = cast(Any, self._calls.redis)
        return text(await self._calls.guard("word", lambda: redis.get(f"{PREFIX}word:{name}")) or b"")
