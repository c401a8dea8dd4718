from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.redis import executables

from spendgate.ledger.redis.embedded import EmbeddedRedis


@pytest.fixture(scope="session", params=executables().items(), ids=lambda p: p[0])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), executable=request.param[1]) as running:
        yield running
