"""Where a month leads: the steps of the method, its laws, and its error on months made up."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.forecast import DAY_MS, HISTORY_DAYS, forecast, history_days
from spendgate.months import month_key, month_last_ms, previous_month

USD = 10**9
NOV_11 = 1_794_355_200_000
"""Wednesday 2026-11-11T00:00:00Z: ten days of thirty have passed."""
NOV_1 = NOV_11 - 10 * DAY_MS
HALF = DAY_MS // 2
OFFICE = (6, 6, 6, 6, 6, 1, 1)
"""What a team of an office spends from Monday to Sunday, USD."""


def history(spend: Callable[[int], int], now_ms: int = NOV_11, days: int = HISTORY_DAYS) -> list[int]:
    """So many whole days and a bare today; `spend` of the weekday, in USD."""
    weekday = 2 + (now_ms - NOV_11) // DAY_MS
    return [*(spend((weekday - back) % 7) * USD for back in range(days, 0, -1)), 0]


def test_the_days_asked_for_end_today() -> None:
    days = history_days(NOV_11 + HALF)
    assert (len(days), days[0], days[-1]) == (29, "20261014", "20261111")


def test_without_days_the_month_goes_on_at_its_mean_pace() -> None:
    outlook = forecast([], NOV_11, 10 * USD)
    assert (outlook.pace_nanousd, outlook.month_end_nanousd) == (USD, 30 * USD)
    assert forecast([0] * 29, NOV_11, 10 * USD) == outlook


def test_the_month_to_date_is_the_sum_of_its_days_where_it_is_not_given() -> None:
    daily = history(lambda _: 2)
    assert forecast(daily, NOV_11).settled_nanousd == 20 * USD
    assert forecast(daily, NOV_11).month_end_nanousd == 60 * USD


def test_a_steady_week_of_history_is_carried_on() -> None:
    outlook = forecast(history(lambda _: 2, days=7), NOV_11, 20 * USD)
    assert (outlook.pace_nanousd, outlook.month_end_nanousd) == (2 * USD, 60 * USD)


def test_weekends_cost_what_weekends_cost() -> None:
    left = sum(OFFICE[(2 + n) % 7] for n in range(20)) * USD
    outlook = forecast(history(OFFICE.__getitem__), NOV_11, 0)
    assert outlook.month_end_nanousd == pytest.approx(left, rel=0.01)


def test_one_burst_does_not_foretell_a_fortune() -> None:
    daily = history(OFFICE.__getitem__)
    daily[-3] *= 40  # Monday
    calm, burst = forecast(history(OFFICE.__getitem__), NOV_11, 0), forecast(daily, NOV_11, 0)
    assert burst.month_end_nanousd < 1.5 * calm.month_end_nanousd


def test_a_change_of_pace_is_believed_within_a_week() -> None:
    daily = [*history(lambda _: 1)[:21], *([4 * USD] * 7), 0]
    assert forecast(daily, NOV_11, 0).pace_nanousd == pytest.approx(4 * USD, rel=0.01)
    assert forecast([*history(lambda _: 4)[:21], *([0] * 7), 0], NOV_11, 0).month_end_nanousd == 0


def test_a_burst_on_a_young_budget_is_spread_over_a_day() -> None:
    assert forecast([*([0] * 28), 3 * USD], NOV_11 + 60_000, 3 * USD).pace_nanousd == 3 * USD


def test_a_day_that_runs_away_goes_on_at_its_own_pace_until_midnight() -> None:
    daily = history(lambda _: 2)
    daily[-1] = 12 * USD
    outlook = forecast(daily, NOV_11 + HALF, 32 * USD)
    assert outlook.spans[0] == (NOV_11 + DAY_MS, 12 * USD)
    assert outlook.month_end_nanousd == (32 + 12 + 19 * 2) * USD


def test_exhaustion_is_now_later_this_month_or_not_within_it() -> None:
    outlook = forecast(history(lambda _: 1), NOV_11, 10 * USD)
    assert outlook.exhausted_at_ms(10 * USD) == NOV_11
    assert outlook.exhausted_at_ms(15 * USD) == NOV_11 + 5 * DAY_MS
    assert outlook.exhausted_at_ms(10 * USD + USD // 2) == NOV_11 + HALF
    assert outlook.exhausted_at_ms(30 * USD) is None
    assert forecast([], NOV_11, 0).exhausted_at_ms(USD) is None


def test_exhaustion_minds_the_weekend() -> None:
    friday = NOV_11 + 2 * DAY_MS
    outlook = forecast(history(OFFICE.__getitem__, friday), friday, 0)
    ends = outlook.exhausted_at_ms(9 * USD)
    assert ends is not None
    assert ends == pytest.approx(friday + 3 * DAY_MS + DAY_MS // 6, abs=DAY_MS // 50)  # Monday, 04:00


def test_the_last_millisecond_of_a_month_and_the_month_before() -> None:
    assert month_key(month_last_ms("202612")) == "202612"
    assert month_key(month_last_ms("202612") + 1) == "202701"
    assert (previous_month(NOV_11), previous_month(month_last_ms("202612") + 1)) == ("202610", "202612")


@given(
    st.integers(0, 10**15),
    st.integers(1_700_000_000_000, 1_900_000_000_000),
    st.lists(st.integers(-(10**10), 10**14), max_size=40),
)
def test_law_a_forecast_is_never_less_than_what_is_spent_and_ends_with_the_month(
    settled: int, now: int, daily: list[int]
) -> None:
    outlook = forecast(daily, now, settled)
    assert outlook.month_end_nanousd >= settled
    assert all(nano >= 0 for _, nano in outlook.spans)
    assert outlook.spans[-1][0] == month_last_ms(month_key(now)) + 1
    ends = outlook.exhausted_at_ms(outlook.month_end_nanousd + 1)
    assert ends is None


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.lists(st.integers(0, 10**12), max_size=29))
def test_law_a_greater_bound_is_never_reached_earlier(bound: int, more: int, daily: list[int]) -> None:
    outlook = forecast(daily, NOV_11, sum(daily[-11:]))
    first, second = outlook.exhausted_at_ms(bound), outlook.exhausted_at_ms(bound + more)
    assert second is None or (first is not None and first <= second)


SHAPES: dict[str, tuple[Callable[[int, random.Random], float], float]] = {
    "even": (lambda day, _: 1, 6),
    "office": (lambda day, _: OFFICE[day % 7] / 5, 6),
    "weekly batch": (lambda day, _: 7 if day % 7 == 0 else 0.1, 16),
    "growth 2 % a day": (lambda day, _: 1.02**day * OFFICE[day % 7] / 5, 16),
    "bursts": (lambda day, r: OFFICE[day % 7] / 5 + (12 if r.random() < 0.05 else 0), 25),
    "begun on the 4th": (lambda day, _: 0 if day < 38 else OFFICE[day % 7] / 5, 14),
}
"""Spend of a day by its number (35 of history, then a month of 30), and the mean error allowed, in percent."""


def error_percent(shape: Callable[[int, random.Random], float], mean_pace: bool) -> float:
    """The mean of |forecast - what came| / what came, over months and days 4 to 28 at any hour."""
    chance = random.Random(7)
    errors = []
    for _ in range(40):
        spent = [int(100 * USD * shape(d, chance) * chance.lognormvariate(0, 0.25)) for d in range(65)]
        came = sum(spent[35:])
        for day in range(3, 28):
            passed = chance.randrange(DAY_MS)
            today = spent[35 + day] * passed // DAY_MS
            settled = sum(spent[35 : 35 + day]) + today
            daily = [] if mean_pace else [*spent[: 35 + day], today]
            guess = forecast(daily, NOV_1 + day * DAY_MS + passed, settled).month_end_nanousd
            errors.append(100 * abs(guess - came) / came)
    return mean(errors)


@pytest.mark.parametrize("name", SHAPES)
def test_backtest_the_error_on_made_up_months_is_the_stated_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, allowed = SHAPES[name]
    error, naive = error_percent(shape, False), error_percent(shape, True)
    with capsys.disabled():
        print(f"\n  forecast, {name}: {error:.1f} % off in the mean (the month's mean pace: {naive:.1f} %)")
    assert error < allowed
    if name in ("office", "weekly batch", "begun on the 4th"):
        assert error < naive
