"""A real Redis for all, and a ledger on it that starts empty. (tests/integration/ledger tries each Redis there is.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis as sync_redis

from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis_client(server: EmbeddedRedis) -> Iterator[sync_redis.Redis]:
    with sync_redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def ledger(server: EmbeddedRedis, redis_client: sync_redis.Redis) -> AsyncIterator[RedisLedger]:
    made = RedisLedger.from_url(server.url, timeout_s=5.0)
    yield made
    await made.close()
