"""Scripts settle usage logs by two names that stay: those of docs/reference/ledger.md, "From Python"."""

from __future__ import annotations

from pathlib import Path

import redis as sync_redis
from support.usage_lines import record, write_log

from spendgate.budget.policy import Policy
from spendgate.finops.replay import settlements
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis_ledger import RedisLedger


async def test_a_usage_log_is_settled_as_a_gateway_would_have_by_the_names_that_stay(
    server: EmbeddedRedis, redis_client: sync_redis.Redis, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "usage.jsonl", [record(n) for n in range(3)])
    ledger = RedisLedger.from_url(server.url, timeout_s=20.0)
    assert await ledger.settle(list(settlements((log,), Policy(), 0))) == ["settled"] * 3
    assert (await ledger.month("red", "202611")).settled_nanousd == 3 * 3_500_000
    await ledger.close()
