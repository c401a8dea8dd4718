"""A month's growth of many counters in a few cheap queries, by the lives of those who counted.

Reading every sample of 50,000 series for a month takes many minutes whatever the query. Counters fall only when their
replica starts again, and each replica says when it did (`spendgate_start_time_seconds`: one series a replica). So its
lives are read off that gauge, and of each life only what the counters said at its end, at midnights and at the month's
edge. Replicas without that gauge (an older release) are read sample by sample, see `prometheus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from spendgate.money import usd_to_nano
from spendgate.rebuild.prometheus import (
    BEFORE,
    COST,
    Counters,
    Days,
    Labels,
    labels_of,
    selector,
    span_of,
    whole,
)
from spendgate.values import dataclass

STARTED = "spendgate_start_time_seconds"
GRID_S = 300
"""How finely lives are looked for; also Prometheus' own patience with a series (its lookback)."""
LAST_S = 7200
"""How far back the last word of a life is looked for: a scrape that failed for two hours loses nothing."""
ROWS_MAX = 200_000
"""So many values are read at midnights, each day's of every series: of 50,000 series the last four midnights. What
grew before the first one that is read is put on the day that it ends."""
CELL = ("team", "app", "model")
Cell = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a replica: its first and last sample (unix time), and when it says that it began."""

    first_s: float
    last_s: float
    began_s: float


@dataclass(slots=True)
class Totals:
    """A month's growth in nano-USD by (team, app, model) and day (`YYYYMMDD`). `reach_us`: all that was counted
    until then is in it."""

    month: str
    days: dict[Cell, dict[str, int]]
    reach_us: int

    def total(self) -> int:
        """The sum of all, nano-USD."""
        return sum(sum(by_day.values()) for by_day in self.days.values())


def read_totals(counters: Counters, month: str, now_ms: int) -> Totals:
    """What `llm_cost_usd_total` grew by in a month, up to now. Raises PrometheusError."""
    start, stop = span_of(month, now_ms)
    series = counters.series(COST, start, stop)
    if not series:
        return Totals(month, {}, 0)
    lives = _lives(counters, start, stop)
    reading = _Reading(counters, start, stop, lives, midnights=max(2, ROWS_MAX // len(series)))
    reading.read()
    targets = {target_of(labels_of(labels)) for labels in series}
    for target in sorted(targets - set(lives)):
        metric = selector(COST, target) if target else COST
        for labels, days in counters.increases(metric, month, now_ms).items():
            if target_of(labels) == target:
                for day, more in days.items():
                    reading.add(labels, day, more)
    return Totals(
        month,
        {cell: whole(by_day, usd_to_nano) for cell, by_day in reading.grown.items()},
        int(_reach_s(counters, start, stop) * 10**6),
    )


def _reach_s(counters: Counters, start: datetime, stop: datetime) -> Decimal:
    """Until when everything counted is in Prometheus: the oldest of the last scrapes of all replicas that live.

    Where none lives any more (a sample counts for five minutes), the very last scrape of any: what a replica counted
    after its last scrape is not known, but what it counted before is in the totals all the same."""
    seen = counters.vector(f"timestamp({STARTED})", stop) or counters.vector(f"timestamp({COST})", stop)
    if seen:
        return min(seen.values())
    span_s = max(1, int((stop - start).total_seconds()))
    last = counters.vector(f"max_over_time(timestamp({STARTED})[{span_s}s:{GRID_S - 60}s])", stop)
    return max(last.values(), default=Decimal(0))


def target_of(labels: Labels) -> Labels:
    """What names the replica in a counter's labels."""
    return tuple((name, value) for name, value in labels if name not in CELL)


def _lives(counters: Counters, start: datetime, stop: datetime) -> dict[Labels, list[Incarnation]]:
    points: dict[Labels, dict[float, str]] = {}
    for target, found in counters.grid(STARTED, start, stop, GRID_S).items():
        points[target] = dict(found)
    window = f"[{GRID_S + 60}s]"
    for target, samples in counters.matrix(f"{STARTED}{window}", stop).items():  # since the last grid point
        points.setdefault(target, {}).update((s, v) for s, v in samples if s >= start.timestamp())
    flipped = counters.grid(
        f"changes({STARTED}{window}) > 0", start, stop + timedelta(seconds=GRID_S), GRID_S
    )
    for target, found in flipped.items():
        for at_s, _ in found:  # it started again hereabouts: look at what was really scraped
            at = datetime.fromtimestamp(at_s, UTC)
            for samples in counters.matrix(f"{selector(STARTED, target)}{window}", at).values():
                points.setdefault(target, {}).update(
                    (s, v) for s, v in samples if start.timestamp() <= s <= stop.timestamp()
                )
    return {target: list(_runs(found)) for target, found in points.items() if found}


def _runs(points: dict[float, str]) -> Iterator[Incarnation]:
    """Neighbouring points with one value are one life."""
    first = last = began = None
    for at, text in sorted(points.items()):
        value = float(text)
        if began is not None and value != began:
            assert first is not None and last is not None
            yield Incarnation(first, last, began)
            first = None
        first, last, began = (at if first is None else first), at, value
    if first is not None and last is not None and began is not None:
        yield Incarnation(first, last, began)


@dataclass(slots=True)
class _Reading:
    """Goes through the month in time: midnights of all replicas, ends of each one's lives."""

    counters: Counters
    start: datetime
    stop: datetime
    lives: dict[Labels, list[Incarnation]]
    midnights: int
    grown: dict[Cell, Days] = field(default_factory=dict)
    known: dict[Labels, dict[Labels, Decimal]] = field(default_factory=dict)

    def read(self) -> None:
        """All events in order."""
        if not self.lives:
            return
        self._before_the_month()
        events: list[tuple[float, int, Labels, int]] = []
        days = (self.stop - self.start) // timedelta(days=1)
        ends = [self.start + timedelta(days=n) for n in range(1, days + 1)]
        events += [(m.timestamp(), 1, (), 0) for m in ends[-self.midnights :] if m < self.stop]
        for target, lives in self.lives.items():
            for i, life in enumerate(lives):
                end_s = min(life.last_s + GRID_S, self.stop.timestamp())
                if i + 1 < len(lives):
                    end_s = min(end_s, lives[i + 1].first_s - 0.001)
                if end_s < self.stop.timestamp():
                    events.append((end_s, 0, target, i))
        for at_s, is_midnight, target, i in sorted(events):
            if is_midnight:
                self._midnight(at_s)
            else:
                self._end(target, i, at_s)
        self._now()

    def add(self, series: Labels, day: str, more: Decimal) -> None:
        """Count growth of one series."""
        if more:
            labels = dict(series)
            cell = (labels.get("team", ""), labels.get("app", ""), labels.get("model", ""))
            by_day = self.grown.setdefault(cell, {})
            by_day[day] = by_day.get(day, Decimal(0)) + more

    def _before_the_month(self) -> None:
        at_s = self.start.timestamp()
        old = {target for target, lives in self.lives.items() if lives[0].began_s < at_s}
        if not old:
            return
        self._note(self.counters.vector(COST, self.start), old)
        for target in sorted(old - set(self.known)):  # not scraped around the month's first minute
            query = f"last_over_time({selector(COST, target)}[{BEFORE}])"
            self._note(self.counters.vector(query, self.start), {target})

    def _note(self, values: dict[Labels, Decimal], targets: set[Labels]) -> None:
        for series, value in values.items():
            target = target_of(series)
            if target in targets:
                self.known.setdefault(target, {})[series] = value

    def _midnight(self, at_s: float) -> None:
        at = datetime.fromtimestamp(at_s, UTC)
        steady = {t for t, lives in self.lives.items() if _lives_steadily(lives, at_s)}
        self._account(self.counters.vector(COST, at), steady, _day(at_s - 1))

    def _end(self, target: Labels, i: int, at_s: float) -> None:
        """What a life's counters said last, and none before it; the next life begins with nothing."""
        lives = self.lives[target]
        since_s = max(lives[i].first_s - GRID_S, at_s - LAST_S)
        if i > 0:
            since_s = max(since_s, lives[i - 1].last_s + 0.001)
        span_ms = max(1, int((at_s - since_s) * 1000))
        query = f"last_over_time({selector(COST, target)}[{span_ms}ms])"
        self._account(self.counters.vector(query, datetime.fromtimestamp(at_s, UTC)), {target}, _day(at_s))
        self.known[target] = {}

    def _now(self) -> None:
        at_s = self.stop.timestamp()
        living = {t: lives[-1] for t, lives in self.lives.items() if lives[-1].last_s + GRID_S >= at_s}
        old = {t for t, life in living.items() if at_s - life.first_s > LAST_S}
        if old:
            values = self.counters.vector(f"last_over_time({COST}[{LAST_S}s])", self.stop)
            self._account(values, old, _day(at_s - 0.001))
        for target in living:
            if target not in old:
                self._end(target, len(self.lives[target]) - 1, at_s)

    def _account(self, values: dict[Labels, Decimal], targets: Iterable[Labels], day: str) -> None:
        wanted = set(targets)
        for series, value in values.items():
            target = target_of(series)
            if target not in wanted:
                continue
            known = self.known.setdefault(target, {})
            before = known.get(series)
            self.add(series, day, value if before is None or value < before else value - before)
            known[series] = value


def _lives_steadily(lives: list[Incarnation], at_s: float) -> bool:
    """Is it in one and the same life since longer than Prometheus' lookback?"""
    return any(life.first_s <= at_s - GRID_S and life.last_s >= at_s - GRID_S for life in lives)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%d")
