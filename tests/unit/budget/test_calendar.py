"""Windows of limits: calendars with a zone, a first weekday and a fiscal year."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.calendar import PLAIN, Calendar, is_zone, period_at, period_end, periods

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo",
         "Pacific/Apia", "Africa/Cairo")  # fmt: skip
YEARS_MS = (1_100_000_000_000, 2_000_000_000_000)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def period(window: str, calendar: Calendar, at: str) -> tuple[str, str]:
    start, end = period_at(periods(window, calendar, ms(at)), ms(at)).split("-")
    zone = ZoneInfo(calendar.zone)
    return tuple(datetime.fromtimestamp(int(x), zone).isoformat() for x in (start, end))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("window", "calendar", "at", "start", "end"),
    [
        ("day", "Europe/Berlin", "2026-10-25T12:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("day", "Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("month", "Europe/Berlin", "2026-10-31T23:30+00:00", "2026-11-01T00:00:00+01:00", "2026-12-01T00:00:00+01:00"),
        ("day", "Pacific/Apia", "2011-12-31T01:00+14:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"),
    ],
)  # fmt: skip
def test_a_day_is_as_long_as_its_clock_makes_it(
    window: str, calendar: str, at: str, start: str, end: str
) -> None:
    assert period(window, Calendar(calendar), at) == (start, end)


def test_a_week_begins_on_the_day_that_is_named() -> None:
    at = "2026-11-29T12:00+00:00"  # a Sunday
    assert period("week", Calendar(), at)[0].startswith("2026-11-23")
    assert period("week", Calendar(week_starts_on=6), at)[0].startswith("2026-11-29")


def test_quarters_and_years_begin_in_the_fiscal_month() -> None:
    fiscal = Calendar(year_starts_in=2)
    assert period("year", fiscal, "2026-01-31T00:00+00:00")[0].startswith("2025-02-01")
    assert period("quarter", fiscal, "2026-01-31T00:00+00:00")[0].startswith("2025-11-01")
    assert period("quarter", fiscal, "2026-02-01T00:00+00:00")[0].startswith("2026-02-01")


@given(
    st.integers(*YEARS_MS), st.sampled_from(ZONES), st.integers(0, 6), st.integers(1, 12),
    st.sampled_from(["day", "week", "month", "quarter", "year"]),
)  # fmt: skip
def test_every_instant_lies_in_one_period_and_periods_follow_without_a_gap(
    at: int, zone: str, week: int, year: int, window: str
) -> None:
    calendar = Calendar(zone, week, year)
    starts = periods(window, calendar, at)
    if not starts:
        assert window in ("day", "month") and zone == "UTC"
        return
    assert list(starts) == sorted(set(starts))
    start, end = map(int, period_at(starts, at).split("-"))
    assert start * 1000 <= at < end * 1000
    for moment in (start * 1000, end * 1000 - 1):  # whoever plans within it names it alike
        assert period_at(periods(window, calendar, moment), moment) == f"{start}-{end}"
    assert period_at(periods(window, calendar, end * 1000), end * 1000).startswith(f"{end}-")
    assert period_at(starts, end * 1000).startswith(
        f"{end}-"
    )  # planned just before the turn, decided after it
    assert period_end(starts, at) == datetime.fromtimestamp(end, UTC)


def test_a_clock_that_steps_back_finds_the_period_before() -> None:
    starts = periods("week", PLAIN, ms("2026-11-30T00:00:01+00:00"))
    before = ms("2026-11-29T23:59:59+00:00")
    assert period_at(starts, before) == period_at(periods("week", PLAIN, before), before)
    week = timedelta(weeks=1) // timedelta(milliseconds=1)
    assert period_at(starts, before - 9 * week).startswith(f"{starts[0]}-")


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC"])
def test_names_of_the_time_zone_database_are_zones(name: str) -> None:
    assert is_zone(name)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Europe"])
def test_anything_else_is_none(name: str) -> None:
    assert not is_zone(name)
