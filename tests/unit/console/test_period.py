"""Which days a page shows, and which it compares them with."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.console.period import choices, days_of, month_of, parse_period, quarter_of, year_of

TODAY = date(2026, 11, 18)
DAYS = st.dates(date(2001, 1, 1), date(2199, 12, 31))


@pytest.mark.parametrize(
    ("query", "first", "last", "name"),
    [
        ({}, "2026-11-01", "2026-11-30", "November 2026"),
        ({"month": "2026-02"}, "2026-02-01", "2026-02-28", "February 2026"),
        ({"period": "2026-11"}, "2026-11-01", "2026-11-30", "November 2026"),
        ({"period": "2026-Q1"}, "2026-01-01", "2026-03-31", "Q1 2026"),
        ({"period": "2025"}, "2025-01-01", "2025-12-31", "2025"),
        ({"period": "7d"}, "2026-11-12", "2026-11-18", "Last 7 days"),
        ({"period": "2026-11-03..2026-11-04"}, "2026-11-03", "2026-11-04", "2026-11-03 to 2026-11-04"),
        (
            {"from": "2026-11-03", "to": "2026-11-03", "period": "2025"},
            "2026-11-03",
            "2026-11-03",
            "2026-11-03",
        ),
        ({"from": "2026-11-03"}, "2026-11-03", "2026-11-18", "2026-11-03 to 2026-11-18"),
    ],
)
def test_a_period_is_read_as_it_is_written(query: dict[str, str], first: str, last: str, name: str) -> None:
    found = parse_period(query, TODAY)
    assert (found.first.isoformat(), found.last.isoformat(), found.name) == (first, last, name)
    again = parse_period(dict(found.query), TODAY)
    assert (again.first, again.last) == (found.first, found.last)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"month": "soon"}, "YYYY-MM"),
        ({"period": "2026-Q5"}, "YYYY-MM"),
        ({"period": "500d"}, "not within 1d and 400d"),
        ({"from": "18.11.2026"}, "from: not a day"),
        ({"from": "2026-11-18", "to": "2026-11-01"}, "the earlier day comes first"),
        ({"from": "2020-01-01", "to": "2026-11-01"}, "more than the 400 days"),
        ({"from": "0001-01-01", "to": "0001-01-02"}, "not a year of these books"),
        ({"period": "9999"}, "not a year of these books"),
        ({"month": "9999-12"}, "not a year of these books"),
    ],
)
def test_what_is_no_period_is_refused_with_the_reason(query: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_period(query, TODAY)


def test_a_running_month_is_compared_with_the_same_days_and_a_past_one_with_all_of_the_one_before() -> None:
    running = month_of(TODAY, TODAY)
    assert (running.before.first, running.before.last) == (date(2026, 10, 1), date(2026, 10, 18))
    assert running.before_name == "the same days of October 2026"
    past = running.earlier
    assert (past.before.first, past.before.last) == (date(2026, 9, 1), date(2026, 9, 30))
    assert past.before_name == "September 2026"
    end_of_march = month_of(date(2026, 3, 31), date(2026, 3, 31))
    assert end_of_march.before.last == date(2026, 2, 28)


def test_quarters_years_and_ranges_are_compared_with_their_own_kind() -> None:
    assert quarter_of(TODAY, TODAY).before.last == date(2026, 7, 1) + timedelta(
        days=(TODAY - date(2026, 10, 1)).days
    )
    assert year_of(2025, TODAY).before.name == "2024"
    week = days_of(date(2026, 11, 9), date(2026, 11, 15), TODAY)
    assert (week.before.first, week.before.last) == (date(2026, 11, 2), date(2026, 11, 8))
    assert week.later is not None and week.later.first == date(2026, 11, 16)
    assert days_of(TODAY, TODAY, TODAY).later is None


def test_only_whole_months_are_measured_by_budgets() -> None:
    assert month_of(TODAY, TODAY).is_whole_months and quarter_of(TODAY, TODAY).is_whole_months
    assert not days_of(date(2026, 11, 1), date(2026, 11, 29), TODAY).is_whole_months
    assert quarter_of(TODAY, TODAY).months == ["202610", "202611"]


@given(DAYS, st.sampled_from(["month", "quarter", "year", "days"]), st.integers(0, 399))
def test_earlier_and_later_are_each_others_opposite_and_leave_no_day_out(
    day: date, kind: str, length: int
) -> None:
    today = date(2199, 12, 31)
    made = {
        "month": month_of(day, today),
        "quarter": quarter_of(day, today),
        "year": year_of(day.year, today),
        "days": days_of(day - timedelta(days=length), day, today),
    }[kind]
    earlier = made.earlier
    assert earlier.last + timedelta(days=1) == made.first
    assert earlier.later is not None and (earlier.later.first, earlier.later.last) == (made.first, made.last)
    assert len(made.days) == made.length


def test_a_picker_offers_months_quarters_and_days_each_once() -> None:
    groups = choices(TODAY, 13)
    assert [heading for heading, _ in groups] == ["Months", "Quarters and years", "Days"]
    months = groups[0][1]
    assert (months[0].name, months[-1].name, len(months)) == ("November 2026", "November 2025", 13)
    queries = [p.query for _, group in groups for p in group]
    assert len(set(queries)) == len(queries)
