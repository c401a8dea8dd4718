from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.alerts.crossings import Record, crossings, judge, threshold_key
from spendgate.budget.policy import TeamBudget, Threshold

USD = 10**9


def budget(*thresholds: Threshold) -> TeamBudget:
    return TeamBudget("red", 10 * USD, thresholds=thresholds) if thresholds else TeamBudget("red", 10 * USD)


def percents(settled: int, limit: int = 10 * USD) -> list[int]:
    return [c.percent for c in crossings(budget(), settled, limit)]


@pytest.mark.parametrize(
    ("settled", "crossed"),
    [(0, []), (5 * USD - 1, []), (5 * USD, [50]), (8 * USD, [50, 80]), (99 * USD, [50, 80, 100])],
)
def test_a_threshold_is_crossed_from_its_very_nano_dollar_on(settled: int, crossed: list[int]) -> None:
    assert percents(settled) == crossed


def test_nothing_spent_crosses_nothing_even_of_a_budget_of_zero() -> None:
    assert percents(0, 0) == []
    assert percents(1, 0) == [50, 80, 100]


def test_one_percentage_is_one_crossing_with_the_strongest_action_and_every_channel() -> None:
    both = budget(Threshold(80, "alert", "#a"), Threshold(80, "reject", "#b"), Threshold(80, "alert", "#a"))
    (crossing,) = crossings(both, 9 * USD, 10 * USD)
    assert (crossing.kind, crossing.action, crossing.channels) == ("exhausted", "reject", ("#a", "#b"))


def told(settled: int, limit: int, state: str = "open", busy: bool = False) -> dict[str, Record]:
    return {c.key: Record(state, limit, busy) for c in crossings(budget(), settled, limit)}  # type: ignore[arg-type]


def test_what_was_told_is_not_told_again_and_what_was_armed_is() -> None:
    assert judge(budget(), 9 * USD, 10 * USD, told(9 * USD, 10 * USD)).fresh == ()
    again = judge(budget(), 9 * USD, 10 * USD, told(9 * USD, 10 * USD, "armed"))
    assert [c.percent for c in again.fresh] == [50, 80]


def test_an_edit_tells_the_gravest_of_what_it_crossed_to_all_channels_and_notes_the_others() -> None:
    verdict = judge(budget(), 11 * USD, 10 * USD, {}, edited=True)
    assert [(c.percent, c.kind) for c in verdict.fresh] == [(100, "exhausted")]
    assert verdict.quiet == ("t:50", "t:80")
    soft = budget(Threshold(50, "alert", "#a"), Threshold(80, "reject", "#b"), Threshold(90, "alert", "#c"))
    (one,) = judge(soft, 9 * USD, 10 * USD, {}, edited=True).fresh
    assert (one.percent, one.action, one.channels) == (80, "reject", ("#b", "#a", "#c"))
    known = told(5 * USD, 10 * USD)
    assert [c.percent for c in judge(budget(), 5 * USD, 6 * USD, known, edited=True).fresh] == [80]


def test_only_a_raise_arms_again_never_a_correction_of_the_spend() -> None:
    known = told(8 * USD, 10 * USD)
    assert judge(budget(), 4 * USD, 10 * USD, known).arm == ()
    assert judge(budget(), 8 * USD, 15 * USD, known).arm == ("t:80",)


def test_an_exhausted_budget_that_is_raised_recovers_once() -> None:
    known = told(10 * USD, 10 * USD)
    verdict = judge(budget(), 10 * USD, 30 * USD, known)
    assert verdict.arm == ("t:50", "t:80", "t:100")
    assert [c.kind for c in verdict.fresh] == ["recovered"]
    after = {**known, verdict.fresh[0].key: Record("open", 30 * USD)}
    assert judge(budget(), 10 * USD, 30 * USD, after).fresh == ()


def test_what_nobody_was_told_of_recovers_silently() -> None:
    assert judge(budget(), 10 * USD, 30 * USD, told(10 * USD, 10 * USD, "quiet")).fresh == ()


def test_a_delivery_under_way_is_not_armed_under_its_feet() -> None:
    assert judge(budget(), 8 * USD, 30 * USD, told(8 * USD, 10 * USD, busy=True)).arm == ()


@given(st.lists(st.integers(0, 3 * USD), max_size=40))
def test_law_spend_that_only_grows_tells_each_threshold_once_in_order(amounts: list[int]) -> None:
    records: dict[str, Record] = {}
    heard: list[int] = []
    settled = 0
    for amount in amounts:
        settled += amount
        for crossing in judge(budget(), settled, 10 * USD, records).fresh:
            heard.append(crossing.percent)
            records[crossing.key] = Record("open", 10 * USD)
    assert heard == [c.percent for c in crossings(budget(), settled, 10 * USD)]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=40))
def test_law_between_two_posts_of_a_threshold_there_was_a_raise(steps: list[tuple[int, int]]) -> None:
    records: dict[str, Record] = {}
    last: dict[str, int] = {}
    highest: dict[str, int] = {}
    for settled, limit in steps:
        highest = {key: max(n, limit) for key, n in highest.items()}
        verdict = judge(budget(), settled * USD, limit * USD, records)
        for key in verdict.arm:
            records[key] = Record("armed", limit * USD)
        for crossing in verdict.fresh:
            if crossing.kind == "recovered":
                continue
            if crossing.key in last:
                assert highest[crossing.key] > last[crossing.key]
            last[crossing.key] = highest[crossing.key] = limit
            records[crossing.key] = Record("open", limit * USD)


def test_keys_name_the_percentage() -> None:
    assert threshold_key(80) == "t:80"
