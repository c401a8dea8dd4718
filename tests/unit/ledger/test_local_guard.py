from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.bounds import UNLIMITED
from spendgate.ledger.local_guard import LocalGuard

amounts = st.integers(0, 200)


def test_admits_up_to_the_allowance_then_no_more() -> None:
    guard = LocalGuard()
    assert guard.admit("red", 60, 100, 0, UNLIMITED)
    assert not guard.admit("red", 41, 100, 0, UNLIMITED)
    assert guard.admit("red", 40, 100, 0, UNLIMITED)
    assert not guard.admit("red", 0, 100, 0, UNLIMITED)
    assert guard.admit("blue", 100, 100, 0, UNLIMITED)


def test_an_exhausted_team_stays_refused_whatever_the_allowance() -> None:
    guard = LocalGuard()
    assert not guard.admit("red", 1, UNLIMITED, 1000, 1000)
    assert not guard.admit("red", 101, UNLIMITED, 900, 1000)
    assert guard.admit("red", 100, UNLIMITED, 900, 1000)
    assert not guard.admit("red", 1, UNLIMITED, 900, 1000)


def test_an_allowance_of_zero_admits_nothing() -> None:
    assert not LocalGuard().admit("red", 0, 0, 0, UNLIMITED)


def test_settling_below_the_estimate_frees_the_rest_and_above_it_counts() -> None:
    guard = LocalGuard()
    guard.admit("red", 80, 100, 0, UNLIMITED)
    guard.settle("red", 80, 10)
    assert guard.committed("red") == 10
    guard.admit("red", 80, 100, 0, UNLIMITED)
    guard.settle("red", 80, 95)
    assert guard.committed("red") == 105
    assert not guard.admit("red", 1, 100, 0, UNLIMITED)


def test_what_the_ledger_took_is_forgotten_and_what_is_in_flight_is_not() -> None:
    guard = LocalGuard()
    guard.admit("red", 80, 100, 0, UNLIMITED)
    guard.admit("red", 20, 100, 0, UNLIMITED)
    guard.settle("red", 80, 30)
    guard.acknowledged()
    assert guard.committed("red") == 20
    guard.settle("red", 20, 20)
    assert guard.committed("red") == 20
    guard.acknowledged()
    assert guard.committed("red") == 0


@given(
    st.lists(st.tuples(amounts, amounts, st.booleans())), st.integers(0, 500), amounts, st.integers(0, 500)
)
def test_settled_at_or_below_the_estimate_neither_allowance_nor_bound_is_ever_passed(
    steps: list[tuple[int, int, bool]], allowance: int, known: int, bound: int
) -> None:
    guard, open_holds = LocalGuard(), []
    for estimate, cost, settle_one in steps:
        if guard.admit("red", estimate, allowance, known, bound):
            open_holds.append((estimate, min(cost, estimate)))
        if settle_one and open_holds:
            guard.settle("red", *open_holds.pop(0))
        assert 0 <= guard.committed("red") <= allowance
        assert guard.committed("red") == 0 or known + guard.committed("red") <= bound
