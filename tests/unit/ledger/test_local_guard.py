from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.bounds import UNLIMITED
from spendgate.ledger.local_guard import LocalGuard

amounts = st.integers(0, 200)


def admit(guard: LocalGuard, team: str, estimate: int, allowance: int, committed: int, bound: int) -> bool:
    """One team, in no group."""
    return guard.admit(estimate, [(team, allowance, committed, bound)])


def test_what_does_not_fit_a_team_and_each_of_its_groups_is_held_in_none() -> None:
    guard = LocalGuard()
    assert guard.admit(60, [("red", 100, 0, UNLIMITED), ("dept", 100, 0, UNLIMITED)])
    assert not guard.admit(60, [("blue", 100, 0, UNLIMITED), ("dept", 100, 0, UNLIMITED)])
    assert (guard.committed("blue"), guard.committed("dept")) == (0, 60)


def test_admits_up_to_the_allowance_then_no_more() -> None:
    guard = LocalGuard()
    assert admit(guard, "red", 60, 100, 0, UNLIMITED)
    assert not admit(guard, "red", 41, 100, 0, UNLIMITED)
    assert admit(guard, "red", 40, 100, 0, UNLIMITED)
    assert not admit(guard, "red", 0, 100, 0, UNLIMITED)
    assert admit(guard, "blue", 100, 100, 0, UNLIMITED)


def test_an_exhausted_team_stays_refused_whatever_the_allowance() -> None:
    guard = LocalGuard()
    assert not admit(guard, "red", 1, UNLIMITED, 1000, 1000)
    assert not admit(guard, "red", 101, UNLIMITED, 900, 1000)
    assert admit(guard, "red", 100, UNLIMITED, 900, 1000)
    assert not admit(guard, "red", 1, UNLIMITED, 900, 1000)


def test_an_allowance_of_zero_admits_nothing() -> None:
    assert not admit(LocalGuard(), "red", 0, 0, 0, UNLIMITED)


def test_settling_below_the_estimate_frees_the_rest_and_above_it_counts() -> None:
    guard = LocalGuard()
    admit(guard, "red", 80, 100, 0, UNLIMITED)
    guard.settle("red", 80, 10)
    assert guard.committed("red") == 10
    admit(guard, "red", 80, 100, 0, UNLIMITED)
    guard.settle("red", 80, 95)
    assert guard.committed("red") == 105
    assert not admit(guard, "red", 1, 100, 0, UNLIMITED)


def test_what_the_ledger_took_is_forgotten_and_what_is_in_flight_is_not() -> None:
    guard = LocalGuard()
    admit(guard, "red", 80, 100, 0, UNLIMITED)
    admit(guard, "red", 20, 100, 0, UNLIMITED)
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
        if admit(guard, "red", estimate, allowance, known, bound):
            open_holds.append((estimate, min(cost, estimate)))
        if settle_one and open_holds:
            guard.settle("red", *open_holds.pop(0))
        assert 0 <= guard.committed("red") <= allowance
        assert guard.committed("red") == 0 or known + guard.committed("red") <= bound
