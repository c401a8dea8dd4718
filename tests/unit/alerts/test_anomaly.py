"""A day is unusual against its own weekday, by enough money to matter, and its explanation names what grew."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.alerts.anomaly import anomaly_of, explained, weekdays_before
from spendgate.budget.forecast import history_days
from spendgate.ledger.accounts import DayCell

USD = 10**9
NOW = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp() * 1000)  # a Wednesday
DAYS = history_days(NOW)


def history(today: float, wednesday: float = 10, other: float = 100) -> list[int]:
    """Weekdays alike; Wednesdays have a level of their own."""
    values = [wednesday if (len(DAYS) - 1 - i) % 7 == 0 else other for i in range(len(DAYS))]
    return [round(x * USD) for x in (*values[:-1], today)]


@pytest.mark.parametrize(("today", "limit", "unusual"), [
    (25, None, True),
    (19, None, False),      # less than twice
    (25, 2000, False),      # fifteen dollars of two thousand are no matter
    (90, 2000, True),
])  # fmt: skip
def test_a_day_is_judged_by_its_own_weekday(today: float, limit: int | None, unusual: bool) -> None:
    found = anomaly_of(DAYS, history(today), None if limit is None else limit * USD)
    assert (found is not None) == unusual
    if found is not None:
        assert (found.day, found.usual_nanousd) == ("20261125", 10 * USD)


def test_a_busy_weekday_is_no_anomaly_though_it_is_ten_times_another() -> None:
    assert anomaly_of(DAYS, history(95, wednesday=100, other=9), None) is None


def test_a_weekday_that_varies_wants_more() -> None:
    spent = history(30)
    assert anomaly_of(DAYS, spent, None) is not None
    for i, usd in zip((-8, -15, -22), (2, 18, 10), strict=True):
        spent[i] = usd * USD
    assert anomaly_of(DAYS, spent, None) is None


def test_without_three_weekdays_of_history_nothing_is_said() -> None:
    young = [0] * (len(DAYS) - 15) + history(500)[-15:]
    assert anomaly_of(DAYS, young, None) is None


def test_the_explanation_names_the_app_and_model_that_grew_and_how() -> None:
    wednesdays = weekdays_before(DAYS)
    assert wednesdays == ["20261125", "20261118", "20261111", "20261104", "20261028"]
    cells = [DayCell("red", day, "chat", "gpt-4o", 100, 8 * USD, {}) for day in wednesdays]
    cells += [DayCell("red", day, "batch", "gpt-5.4", 40, 2 * USD, {}) for day in wednesdays[1:]]
    cells.append(DayCell("red", wednesdays[0], "batch", "gpt-5.4", 900, 60 * USD, {}))
    cells.append(DayCell("red", wednesdays[0], "new", "o3", 5, 7 * USD, {}))
    found = anomaly_of(DAYS, history(75), None)
    assert found is not None
    assert explained("red", found, cells).splitlines() == [
        "LLM spend of team red is unusual on 2026-11-25: $75.00, on this weekday it is usually $10.00.",
        "app batch with gpt-5.4: $60.00, $58.00 more than usual, with 900 requests (usually 40): more requests, "
        "$0.0667 each (usually $0.05).",
        "app new with o3: $7.00, $7.00 more than usual, with 5 requests; it was not there on this weekday before.",
        "See who called: spendgate log tail, or the team's page. maxUSDPerHour and maxUSDPerRun end a loop.",
    ]


def test_what_ran_on_one_weekday_of_four_is_not_usual_on_any() -> None:
    wednesdays = weekdays_before(DAYS)
    cells = [DayCell("red", day, "chat", "gpt-4o", 100, 10 * USD, {}) for day in wednesdays]
    cells += [DayCell("red", wednesdays[n], "batch", "gpt-5.4", 900, 65 * USD, {}) for n in (0, 4)]
    found = anomaly_of(DAYS, history(75), None)
    assert found is not None and found.weekdays == 4
    assert explained("red", found, cells).splitlines()[1] == (
        "app batch with gpt-5.4: $65.00, $65.00 more than usual, with 900 requests (usually 0)."
    )


@given(st.lists(st.integers(0, 10**12), min_size=29, max_size=29))
def test_law_what_is_told_is_more_than_twice_the_usual_and_by_a_dollar(spent: list[int]) -> None:
    found = anomaly_of(DAYS, spent, None)
    if found is not None:
        assert found.spent_nanousd == spent[-1] > 2 * found.usual_nanousd
        assert found.spent_nanousd - found.usual_nanousd >= USD
