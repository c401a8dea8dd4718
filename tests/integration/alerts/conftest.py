from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio as aioredis
from support.alert_desk import Desk
from support.fake_slack import FakeSlack

from spendgate.alerts.watcher import AlertLoop
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger


@pytest.fixture
async def client(server: EmbeddedRedis) -> AsyncIterator[aioredis.Redis]:
    made = aioredis.Redis.from_url(server.url)
    await made.flushall()
    yield made
    await made.aclose()


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as running:
        yield running


@pytest.fixture
async def desk(server: EmbeddedRedis, client: aioredis.Redis, slack: FakeSlack) -> AsyncIterator[Desk]:
    ledger = RedisLedger.from_url(server.url, timeout_s=10.0)
    yield Desk(client, ledger, slack)
    await ledger.close()


Make = Callable[..., AlertLoop]
