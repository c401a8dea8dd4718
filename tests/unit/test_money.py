from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate import money


@given(st.integers(-(2**60), 2**60))
def test_a_nano_dollar_amount_survives_being_written_and_read_again(nano: int) -> None:
    assert money.usd_to_nano(money.nano_to_usd(nano)) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (1, "0.000000001"), (1_500_000_000, "1.50"), (-1, "-0.000000001"), (10**9, "1.00")],
)
def test_usd_is_written_exactly_with_at_least_two_decimals(nano: int, text: str) -> None:
    assert money.nano_to_usd(nano) == text


def test_a_float_is_read_by_its_shortest_decimal_form() -> None:
    assert money.usd_to_nano(0.1) == 100_000_000


@pytest.mark.parametrize("bad", ["", "x", "NaN", "Infinity", None])
def test_what_is_no_amount_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not an amount of USD"):
        money.usd_to_nano(bad)


@given(st.integers(0, 10**20))
def test_half_even_rounding_agrees_with_decimal(pico: int) -> None:
    assert money.pico_to_nano_half_even(pico) == int(
        (Decimal(pico) / 1000).to_integral_value("ROUND_HALF_EVEN")
    )


@given(st.integers(0, 10**20))
def test_an_estimate_never_rounds_below_the_true_amount(pico: int) -> None:
    up = money.pico_to_nano_up(pico)
    assert up * 1000 >= pico > (up - 1) * 1000


def test_ten_percent_is_exact_and_rounds_down() -> None:
    assert money.percent_of(1, 10) == 0
    assert money.percent_of(3_000_000_001, Decimal("110")) == 3_300_000_001


@pytest.mark.parametrize(
    ("nano", "sentence", "cell"),
    [
        (0, "$0.00", "0.00"),
        (8_012_400_000_000, "$8,012.40", "8,012.40"),
        (1_005_000_000, "$1.01", "1.01"),
        (10_000_000, "$0.01", "0.01"),
        (5_000_000, "$0.005", "0.01"),
        (4_999_999, "$0.005", "<0.01"),
        (504_200_000, "$0.5042", "0.50"),
        (1_000, "$0.000001", "<0.01"),
        (1, "$0.00", "<0.01"),
        (-1, "$0.00", "-<0.01"),
        (-5 * 10**9, "-$5.00", "-5.00"),
        (9_007_199_254_740_991, "$9,007,199.25", "9,007,199.25"),
    ],
)
def test_amounts_for_people_are_short_and_small_ones_not_nothing(nano: int, sentence: str, cell: str) -> None:
    assert (money.usd_text(nano), money.usd_cell(nano)) == (sentence, cell)


def test_no_float_writes_an_amount() -> None:
    assert money.usd_text(2**53 + 10**9 + 1, 2) == "$9,007,200.25"
    assert money.usd_text(123_455_000_000_000, 2, grouped=False) == "$123455.00"
    assert money.usd_text(8_000_000_005_000_000, 2) == "$8,000,000.01"
