"""Windows of limits in a calendar of one's own: its zone, the first day of a week, the first month of a year. Pure.

A period is two instants, its start and its end, in seconds since the epoch; it is named by both. What is counted at an
instant belongs to exactly one period, so that a change of the clock makes a day longer or shorter and neither loses nor
doubles anything.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from spendgate.values import dataclass

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
BEFORE, AFTER = 1, 2
"""Periods before and after the current one that a reservation is told, so that the ledger's own clock chooses."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """`week_starts_on`: 0 is Monday; `year_starts_in`: 1 is January."""

    zone: str = "UTC"
    week_starts_on: int = 0
    year_starts_in: int = 1


PLAIN = Calendar()


def is_zone(name: str) -> bool:
    """Does the time zone database know this name?"""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def is_the_ledgers(window: str, calendar: Calendar) -> bool:
    """Does the ledger know the window without being told its periods?"""
    return window in ("hour", "run", "total") or (window in ("month", "day") and calendar.zone == "UTC")


def periods(window: str, calendar: Calendar, now_ms: int) -> tuple[int, ...]:
    """The starts, in seconds, of the period before, of the current one and of the two that follow; empty where the
    ledger knows the window itself."""
    if is_the_ledgers(window, calendar):
        return ()
    return _periods(window, calendar, now_ms // 60_000)


def period_at(starts: tuple[int, ...], at_ms: int) -> str:
    """The name of the period in which a time lies, `START-END`; the first or the last where it lies beyond."""
    i = len(starts) - 2
    while i > 0 and at_ms < starts[i] * 1000:
        i -= 1
    return f"{starts[i]}-{starts[i + 1]}"


def period_end(starts: tuple[int, ...], at_ms: int) -> datetime:
    """When the period in which a time lies ends."""
    return datetime.fromtimestamp(int(period_at(starts, at_ms).partition("-")[2]), UTC)


@lru_cache(maxsize=512)
def _periods(window: str, calendar: Calendar, minute: int) -> tuple[int, ...]:
    zone = ZoneInfo(calendar.zone)
    first = _first_day(window, calendar, datetime.fromtimestamp(minute * 60, zone).date())
    days = [_moved(window, first, n) for n in range(-BEFORE, AFTER + 1)]
    return tuple(int(datetime(d.year, d.month, d.day, tzinfo=zone).timestamp()) for d in days)


def _first_day(window: str, calendar: Calendar, day: date) -> date:
    """The first day of the window that a day lies in."""
    if window == "day":
        return day
    if window == "week":
        return day - timedelta(days=(day.weekday() - calendar.week_starts_on) % 7)
    months = {"month": 1, "quarter": 3, "year": 12}[window]
    since = (day.month - calendar.year_starts_in) % months
    return _month_moved(day.replace(day=1), -since)


def _moved(window: str, first: date, count: int) -> date:
    if window in ("day", "week"):
        return first + timedelta(days=count * (1 if window == "day" else 7))
    return _month_moved(first, count * {"month": 1, "quarter": 3, "year": 12}[window])


def _month_moved(first: date, months: int) -> date:
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
