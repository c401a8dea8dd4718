"""Money spent without a gateway: settlements straight into the ledger."""

from __future__ import annotations

import asyncio
import uuid

from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import usd_to_nano


def spend(
    redis_url: str, team: str, usd: float, app: str = "app", model: str = "gpt-4o", at_ms: int = 0
) -> None:
    """Settle one exchange of `usd` now, or as one that was reserved at `at_ms`."""

    async def run() -> None:
        ledger = RedisLedger.from_url(redis_url, timeout_s=5.0)
        try:
            await ledger.settle(
                [
                    Settlement(
                        uuid.uuid4().hex,
                        team,
                        app,
                        model,
                        usd_to_nano(usd),
                        at_ms=at_ms,
                        scopes=(("month", "month"),),
                    )
                ]
            )
        finally:
            await ledger.close()

    asyncio.run(run())
