"""One real Redis; ledgers on it that start empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis as sync_redis

from spendgate.ledger.embedded import EmbeddedRedis
from spendgate.ledger.redis_ledger import RedisLedger


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def ledger(server: EmbeddedRedis) -> AsyncIterator[RedisLedger]:
    client = sync_redis.Redis.from_url(server.url)
    client.flushall()
    client.close()
    made = RedisLedger.from_url(server.url, timeout_s=5.0)
    yield made
    await made.close()
