"""Where a month's spend leads. Pure; amounts are nano-USD, times milliseconds since the epoch (UTC).

The method, stated (`METHOD`): the pace is the mean spend a day over the last seven days, today's part
included, the window cut to when the spend began and never taken shorter than one day; the forecast is the
month to date plus the pace times what is left of the month. So a single burst on a young budget is spread
over a day and does not predict a fortune, a weekend is always within the window, and spend that stopped fades
out within a week. Without a daily history the pace is the month to date over the month's elapsed time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from spendgate.months import day_key, month_key, next_month_start

METHOD = "month to date + (mean of the last 7 days) x (days left)"
WINDOW_DAYS = 7
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """`month_end_nanousd` is what will be spent by the month's end; `pace_nanousd` the spend a day."""

    month_end_nanousd: int
    pace_nanousd: int
    now_ms: int

    def exhausted_at_ms(self, settled_nanousd: int, bound_nanousd: int) -> int | None:
        """When the spend reaches the bound: now where it has, None where not within this month."""
        if settled_nanousd >= bound_nanousd:
            return self.now_ms
        if self.pace_nanousd <= 0:
            return None
        at_ms = self.now_ms + (bound_nanousd - settled_nanousd) * DAY_MS // self.pace_nanousd
        return at_ms if at_ms < _month_end_ms(self.now_ms) else None


def forecast(settled_nanousd: int, now_ms: int, daily: Mapping[str, int] | None = None) -> Forecast:
    """Forecast the month of `now_ms`. `daily` is the spend by day (`YYYYMMDD`); days missing had none."""
    elapsed_ms, spent = now_ms - _month_start_ms(now_ms), settled_nanousd
    if daily:
        days = window_days(now_ms)
        spent = sum(daily.get(day, 0) for day in days)
        first = next((i for i, day in enumerate(days) if daily.get(day, 0)), len(days) - 1)
        elapsed_ms = (len(days) - 1 - first) * DAY_MS + now_ms % DAY_MS
    elapsed_ms = max(elapsed_ms, DAY_MS)
    left_ms = _month_end_ms(now_ms) - now_ms
    return Forecast(settled_nanousd + spent * left_ms // elapsed_ms, spent * DAY_MS // elapsed_ms, now_ms)


def window_days(now_ms: int) -> list[str]:
    """The days that the pace is taken from, the oldest first, today last."""
    return [day_key(now_ms - back * DAY_MS) for back in range(WINDOW_DAYS - 1, -1, -1)]


def month_last_ms(month: str) -> int:
    """The last millisecond of a month (`YYYYMM`)."""
    start = datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)
    return _month_end_ms(int(start.timestamp() * 1000)) - 1


def previous_month(now_ms: int) -> str:
    """The month before that of `now_ms`."""
    start = datetime.fromtimestamp(_month_start_ms(now_ms) / 1000, UTC)
    return month_key(int((start - timedelta(days=1)).timestamp() * 1000))


def _month_start_ms(now_ms: int) -> int:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp() * 1000)


def _month_end_ms(now_ms: int) -> int:
    return int(next_month_start(now_ms).timestamp() * 1000)
