"""The teams' months for the status: the two counters that decide, nothing else, many teams a round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from spendgate.controller.status import Numbers
from spendgate.errors import LedgerUnavailable
from spendgate.ledger.redis.codec import team_prefix

TEAMS_PER_TRIP = 500


async def read_numbers(redis: aioredis.Redis, teams: Sequence[str], month: str) -> dict[str, Numbers]:
    """Settled and reserved of every team in a month (`YYYYMM`). Raises LedgerUnavailable."""
    out: dict[str, Numbers] = {}
    try:
        for start in range(0, len(teams), TEAMS_PER_TRIP):
            some = teams[start : start + TEAMS_PER_TRIP]
            pipe = redis.pipeline(transaction=False)
            for team in some:
                pipe.hmget(f"{team_prefix(team)}b:month:{month}", "s", "r")
            replies: list[Any] = await pipe.execute()
            for team, (settled, reserved) in zip(some, replies, strict=True):
                out[team] = Numbers(int(settled or 0), int(reserved or 0))
    except (RedisError, OSError, TimeoutError) as e:
        raise LedgerUnavailable(f"spend: Redis did not answer: {type(e).__name__}: {e}") from e
    return out
