"""What is learned of holds: quantiles that never understate, and forget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.ask import Shares
from spendgate.budget.bounds import WHOLE, LearnedHold
from spendgate.budget.ratios import SAMPLES_MAX, Ratios, ratio_of, ratios_of, top_of_bucket

ratios = st.integers(1, WHOLE)
HOLD = LearnedHold(7, 50, 1000, 3000, 99, 50)
ESTIMATE = 4007


@given(ratios)
def test_a_bucket_is_at_most_an_eighth_wide(ratio: int) -> None:
    top = top_of_bucket(ratio)
    assert ratio <= top <= max(ratio, ratio * 9 // 8 + 1, 16 if ratio <= 16 else 0)
    assert top_of_bucket(top) == top


@given(st.integers(0, 10**13), st.integers(1, 10**13))
def test_a_ratio_never_understates(cost: int, worst: int) -> None:
    ratio = ratio_of(cost, worst)
    assert 1 <= ratio <= WHOLE
    assert ratio * worst >= min(cost, worst) * WHOLE


@given(st.lists(st.tuples(ratios, ratios), min_size=50, max_size=300), st.integers(50, 100))
def test_so_many_percent_of_the_samples_would_have_fitted(
    samples: list[tuple[int, int]], percentile: int
) -> None:
    known = Ratios()
    for sample in samples:
        known.add(sample)
    hold = LearnedHold(0, 0, WHOLE, 0, percentile, 50)
    held = known.amount(hold, WHOLE)
    assert sum(r <= held for r, _ in samples) * 100 >= percentile * len(samples)


@given(st.lists(st.tuples(ratios, ratios), max_size=60))
def test_a_hold_is_between_the_inputs_bound_with_its_fees_and_the_estimate(
    samples: list[tuple[int, int]],
) -> None:
    known = Ratios()
    for sample in samples:
        known.add(sample)
    held = known.amount(HOLD, ESTIMATE)
    assert HOLD.fees_nanousd + HOLD.input_min_nanousd <= held <= ESTIMATE
    if len(samples) < HOLD.samples:
        assert held == ESTIMATE


def test_what_is_old_fades() -> None:
    known = Ratios()
    for sample in [(1, 1)] * SAMPLES_MAX + [(WHOLE, WHOLE)] * 11:
        known.add(sample)
    assert known.samples == SAMPLES_MAX // 2 + 11
    assert known.amount(HOLD, ESTIMATE) == ESTIMATE, "eleven of 511 are more than one in a hundred"


def test_small_inputs_say_how_a_token_was_priced_and_not_how_loose_their_bound_was() -> None:
    shares = Shares(input_nanousd=1_600_000, output_nanousd=800_000, input_min_nanousd=1, input_tokens=160)
    assert ratios_of(shares, 8, 8 * 10_000, 8 * 10_000 + 4_000) == (WHOLE, 6)
    assert ratios_of(shares, 100, 100 * 1_000, 100 * 1_000 + 800_000) == (103, WHOLE)
