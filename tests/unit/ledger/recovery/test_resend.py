from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.asks import end
from support.fake_ledger import FakeLedger

from spendgate.errors import LedgerUnavailable
from spendgate.exchange.ticket import MONTH
from spendgate.ledger.exchanges import GroupShare, Settlement
from spendgate.ledger.recovery.resend import RecentSettlements
from spendgate.usage import COUNT_MAX


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_sends_again_only_when_another_server_answers() -> None:
    clock, ledger = Clock(), FakeLedger()
    recent = RecentSettlements(10.0, clock=clock)
    assert await recent.check(ledger) == 0
    recent.add([end("x1", 5), end("x2", 5)])
    assert await recent.check(ledger) == 0
    ledger.server = "two"
    assert await recent.check(ledger) == 2
    assert ledger.ids == ["x1", "x2"]
    assert await recent.check(ledger) == 0


async def test_forgets_what_is_older_than_the_span_before_a_check_that_saw_the_same_server() -> None:
    clock, ledger = Clock(), FakeLedger()
    recent = RecentSettlements(10.0, clock=clock)
    await recent.check(ledger)
    recent.add([end("old", 5)])
    clock.now += 11
    recent.add([end("new", 5)])
    await recent.check(ledger)
    assert len(recent) == 1
    ledger.server = "two"
    assert await recent.check(ledger) == 1
    assert ledger.ids == ["new"]


async def test_nothing_ages_while_the_server_is_away() -> None:
    clock, ledger = Clock(), FakeLedger()
    recent = RecentSettlements(10.0, clock=clock)
    await recent.check(ledger)
    recent.add([end("x1", 5)])
    clock.now += 3600
    ledger.takes = 0
    with pytest.raises(LedgerUnavailable):
        await recent.check(ledger)
    ledger.takes, ledger.server = 100, "two"
    assert await recent.check(ledger) == 1


async def test_a_failure_while_sending_again_is_made_up_by_the_next_check() -> None:
    clock, ledger = Clock(), FakeLedger()
    recent = RecentSettlements(10.0, clock=clock)
    await recent.check(ledger)
    recent.add([end(f"x{i}", 1) for i in range(300)])
    ledger.server, ledger.takes = "two", 250
    with pytest.raises(LedgerUnavailable):
        await recent.check(ledger)
    ledger.takes = 10**6
    assert await recent.check(ledger) == 300


async def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    recent, ledger = RecentSettlements(10.0, entries_max=3), FakeLedger()
    await recent.check(ledger)
    recent.add([end(f"x{i}", 1) for i in range(5)])
    ledger.server = "two"
    await recent.check(ledger)
    assert ledger.ids == ["x2", "x3", "x4"]


names = st.text(max_size=8)
counts = st.integers(0, COUNT_MAX)
scopes = st.lists(st.tuples(names, names), max_size=3).map(tuple)
settlements = st.builds(
    Settlement,
    exchange_id=names,
    team=names,
    app=names,
    model=names,
    cost_nanousd=counts,
    usage=st.dictionaries(names, counts, max_size=3),
    at_ms=counts,
    release=st.booleans(),
    scopes=scopes,
    unspent=st.lists(names, max_size=2).map(tuple),
    saved_nanousd=st.integers(-(10**9), 10**9),
    acknowledged_us=st.sampled_from([0, 7]),
    counted_us=st.sampled_from([0, 8]),
    sample=st.none() | st.tuples(counts, counts),
    tokens=st.none() | counts,
    groups=st.lists(st.builds(GroupShare, names, scopes), max_size=2).map(tuple),
)


@given(st.lists(st.tuples(settlements, counts), max_size=4), st.booleans())
async def test_what_is_sent_again_is_what_was_taken_and_when(
    taken: list[tuple[Settlement, int]], timed: bool
) -> None:
    recent, ledger = RecentSettlements(10.0), FakeLedger()
    await recent.check(ledger)
    recent.add([s for s, _ in taken], [at for _, at in taken] if timed else ())
    recent.ledger_lost()
    assert await recent.check(ledger) == len(taken)
    assert ledger.taken == [
        replace(
            s,
            acknowledged_us=s.acknowledged_us or (at if timed else 0),
            counted_us=s.counted_us or (at if timed else 0),
        )
        for s, at in taken
    ]


async def test_a_minute_of_4000_a_second_is_kept_within_its_memory() -> None:
    clock, ledger = Clock(), FakeLedger()
    recent = RecentSettlements(clock=clock)
    await recent.check(ledger)
    batch = [replace(end(f"{i:036}", 5), usage={"input": 220, "output": 50}, scopes=MONTH) for i in range(80)]
    tracemalloc.start()
    for _ in range(60 * 50):
        clock.now += 0.02
        recent.add(batch, [1_795_521_600_000_000] * 80)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(recent) == 240_000
    assert held < 240_000 * 200
    clock.now += 61
    await recent.check(ledger)
    assert len(recent) == 0
