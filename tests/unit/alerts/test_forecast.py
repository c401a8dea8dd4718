from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.alerts.forecast import DAY_MS, forecast, month_last_ms, previous_month, window_days
from spendgate.months import month_key

USD = 10**9
NOV_11 = 1_794_355_200_000
"""2026-11-11T00:00:00Z: ten days of thirty have passed."""


def test_without_history_the_month_goes_on_at_its_mean_pace() -> None:
    outlook = forecast(10 * USD, NOV_11)
    assert (outlook.pace_nanousd, outlook.month_end_nanousd) == (USD, 30 * USD)


def test_with_history_the_last_seven_days_count() -> None:
    days = dict.fromkeys(window_days(NOV_11)[:-1], 2 * USD)  # 12 USD in six whole days, today is newborn
    outlook = forecast(20 * USD, NOV_11, days)
    assert (outlook.pace_nanousd, outlook.month_end_nanousd) == (2 * USD, 60 * USD)


def test_a_burst_on_a_young_budget_is_spread_over_a_day() -> None:
    today = window_days(NOV_11)[-1]
    outlook = forecast(3 * USD, NOV_11 + 60_000, {today: 3 * USD})
    assert outlook.pace_nanousd == 3 * USD


def test_exhaustion_is_now_later_this_month_or_not_within_it() -> None:
    outlook = forecast(10 * USD, NOV_11)
    assert outlook.exhausted_at_ms(10 * USD, 10 * USD) == NOV_11
    assert outlook.exhausted_at_ms(10 * USD, 15 * USD) == NOV_11 + 5 * DAY_MS
    assert outlook.exhausted_at_ms(10 * USD, 30 * USD) is None
    assert forecast(0, NOV_11).exhausted_at_ms(0, USD) is None


def test_the_last_millisecond_of_a_month_and_the_month_before() -> None:
    assert month_key(month_last_ms("202612")) == "202612"
    assert month_key(month_last_ms("202612") + 1) == "202701"
    assert (previous_month(NOV_11), previous_month(month_last_ms("202612") + 1)) == ("202610", "202612")


@given(
    st.integers(0, 10**15),
    st.integers(1_700_000_000_000, 1_900_000_000_000),
    st.dictionaries(st.integers(0, 9), st.integers(0, 10**14), max_size=8),
)
def test_law_a_forecast_is_never_less_than_what_is_spent(
    settled: int, now: int, back: dict[int, int]
) -> None:
    days = {window_days(now - n * DAY_MS)[-1]: amount for n, amount in back.items()}
    assert forecast(settled, now, days).month_end_nanousd >= settled
