"""The last refusals of a team, as people ask for them."""

from __future__ import annotations

import redis as sync_redis
from support.asks import T0

from spendgate.ledger.accounts import RefusedRequest
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.redis.recent_rejections import REFUSALS_MAX, refusals_key


def refused(n: int, team: str = "red", **more: str) -> RefusedRequest:
    return RefusedRequest(team, T0 + n, "chat", "gpt-4o", "monthly_budget_exceeded", f"x{n}", **more)


async def test_the_newest_refusals_of_each_team_are_kept_and_no_more_than_fifty(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.note_refusals([refused(n) for n in range(30)] + [refused(99, "blue", user="kim", run="r1")])
    await ledger.note_refusals([refused(n) for n in range(30, 130)])

    red = await ledger.refusals("red")
    assert [r.exchange_id for r in red] == [f"x{n}" for n in range(129, 129 - REFUSALS_MAX, -1)]
    assert await ledger.refusals("blue") == [refused(99, "blue", user="kim", run="r1")]
    assert await ledger.refusals("nobody") == []
    assert redis_client.ttl(refusals_key("red")) > 30 * 86_400


async def test_an_entry_that_can_not_be_read_hides_no_other(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await ledger.note_refusals([refused(1)])
    redis_client.lpush(refusals_key("red"), b"half a line", b'{"team": "red"}', b"[]")
    await ledger.note_refusals([refused(2)])
    assert [r.exchange_id for r in await ledger.refusals("red")] == ["x2", "x1"]


async def test_names_from_clients_are_cleaned_as_everywhere_in_the_ledger(ledger: RedisLedger) -> None:
    await ledger.note_refusals([refused(1, user="a\x1fb\ud800")])
    (kept,) = await ledger.refusals("red")
    assert kept.user == "a?b?"
