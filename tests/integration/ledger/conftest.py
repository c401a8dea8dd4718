from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis as sync_redis
from support.redis import executables

from spendgate.ledger.embedded import EmbeddedRedis
from spendgate.ledger.redis_ledger import RedisLedger


@pytest.fixture(scope="session", params=executables().items(), ids=lambda p: p[0])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), executable=request.param[1]) as running:
        yield running


@pytest.fixture
def redis_client(server: EmbeddedRedis) -> Iterator[sync_redis.Redis]:
    client = sync_redis.Redis.from_url(server.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def ledger(server: EmbeddedRedis, redis_client: sync_redis.Redis) -> AsyncIterator[RedisLedger]:
    made = RedisLedger.from_url(server.url, timeout_s=5.0)
    yield made
    await made.close()
