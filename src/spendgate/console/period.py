"""The days that a page shows, and those that they are compared with. Pure; days are UTC.

A running month, quarter or year is compared with as many days of the one before, one that is over with all of it,
and any other range with as many days just before it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta

from spendgate.console.text import month_name
from spendgate.months import parse_month
from spendgate.values import dataclass

DAYS_MAX = 400
"""As far back as the ledger keeps days."""
LAST_DAYS = (7, 30, 90)
_QUARTER = re.compile(r"(\d{4})-Q([1-4])")
_YEAR = re.compile(r"\d{4}")
_LAST = re.compile(r"(\d{1,3})d")
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """`first` to `last`, both included; `today` is the day at which it is looked at. `query` is how a link names it."""

    first: date
    last: date
    today: date
    name: str
    query: tuple[tuple[str, str], ...]
    kind: str
    """`month`, `quarter`, `year` or `days`."""

    @property
    def is_running(self) -> bool:
        """Is today one of its days?"""
        return self.first <= self.today <= self.last

    @property
    def until(self) -> date:
        """The last day that has begun (before `first` where it lies ahead)."""
        return min(self.last, self.today)

    @property
    def month(self) -> str:
        """The month's key where it is one, else ""."""
        return key_of(self.first)[:6] if self.kind == "month" else ""

    @property
    def months(self) -> list[str]:
        """The keys of the months that it touches, up to today's."""
        return months_between(self.first, self.until)

    @property
    def is_whole_months(self) -> bool:
        """Does it begin and end with a month, so that budgets of months can be compared with it?"""
        return self.first.day == 1 and (self.last + ONE_DAY).day == 1

    @property
    def days(self) -> list[str]:
        """The keys of its days that have begun."""
        return days_between(self.first, self.until)

    @property
    def length(self) -> int:
        """How many days it has, those to come included."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """What it is compared with."""
        if self.kind == "days":
            span = timedelta(days=self.length)
            return days_of(self.first - span, self.last - span, self.today)
        whole = self.earlier
        if not self.is_running:
            return whole
        last = min(whole.last, whole.first + (self.until - self.first))
        return days_of(whole.first, last, self.today)

    @property
    def before_name(self) -> str:
        """What it is compared with, in words."""
        if self.kind == "days":
            return "the day before" if self.length == 1 else f"the {self.length} days before"
        return f"the same days of {self.earlier.name}" if self.is_running else self.earlier.name

    @property
    def earlier(self) -> Period:
        """The period of the same kind just before."""
        if self.kind == "month":
            return month_of(self.first - ONE_DAY, self.today)
        if self.kind == "quarter":
            return quarter_of(self.first - ONE_DAY, self.today)
        if self.kind == "year":
            return year_of(self.first.year - 1, self.today)
        span = timedelta(days=self.length)
        return days_of(self.first - span, self.last - span, self.today)

    @property
    def later(self) -> Period | None:
        """The period of the same kind just after; None where that has not begun."""
        after = self.last + ONE_DAY
        if after > self.today:
            return None
        if self.kind == "month":
            return month_of(after, self.today)
        if self.kind == "quarter":
            return quarter_of(after, self.today)
        if self.kind == "year":
            return year_of(after.year, self.today)
        return days_of(after, after + (self.last - self.first), self.today)


def month_of(day: date, today: date) -> Period:
    """The month of a day."""
    first, last = day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
    return Period(first, last, today, month_name(key_of(first)[:6]), (("month", f"{first:%Y-%m}"),), "month")


def quarter_of(day: date, today: date) -> Period:
    """The quarter of a day."""
    number = (day.month - 1) // 3
    first, end = date(day.year, number * 3 + 1, 1), number * 3 + 3
    last = date(day.year, end, monthrange(day.year, end)[1])
    text = f"{day.year}-Q{number + 1}"
    return Period(first, last, today, f"Q{number + 1} {day.year}", (("period", text),), "quarter")


def year_of(year: int, today: date) -> Period:
    """A calendar year."""
    return Period(
        date(year, 1, 1), date(year, 12, 31), today, str(year), (("period", f"{year:04d}"),), "year"
    )


def days_of(first: date, last: date, today: date) -> Period:
    """Any range of days."""
    name = f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return Period(
        first, last, today, name, (("from", f"{first:%Y-%m-%d}"), ("to", f"{last:%Y-%m-%d}")), "days"
    )


def parse_period(query: Mapping[str, str], today: date) -> Period:
    """The period of a page's query: `from` and `to`, else `period` (`2026-11`, `2026-Q4`, `2026`, `30d`,
    `2026-11-03..2026-11-18`), else `month`;
    without any the month that runs. Raises ValueError that says how to write it."""
    given_first, given_last = query.get("from", ""), query.get("to", "")
    if given_first or given_last:
        return _range(given_first, given_last, today)
    text = query.get("period", "") or query.get("month", "")
    if not text:
        return month_of(today, today)
    if ".." in text:
        given_first, _, given_last = text.partition("..")
        return _range(given_first, given_last, today)
    if found := _QUARTER.fullmatch(text):
        return quarter_of(date(_year(found[1]), int(found[2]) * 3, 1), today)
    if _YEAR.fullmatch(text):
        return year_of(_year(text), today)
    if found := _LAST.fullmatch(text):
        count = int(found[1])
        if not 0 < count <= DAYS_MAX:
            raise ValueError(f"period: {text} is not within 1d and {DAYS_MAX}d")
        return last_days(count, today)
    key = parse_month(text)
    return month_of(date(_year(key[:4]), int(key[4:]), 1), today)


def _range(given_first: str, given_last: str, today: date) -> Period:
    first, last = _day(given_first or given_last, "from"), _day(given_last, "to") if given_last else today
    if first > last:
        raise ValueError(f"from: {first} is after {last}; the earlier day comes first")
    if (last - first).days >= DAYS_MAX:
        raise ValueError(
            f"from, to: {first} to {last} is more than the {DAYS_MAX} days that the ledger keeps"
        )
    return days_of(first, last, today)


def _day(text: str, name: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as e:
        raise ValueError(
            f"{name}: not a day: {text!r}; write it as YYYY-MM-DD, for example 2026-11-18"
        ) from e
    _year(f"{day.year:04d}")
    return day


def _year(text: str) -> int:
    year = int(text)
    if not 2000 <= year <= 2200:
        raise ValueError(f"not a year of these books: {text}")
    return year


def choices(today: date, months: int) -> list[tuple[str, list[Period]]]:
    """What a picker offers, in groups: (heading, periods)."""
    quarter = quarter_of(today, today)
    last = [last_days(n, today) for n in LAST_DAYS]
    month, listed = month_of(today, today), []
    for _ in range(months):
        listed.append(month)
        month = month.earlier
    return [
        ("Months", listed),
        (
            "Quarters and years",
            [quarter, quarter.earlier, quarter.earlier.earlier, year_of(today.year, today)],
        ),
        ("Days", last),
    ]


def last_days(count: int, today: date) -> Period:
    """So many days, today the last."""
    made = days_of(today - timedelta(days=count - 1), today, today)
    return Period(made.first, made.last, today, f"Last {count} days", (("period", f"{count}d"),), "days")


def key_of(day: date) -> str:
    """`YYYYMMDD`, as the ledger names a day."""
    return f"{day:%Y%m%d}"


def date_of(key: str) -> date:
    """The day of the ledger's name for it."""
    return date(int(key[:4]), int(key[4:6]), int(key[6:]))


def days_between(first: date, last: date) -> list[str]:
    """The keys of all days, both ends included."""
    return [key_of(first + timedelta(days=n)) for n in range((last - first).days + 1)]


def months_between(first: date, last: date) -> list[str]:
    """The keys of the months that a range touches."""
    start, end = first.year * 12 + first.month - 1, last.year * 12 + last.month - 1
    return [f"{n // 12:04d}{n % 12 + 1:02d}" for n in range(start, end + 1)]
