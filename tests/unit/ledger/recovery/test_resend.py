from __future__ import annotations

import pytest
from support.asks import end
from support.fake_ledger import FakeLedger

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.recovery.resend import RecentSettlements


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
