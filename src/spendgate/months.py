"""UTC calendar windows as the ledger's keys: month 202611, day 20261124, hour 2026112407."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MONTH = re.compile(r"^(\d{4})-(0[1-9]|1[0-2])$")


def utc(epoch_ms: int) -> datetime:
    """Read milliseconds since the epoch as an aware UTC datetime."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def month_key(epoch_ms: int) -> str:
    """The month's key, `YYYYMM`."""
    return _month_of(epoch_ms // 60_000)


@lru_cache(maxsize=256)
def _month_of(minute: int) -> str:
    """No month ends within a minute, and every exchange asks for its month several times."""
    return utc(minute * 60_000).strftime("%Y%m")


def day_key(epoch_ms: int) -> str:
    """The day's key, `YYYYMMDD`."""
    return utc(epoch_ms).strftime("%Y%m%d")


def hour_key(epoch_ms: int) -> str:
    """The hour's key, `YYYYMMDDHH`."""
    return utc(epoch_ms).strftime("%Y%m%d%H")


def parse_month(text: str) -> str:
    """Read `YYYY-MM` as the month's key. Raises ValueError naming the form."""
    m = _MONTH.match(text)
    if not m:
        raise ValueError(f"not a month: {text!r}; write it as YYYY-MM, for example 2026-11")
    return m[1] + m[2]


def month_text(key: str) -> str:
    """`202611` → `2026-11`."""
    return f"{key[:4]}-{key[4:6]}"


def day_text(key: str) -> str:
    """`20261118` → `2026-11-18`."""
    return f"{key[:4]}-{key[4:6]}-{key[6:]}"


def next_month_start(epoch_ms: int) -> datetime:
    """The instant at which the current UTC month's budgets start anew."""
    now = utc(epoch_ms)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return datetime(year, month, 1, tzinfo=UTC)


def month_start(epoch_ms: int) -> datetime:
    """The first instant of the current UTC month."""
    now = utc(epoch_ms)
    return datetime(now.year, now.month, 1, tzinfo=UTC)


def days_before(epoch_ms: int) -> list[str]:
    """The days (`YYYYMMDD`) of the month before up to the same day of it: what a month to date is compared with."""
    last = month_start(epoch_ms) - timedelta(days=1)
    return [f"{last:%Y%m}{day:02d}" for day in range(1, min(utc(epoch_ms).day, last.day) + 1)]


def month_last_ms(month: str) -> int:
    """The last millisecond of a month (`YYYYMM`)."""
    start = datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)
    return int(next_month_start(int(start.timestamp() * 1000)).timestamp() * 1000) - 1


def previous_month(epoch_ms: int) -> str:
    """The month before the current one, `YYYYMM`."""
    return month_key(int(month_start(epoch_ms).timestamp() * 1000) - 1)


def last_months(epoch_ms: int, count: int) -> list[str]:
    """So many months (`YYYYMM`) up to the current one, the oldest first."""
    start = month_start(epoch_ms)
    months = [f"{start:%Y%m}"]
    while len(months) < count:
        start = (start - timedelta(days=1)).replace(day=1)
        months.append(f"{start:%Y%m}")
    return months[::-1]
