from datetime import UTC, datetime

import pytest

from spendgate import months


def _ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def test_windows_are_those_of_utc() -> None:
    at = _ms(2026, 12, 31, 23, 59)
    assert (months.month_key(at), months.day_key(at), months.hour_key(at)) == (
        "202612",
        "20261231",
        "2026123123",
    )


def test_december_is_followed_by_january() -> None:
    assert months.next_month_start(_ms(2026, 12, 5)) == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_month_to_date_is_compared_with_the_month_before_up_to_the_same_day() -> None:
    assert months.days_before(_ms(2027, 1, 3, 12)) == ["20261201", "20261202", "20261203"]
    assert months.days_before(_ms(2027, 3, 31))[-1] == "20270228"  # a shorter month: all of it


@pytest.mark.parametrize("bad", ["2026-13", "2026-1", "202611", "", "2026-11-01"])
def test_a_month_is_written_as_yyyy_mm_and_the_error_says_so(bad: str) -> None:
    with pytest.raises(ValueError, match="write it as YYYY-MM"):
        months.parse_month(bad)


def test_a_month_survives_being_read_and_written() -> None:
    assert months.month_text(months.parse_month("2026-11")) == "2026-11"


def test_a_day_is_written_with_dashes() -> None:
    assert months.day_text("20261118") == "2026-11-18"


def test_the_last_months_end_with_the_current_one() -> None:
    assert months.last_months(_ms(2027, 1, 31, 23), 3) == ["202611", "202612", "202701"]
