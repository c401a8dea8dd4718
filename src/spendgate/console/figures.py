"""What a page shows of a period: sums, days, and who spent, each beside the time before. Amounts are nano-USD.

Where a user is named the numbers come from usage logs, the one place that knows users; everything else comes from the
ledger. What takes long to read goes on in the background: `Waiting` tells how far it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from spendgate.console.cube import Cube, Sums, Where, added
from spendgate.console.mirror import Mirror
from spendgate.console.period import Period, key_of, months_between
from spendgate.console.usage_index import Progress, UsageIndex
from spendgate.values import dataclass

PATIENCE_S = 0.4
"""So long a page waits for its numbers; then it is shown without, and they come with the next look."""
LOG_PATIENCE_S = 0.4
"""So long a page that names users waits for the usage logs; then it says how far they are read."""
VIEW_KEPT_FOR = 10
"""A view is shown for so many times as long as it took, so that looking costs a tenth of a processor at most."""
VIEWS_KEPT = 200
SHOWN = 10
"""Rows of a table among others."""
ROWS_PER_PAGE = 100
LEDGER, USAGE_LOG = "ledger", "usage log"
CHAIN = ("team", "app", "user", "model", "provider", "day")
"""From the whole house down to a day."""


class Waiting(Exception):
    """The numbers are still being read."""


class LogsUnread(Exception):
    """The usage logs cannot be read, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One of a dimension: now, and what it cost before (0 where it was not there)."""

    name: str
    now: Sums
    before_nanousd: int

    @property
    def change_nanousd(self) -> int:
        """More (or less, below zero) than before."""
        return self.now.cost_nanousd - self.before_nanousd


@dataclass(frozen=True, slots=True)
class Table:
    """The dearest of a dimension; a whole table has those, too, that spent only before. `total` counts all of them,
    `offset` those left out before."""

    dimension: str
    rows: tuple[Row, ...]
    total: int
    offset: int = 0
    has_before: bool = True
    """Does its source reach back to the time before?"""


@dataclass(frozen=True, slots=True)
class Day:
    """A day that has begun; `before_nanousd`: the day of the time before that stands in its place, None for none."""

    day: str
    spent_nanousd: int
    before_nanousd: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What usage logs know of what the ledger has: both in nano-USD, and how far the logs are read."""

    known_nanousd: int
    ledger_nanousd: int
    since: str
    progress: Progress

    @property
    def share(self) -> float | None:
        """The part of the ledger's money of which users are known; None where nothing was spent."""
        return self.known_nanousd / self.ledger_nanousd if self.ledger_nanousd > 0 else None


@dataclass(frozen=True, slots=True)
class View:
    """Some cells of a period, and their tables. `as_of_ms`: when the source was read."""

    period: Period
    where: Where
    source: str
    as_of_ms: int
    now: Sums
    before: Sums
    days: tuple[Day, ...]
    tables: tuple[Table, ...]
    coverage: Coverage | None = None
    """None where no usage log is read here."""
    has_before: bool = True
    """Does the source reach back to the time before?"""

    @property
    def change(self) -> float | None:
        """Against the time before, as a ratio; None where that spent nothing."""
        if self.before.cost_nanousd <= 0 or not self.has_before:
            return None
        return self.now.cost_nanousd / self.before.cost_nanousd - 1

    def table(self, dimension: str) -> Table | None:
        """The table of a dimension, where there is one."""
        return next((t for t in self.tables if t.dimension == dimension), None)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A view, the versions of what it was made of, and until when it is shown though these moved on."""

    view: View
    of: object
    until_s: float


class Figures:
    """Reads for pages. Raises LedgerUnavailable, and Waiting for what takes longer than `PATIENCE_S`."""

    def __init__(self, mirror: Mirror, index: UsageIndex | None, now_ms: Callable[[], int]) -> None:
        self.mirror = mirror
        self.index = index
        self._now_ms = now_ms
        self._views: dict[object, _Kept] = {}
        self._one_at_a_time = asyncio.Lock()
        self._reading: dict[tuple[str, ...], asyncio.Task[Any]] = {}

    async def ready(self, period: Period) -> int:
        """See that a period and the time before are read; returns when they were (ms). What was read before is shown
        while it is brought up to date."""
        before = period.before
        months = sorted({*period.months, *months_between(before.first, before.last)})
        is_fresh = await self._patiently(tuple(months), lambda: self.mirror.bring(months, self._now_ms()))
        if not is_fresh and not self.mirror.as_of_ms(months):
            raise Waiting
        return self.mirror.as_of_ms(months)

    async def logs_ready(self) -> None:
        """See that usage logs are read as far as they go, for a file that names users: it is whole, or not there.
        Raises Waiting, and LogsUnread."""
        if self.index is None:
            return
        reading = self.index.nudge(self._now_ms())
        await asyncio.wait({reading}, timeout=LOG_PATIENCE_S)
        if self.index.is_caught_up:
            return
        if reading.done() and self.index.progress.problem:
            raise LogsUnread(self.index.progress.problem)
        raise Waiting

    async def view(
        self,
        period: Period,
        named: Mapping[str, str],
        dimensions: Sequence[str],
        offset: int = 0,
        shown: int = SHOWN,
    ) -> View:
        """What the cells of `named` dimensions add up to, with a table of each of `dimensions`."""
        as_of = await self.ready(period)
        if self.index is not None:
            reading = self.index.nudge(self._now_ms())
            if "user" in named or "user" in dimensions:
                await asyncio.wait({reading}, timeout=LOG_PATIENCE_S)
        key = period, tuple(sorted(named.items())), tuple(dimensions), offset, shown
        known = self._known(key, as_of)
        if known is not None:
            return known
        async with self._one_at_a_time:
            known = self._known(key, as_of)  # who asked before may have made it
            if known is not None:
                return known
            of, begun_s = self._versions(), time.monotonic()
            made = await asyncio.to_thread(self._view, period, dict(named), dimensions, offset, shown, as_of)
        now_s = time.monotonic()
        self._views = {k: v for k, v in self._views.items() if now_s < v.until_s or v.of == of}
        if len(self._views) >= VIEWS_KEPT:
            self._views.clear()
        self._views[key] = _Kept(made, of, now_s + VIEW_KEPT_FOR * (now_s - begun_s))
        return made

    def _versions(self) -> object:
        """Of all that views are made of."""
        logs = (self.index.cube.version, self.index.progress) if self.index is not None else ()
        return self.mirror.cube.version, logs

    def _known(self, key: object, as_of: int) -> View | None:
        """A view that was made, where it is still shown."""
        known = self._views.get(key)
        if known is not None and known.of == self._versions():
            return replace(known.view, as_of_ms=as_of)
        return known.view if known is not None and time.monotonic() < known.until_s else None

    def _view(
        self,
        period: Period,
        named: Mapping[str, str],
        dimensions: Sequence[str],
        offset: int,
        shown: int,
        as_of: int,
    ) -> View:
        where = Where(key_of(period.first), key_of(period.until), **named)
        before = where.within(key_of(period.before.first), key_of(period.before.last))
        source = USAGE_LOG if "user" in named else LEDGER
        cube = self._cube(source)
        by_day, by_day_before = dict(cube.by("day", where)), dict(cube.by("day", before))
        now, then = added(by_day.values()), added(by_day_before.values())
        days = _days(period, _costs(by_day), _costs(by_day_before))
        coverage = self._coverage(where, now if source == LEDGER else None)
        logs_reach = coverage is not None and "" < coverage.since <= before.first
        tables = []
        for dimension in dimensions:
            if dimension == "user" and self.index is None:
                continue
            by_logs = dimension == "user" or source == USAGE_LOG
            of = self._cube(USAGE_LOG if by_logs else LEDGER)
            made = _table(of, dimension, where, before, offset, shown)
            tables.append(replace(made, has_before=logs_reach or not by_logs))
        reaches = logs_reach or source == LEDGER
        if not reaches:
            days = tuple(replace(d, before_nanousd=None) for d in days)
        return View(period, where, source, as_of, now, then, days, tuple(tables), coverage, reaches)

    async def movers(self, period: Period, count: int) -> list[Row]:
        """The teams whose spend changed most, either way."""
        await self.ready(period)
        where = Where(key_of(period.first), key_of(period.until))
        before = where.within(key_of(period.before.first), key_of(period.before.last))

        def read() -> list[Row]:
            now, then = self.mirror.cube.costs("team", where), self.mirror.cube.costs("team", before)
            rows = [Row(t, Sums(cost_nanousd=now.get(t, 0)), then.get(t, 0)) for t in {*now, *then}]
            moved = [r for r in rows if r.change_nanousd]
            return sorted(moved, key=lambda r: (-abs(r.change_nanousd), r.name))[:count]

        return await asyncio.to_thread(read)

    def _coverage(self, where: Where, ledger: Sums | None) -> Coverage | None:
        if self.index is None:
            return None
        whole = replace(where, user=None)
        if ledger is None:
            ledger = self.mirror.cube.sums(whole)
        metered = ledger.cost_nanousd - ledger.adjusted_nanousd
        index = self.index
        return Coverage(index.cube.sums(whole).cost_nanousd, metered, index.first_day(), index.progress)

    def _cube(self, source: str) -> Cube:
        return self.mirror.cube if source == LEDGER or self.index is None else self.index.cube

    def cube_of(self, named: Mapping[str, str]) -> Cube:
        """The cube that the numbers of a page come from."""
        return self._cube(USAGE_LOG if "user" in named else LEDGER)

    async def _patiently(self, key: tuple[str, ...], make: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Wait a little for a reading; False where that was not enough, and it goes on."""
        task = self._reading.get(key)
        if task is None or task.done():
            self._reading = {k: t for k, t in self._reading.items() if not t.done()}
            task = self._reading[key] = asyncio.create_task(make())
            task.add_done_callback(lambda t: t.cancelled() or t.exception())  # told to who asks next
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if done:
            task.result()
        return bool(done)


def _costs(by_day: Mapping[str, Sums]) -> dict[str, int]:
    return {day: sums.cost_nanousd for day, sums in by_day.items()}


def _days(period: Period, now: Mapping[str, int], before: Mapping[str, int]) -> tuple[Day, ...]:
    earlier = period.earlier if period.kind != "days" else period.before
    out = []
    for n, day in enumerate(period.days):
        there = earlier.first.toordinal() + n
        is_there = there <= earlier.last.toordinal()
        then = before.get(key_of(date.fromordinal(there)), 0) if is_there else None
        out.append(Day(day, now.get(day, 0), then))
    return tuple(out)


def _table(cube: Cube, dimension: str, where: Where, before: Where, offset: int, shown: int) -> Table:
    rows = cube.by(dimension, where, shown, offset)
    is_all = offset == 0 and (shown < 0 or len(rows) < shown)
    total = len(rows) if is_all else cube.count(dimension, where)
    if dimension == "day":
        return Table(dimension, tuple(Row(name, sums, 0) for name, sums in rows), total, offset)
    names = [name for name, _ in rows]
    then = cube.costs(dimension, before, names if shown >= 0 else None)
    gone = [(name, Sums()) for name in sorted({*then} - {*names}) if then[name]]
    made = tuple(Row(name, sums, then.get(name, 0)) for name, sums in [*rows, *gone])
    return Table(dimension, made, max(total, len(made)), offset)
