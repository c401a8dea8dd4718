"""The ledger counts how often a request passed: atomically, within its window, and with bounded memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from support.asks import T0, ask, bound, candidate

from spendgate.ledger.exchanges import Loop, Repeats, ReserveRequest, ReserveResult
from spendgate.ledger.redis.ledger import RedisLedger

SAME = Repeats("d1", 3, 60_000)


def asked(name: str, repeats: Repeats = SAME, amount: int = 1, floor: int = 1000) -> ReserveRequest:
    return replace(ask(name, candidate(amount, bound(floor))), repeats=repeats)


async def passes(ledger: RedisLedger, name: str, at: int = T0, repeats: Repeats = SAME) -> ReserveResult:
    return await ledger.reserve(asked(name, repeats), at)


async def test_so_many_pass_and_the_next_is_refused_until_the_window_is_over(ledger: RedisLedger) -> None:
    for n in range(3):
        assert (await passes(ledger, f"x{n}", T0 + n * 1000)).candidate == 0
    refused = await passes(ledger, "x3", T0 + 10_000)
    assert (refused.candidate, refused.loop, refused.refusals) == (-1, Loop(3, 50_000), ())
    assert (await passes(ledger, "other", T0, Repeats("d2", 3, 60_000))).candidate == 0
    assert (await passes(ledger, "x4", T0 + 60_000)).candidate == 0


async def test_what_a_bound_refuses_has_not_passed(ledger: RedisLedger) -> None:
    for n in range(5):
        refused = await ledger.reserve(asked(f"big{n}", amount=5000), T0)
        assert (refused.candidate, refused.loop) == (-1, None)
    assert (await passes(ledger, "x0")).candidate == 0


async def test_a_reservation_sent_again_passes_once(ledger: RedisLedger) -> None:
    for _ in range(5):
        assert (await passes(ledger, "x0")).candidate == 0
    assert (await passes(ledger, "x1")).loop is None


async def test_in_audit_it_is_told_and_passes(ledger: RedisLedger) -> None:
    told = [await passes(ledger, f"x{n}", repeats=replace(SAME, refuses=False)) for n in range(5)]
    assert [t.candidate for t in told] == [0] * 5
    assert [t.loop is not None for t in told] == [False] * 3 + [True] * 2


async def test_of_many_at_once_exactly_so_many_pass(ledger: RedisLedger) -> None:
    found = await asyncio.gather(*(passes(ledger, f"x{n}") for n in range(40)))
    assert sum(f.candidate == 0 for f in found) == 3


async def test_what_is_remembered_is_bounded_and_what_ends_first_is_forgotten(ledger: RedisLedger) -> None:
    async def remembered() -> int:
        [n] = await ledger.calls.send_all("test", [("HLEN", "sg1:{red}:repeats")])
        return int(n)

    batch = [asked(f"x{n}", Repeats(f"d{n}", 1, 60_000), 0, 10**9) for n in range(10_050)]
    for start in range(0, len(batch), 500):
        await asyncio.gather(*(ledger.reserve(r, T0 + start) for r in batch[start : start + 500]))
    assert await remembered() == 10_000
    assert (await passes(ledger, "again", T0 + 20_000, Repeats("d10049", 1, 60_000))).loop is not None
    assert (await passes(ledger, "first", T0 + 20_000, Repeats("d0", 1, 60_000))).loop is None
    for n in range(20):
        await passes(ledger, f"later{n}", T0 + 200_000, Repeats(f"e{n}", 1, 60_000))
    assert await remembered() <= 10_000 - 8 * 19 + 20
