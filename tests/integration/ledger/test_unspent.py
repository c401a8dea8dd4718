"""A hold stands in the counters of every model that may answer; what is spent, only in those of the one that did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.asks import T0, ask, bound, candidate, end, void

from spendgate.budget.bounds import UNLIMITED
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.spool.spool import Spool

CHEAP, DEAR, MONTH = "model:gpt-*", "model:claude-opus*", "month"
SCOPES = ((MONTH, MONTH), (CHEAP, MONTH), (DEAR, MONTH))
HELD, COST = 500, 70
END = replace(end("x1", COST, scopes=((MONTH, MONTH), (CHEAP, MONTH))), unspent=(DEAR,))


async def committed(ledger: RedisLedger, *scopes: str) -> list[int]:
    """What each counter has, by what a hold of nothing is refused with."""
    found = []
    for scope in scopes:
        full = ask(f"probe {scope}", candidate(0, bound(0, scope=scope)))
        result = await ledger.reserve(full, T0 + 100)
        found.append(result.refusals[0].committed_nanousd)
    return found


async def hold(ledger: RedisLedger, ttl_ms: int = 60_000) -> None:
    bounds = (bound(UNLIMITED, scope=s) for s, _ in SCOPES)
    await ledger.reserve(ask("x1", candidate(HELD, *bounds), ttl_ms=ttl_ms), T0)


async def test_the_cost_is_counted_where_it_was_spent(ledger: RedisLedger) -> None:
    await hold(ledger)
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [HELD, HELD, HELD]
    assert await ledger.settle([END], T0) == ["settled"]
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [COST, COST, 0]
    assert await ledger.settle([END], T0) == ["replayed"]
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [COST, COST, 0]


async def test_so_it_is_where_the_hold_had_expired_or_was_lost(ledger: RedisLedger) -> None:
    await hold(ledger, ttl_ms=10)
    await ledger.expire("red", T0 + 20)
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [HELD, HELD, HELD]
    assert await ledger.settle([END], T0 + 30) == ["corrected"]
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [COST, COST, 0]
    assert await ledger.settle([replace(END, exchange_id="never held")], T0) == ["settled"]
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [2 * COST, 2 * COST, 0]


async def test_a_release_gives_all_of_it_back(ledger: RedisLedger) -> None:
    await hold(ledger)
    await ledger.settle([replace(void("x1"), unspent=(DEAR,))], T0)
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [0, 0, 0]


async def test_the_journal_keeps_it(ledger: RedisLedger, tmp_path: Path) -> None:
    await hold(ledger)
    spool = Spool(tmp_path, "w1")
    spool.append([END])
    assert await spool.replay(ledger) == 1
    assert await committed(ledger, MONTH, CHEAP, DEAR) == [COST, COST, 0]
    spool.close()
