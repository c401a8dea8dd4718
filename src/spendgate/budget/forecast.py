"""Where a team's month leads: one function for status, alerts, metrics and pages. Pure.

Amounts are nano-USD, times milliseconds since the epoch (UTC). The method, stated in `METHOD`, step by step:

1. The history is the last 28 whole days, from the first one with spend on. A day below zero counts as 0.
2. With two weeks of it each weekday has a weight: the median of its days, over the mean of all seven medians.
   Before that all weekdays weigh the same.
3. The level (spend of a mean day) is taken from the last seven whole days: their sum over the sum of their
   weights, after a day that is above three times the median (weekday considered) is cut down to that. So one
   burst does not foretell a fortune, a change of pace is believed within days, and spend that stopped fades
   out within a week.
4. With less than three whole days the level is all that was spent over the time it took, at least one day.
   Where no day has spend (a month whose days were lost) it is the month to date over the month's time.
5. The rest of today is its weekday's share; where today has already spent twice what its weekday usually does
   in a whole day, it goes on at its own pace. The days after it are level x weight, to the month's end.

6. It is made for the beginning of the hour: whoever shows it within an hour shows the same, and a budget at
   rest has a forecast at rest.

What it cannot know: a change that has not begun. `tests/unit/budget/test_forecast.py` prints its error on
synthetic months.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

from spendgate.months import day_key, month_start, next_month_start, utc
from spendgate.values import dataclass

METHOD = "month to date + (level of the last 7 days, bursts cut) x (weight of each weekday left)"
HISTORY_DAYS = 28
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
LEVEL_DAYS = 7
YOUNG_DAYS = 3
WEEKDAY_DAYS = 14
BURST = 3
PACE_MS = DAY_MS // 4
"""Today's own pace is taken over no less than this."""
_ONE = 1000
_SLIGHT = 50
"""A weekday of so small a weight says nothing about the level."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """`pace_nanousd` is the spend of a mean day; `spans` what is expected from now on: (until ms, nano-USD)."""

    now_ms: int
    settled_nanousd: int
    pace_nanousd: int
    spans: tuple[tuple[int, int], ...]

    @property
    def month_end_nanousd(self) -> int:
        """What will have been spent by the month's end."""
        return self.settled_nanousd + sum(nano for _, nano in self.spans)

    def exhausted_at_ms(self, bound_nanousd: int) -> int | None:
        """When the spend reaches the bound: now where it has, None where not within this month."""
        left = bound_nanousd - self.settled_nanousd
        if left <= 0:
            return self.now_ms
        start = self.now_ms
        for end, nano in self.spans:
            if nano >= left:
                at = start + (end - start) * left // nano
                return at if at < self.spans[-1][0] else None
            left -= nano
            start = end
        return None


def history_days(now_ms: int) -> list[str]:
    """The days (`YYYYMMDD`) that `forecast` wants the spend of: the oldest first, today last."""
    return [day_key(now_ms - back * DAY_MS) for back in range(HISTORY_DAYS, -1, -1)]


def forecast(daily: Sequence[int], now_ms: int, settled_nanousd: int | None = None) -> Forecast:
    """Forecast the month of `now_ms` from the spend of each day, the oldest first, today's part last.

    `settled_nanousd` is the month to date; None: the sum of this month's days in `daily`.
    """
    now_ms -= now_ms % HOUR_MS
    now = utc(now_ms)
    if settled_nanousd is None:
        settled_nanousd = sum(daily[-now.day :])
    today_ms, weekday = now_ms % DAY_MS, now.weekday()
    today, whole = _split(daily)
    weights = _weights(whole, weekday)
    if len(whole) >= YOUNG_DAYS:
        level = _level(whole[-LEVEL_DAYS:], weights, weekday)
    else:
        spent, took_ms = sum(whole) + today, len(whole) * DAY_MS + today_ms
        if not spent:
            spent, took_ms = max(0, settled_nanousd), now_ms - int(month_start(now_ms).timestamp() * 1000)
        level = spent * DAY_MS // max(took_ms, DAY_MS)
    usual = level * weights[weekday] // _ONE
    pace = today * DAY_MS // max(today_ms, PACE_MS) if today > 2 * usual and whole else usual
    end_ms = int(next_month_start(now_ms).timestamp() * 1000)
    until = now_ms - today_ms + DAY_MS
    spans = [(until, pace * (until - now_ms) // DAY_MS)]
    while until < end_ms:
        weekday = (weekday + 1) % 7
        until += DAY_MS
        spans.append((until, level * weights[weekday] // _ONE))
    return Forecast(now_ms, settled_nanousd, level, tuple(spans))


def _split(daily: Sequence[int]) -> tuple[int, list[int]]:
    """Today's part, and the whole days of the history from the first with spend on."""
    spent = [max(0, n) for n in daily]
    whole = spent[-1 - HISTORY_DAYS : -1]
    first = next((i for i, n in enumerate(whole) if n), len(whole))
    return (spent[-1] if spent else 0), whole[first:]


def _weekdays(days: int, today: int) -> list[int]:
    """The weekday of each of so many days before today."""
    return [(today - days + i) % 7 for i in range(days)]


def _weights(whole: list[int], today: int) -> list[int]:
    """Each weekday's weight in thousandths; together 7,000, but for rounding."""
    if len(whole) < WEEKDAY_DAYS:
        return [_ONE] * 7
    by_weekday: list[list[int]] = [[] for _ in range(7)]
    for weekday, nano in zip(_weekdays(len(whole), today), whole, strict=True):
        by_weekday[weekday].append(nano)
    medians = [median_low(x) for x in by_weekday]
    total = sum(medians)
    return [m * 7 * _ONE // total for m in medians] if total else [_ONE] * 7


def _level(recent: list[int], weights: list[int], today: int) -> int:
    days = list(zip(_weekdays(len(recent), today), recent, strict=True))
    even = [nano * _ONE // weights[w] for w, nano in days if weights[w] > _SLIGHT]
    most = BURST * median_low(even) if even else 0
    spent = sum(
        min(nano, most * weights[w] // _ONE) if most and weights[w] > _SLIGHT else nano for w, nano in days
    )
    weight = sum(weights[w] for w, _ in days)
    return spent * _ONE // weight if weight else spent // len(recent)
