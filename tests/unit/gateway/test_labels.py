"""No client makes series without limit, and none pushes others out of theirs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.gateway.labels import OTHER, SpendLabels
from spendgate.identity.identity import UNATTRIBUTED

LIMIT = 20


def labels() -> SpendLabels:
    return SpendLabels(LIMIT, lambda team: team.startswith("budgeted"))


def test_strange_apps_of_one_team_leave_the_series_of_others_alone() -> None:
    made = labels()
    seen = {made.of("budgeted-a", f"app-{i}", "gpt-4o") for i in range(2500)}
    assert len(seen) == LIMIT // 2 + 1
    assert made.of("budgeted-b", "chat", "gpt-4o") == ("budgeted-b", "chat", "gpt-4o")


def test_strange_teams_share_other_and_a_budgeted_one_never_does() -> None:
    made = labels()
    strangers = {made.of(f"stranger-{i}", "a", "gpt-4o")[0] for i in range(2500)}
    assert len(strangers) == LIMIT // 4 + 1
    assert made.of("stranger-9999", "a", "gpt-4o") == (OTHER, OTHER, OTHER)
    for i in range(2500):
        assert made.of(f"budgeted-{i}", "a", "gpt-4o")[0] == f"budgeted-{i}"
    assert made.of(UNATTRIBUTED, "a", "gpt-4o")[0] == UNATTRIBUTED


names = st.sampled_from([f"{kind}-{i}" for kind in ("budgeted", "stranger") for i in range(8)])


@given(st.lists(st.tuples(names, st.integers(0, 30).map(str), st.integers(0, 3).map(str))))
def test_series_are_bounded_and_stay_what_they_were(asked: list[tuple[str, str, str]]) -> None:
    made = labels()
    first = [made.of(*key) for key in asked]
    apart = {x for x in first if x[1] != OTHER}
    assert len(apart) <= LIMIT
    for key, given_ in zip(asked, first, strict=True):
        assert given_ in (key, (key[0], OTHER, OTHER), (OTHER, OTHER, OTHER))
        assert key[0].startswith("stranger") or given_[0] == key[0]
        if given_ == key:
            assert made.of(*key) == key
