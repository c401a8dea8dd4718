"""The ledger's rules in plain Python, to audit the scripts: no Redis, no sharing with the Lua. One team."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from spendgate.budget.bounds import Bound, Candidate
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.exchanges import Growing, ReserveRequest, Settlement
from spendgate.months import day_key, hour_key, month_key

WINDOW_KEYS: dict[str, Callable[[int], str]] = {
    "month": month_key,
    "day": day_key,
    "hour": hour_key,
    "run": lambda _: "-",
}
DAY_MS = 86_400_000
FORGOTTEN_BY_PASS = 8
SWEPT_BY_RESERVE = 8
TOPS = [*range(1, 17), *(n << k for k in range(1, 7) for n in range(9, 17))]
"""What ratios are kept as: the next of these."""


@dataclass
class Hold:
    amount: int
    candidate: int
    app: str
    model: str
    counters: list[tuple[str, str]]
    """(name, window)"""
    day: str
    deadline: int
    at: int
    worst: int
    """What it is charged if nobody settles it."""


def counter_name(bound: Bound, at_ms: int) -> str:
    return f"{bound.scope}:{WINDOW_KEYS[bound.window](at_ms)}"


class ModelLedger:
    def __init__(self) -> None:
        self.settled: Counter[str] = Counter()
        self.reserved: Counter[str] = Counter()
        self.cost: Counter[tuple[str, str, str]] = Counter()
        self.adjusted: Counter[tuple[str, str, str]] = Counter()
        self.exchanges: Counter[tuple[str, str, str]] = Counter()
        self.holds: dict[str, Hold] = {}
        self.expired: dict[str, Hold] = {}
        self.ended: dict[str, int] = {}
        """Exchange → number of the day on which it ended."""
        self.refusals: list[tuple[int, int, int, int, bool]] = []
        """Of the last reservation: (candidate, bound, settled, reserved, only held)."""
        self.adjustments: dict[str, Adjustment] = {}
        self.closed: set[str] = set()
        self.samples: dict[tuple[str, str], list[tuple[int, int]]] = {}
        """(app, model) → how true costs compared with their worst cases."""
        self.passes: dict[str, list[int]] = {}
        """Digest → when it passed, since its window began."""
        self.loop: tuple[int, int] | None = None
        """Of the last reservation: (how often it had passed, ms until it may again)."""

    def committed(self, counter: str) -> int:
        return self.settled[counter] + self.reserved[counter]

    def sweep(self, now: int, limit: int) -> list[str]:
        due = sorted((h.deadline, i) for i, h in self.holds.items() if h.deadline <= now)[:limit]
        for _, i in due:
            hold = self.expired[i] = self.holds.pop(i)
            for c, _ in hold.counters:
                self.settled[c] += hold.worst
                self.reserved[c] -= hold.amount
            self._count(hold.day, hold.app, hold.model, hold.worst, 1)
        return [i for _, i in due]

    def has_ended(self, exchange_id: str, now: int, within_ms: int) -> bool:
        day = self.ended.get(exchange_id)
        return day is not None and (now - within_ms) // DAY_MS <= day <= now // DAY_MS + 1

    def reserve(self, ask: ReserveRequest, now: int) -> tuple[int, int, bool]:
        """(candidate, held, replayed)"""
        self.refusals, self.loop = [], None
        self.sweep(now, SWEPT_BY_RESERVE)
        known = self.holds.get(ask.exchange_id) or self.expired.get(ask.exchange_id)
        if known:
            return known.candidate, known.amount, True
        if self.has_ended(ask.exchange_id, now, 600_000):
            return 0, 0, True
        if ask.repeats is not None:
            r = ask.repeats
            passed = self.passes.get(r.digest, [])
            if passed and passed[0] + r.window_ms <= now:
                passed = self.passes[r.digest] = []
            if len(passed) >= r.max:
                self.loop = len(passed), passed[0] + r.window_ms - now
                if r.refuses:
                    return -1, 0, False
        month = self.settled[f"month:{month_key(now)}"]
        open_now = [
            (i, c)
            for i, c in enumerate(ask.candidates)
            if month + c.own_nanousd >= c.used_from_nanousd
            and (c.used_below_nanousd < 0 or month + c.own_nanousd < c.used_below_nanousd)
        ]
        for index, c in open_now:
            amount = self.needed(ask.app, c)
            if all(self._fits(b, amount, now) for b in c.bounds):
                return self._hold(ask, index, c, amount, c.estimate_nanousd, now)
            self.refusals.append(self._refusal(index, c, amount, now))
        for index, c in open_now:
            part = self._useful_part(c, now)
            if part is not None:
                return self._hold(ask, index, c, part, part, now)
        return -1, 0, False

    def needed(self, app: str, c: Candidate) -> int:
        """What is to be held for a candidate."""
        known = self.samples.get((app, c.model), [])
        if c.learned is None or len(known) < c.learned.samples:
            return c.estimate_nanousd
        h = c.learned
        brought, made = (
            sorted(TOPS[bisect_left(TOPS, sample[side])] for sample in known)[
                -(-len(known) * h.percentile // 100) - 1
            ]
            for side in (0, 1)
        )
        learned = h.fees_nanousd + max(h.input_min_nanousd, -(-h.input_nanousd * brought // 1024))
        return min(c.estimate_nanousd, learned + -(-h.output_nanousd * made // 1024))

    def _refusal(self, index: int, c: Candidate, amount: int, now: int) -> tuple[int, int, int, int, bool]:
        without = ModelLedger()
        without.settled = self.settled  # as it would be, were nothing held
        waits = (
            all(without._fits(b, amount, now) for b in c.bounds) or without._useful_part(c, now) is not None
        )
        judge = self if waits else without
        j = next(j for j, b in enumerate(c.bounds) if not judge._fits(b, amount, now))
        name = counter_name(c.bounds[j], now)
        return index, j, self.settled[name], self.reserved[name], waits

    def in_flight(self, bound: Bound, now: int) -> set[tuple[int, int]]:
        """(age, amount) of the holds in a bound's counter."""
        name = counter_name(bound, now)
        return {
            (max(0, now - h.at), h.amount) for h in self.holds.values() if name in (c for c, _ in h.counters)
        }

    def _fits(self, b: Bound, amount: int, now: int) -> bool:
        committed = self.committed(counter_name(b, now))
        return b.floor_nanousd < 0 or (
            committed < b.floor_nanousd and committed + amount <= b.ceiling_nanousd
        )

    def _useful_part(self, c: Candidate, now: int) -> int | None:
        if c.clamp is None:
            return None
        room = c.estimate_nanousd
        for b in c.bounds:
            if b.floor_nanousd >= 0:
                room = min(room, b.floor_nanousd - self.committed(counter_name(b, now)))
        tokens = (room - c.clamp.fixed_nanousd) * 1000 // max(c.clamp.output_picousd_per_token, 1)
        if tokens < max(c.clamp.output_tokens_min, 1):
            return None
        return min(room, c.clamp.fixed_nanousd + -(-tokens * c.clamp.output_picousd_per_token // 1000))

    def _hold(
        self, ask: ReserveRequest, index: int, c: Candidate, amount: int, worst: int, now: int
    ) -> tuple[int, int, bool]:
        if ask.repeats is not None:
            self._forget(now, ask.repeats.window_ms)
            self.passes.setdefault(ask.repeats.digest, []).append(now)
        counters = [(counter_name(b, now), b.window) for b in c.bounds]
        for name, _ in counters:
            self.reserved[name] += amount
        self.holds[ask.exchange_id] = Hold(
            amount, index, ask.app, c.model, counters, day_key(now), now + ask.ttl_ms, now, worst
        )
        return index, amount, False

    def _forget(self, now: int, window_ms: int) -> None:
        """A pass forgets windows that are over, the oldest first; a clock that is set back does not bring them back."""
        over = sorted((p[0] + window_ms, d) for d, p in self.passes.items() if p and p[0] + window_ms <= now)
        for _, digest in over[:FORGOTTEN_BY_PASS]:
            del self.passes[digest]

    def settle(self, s: Settlement, now: int) -> str:  # noqa: C901  # read beside settle.lua, in its order
        cost = 0 if s.release else s.cost_nanousd
        word = "released" if s.release else "settled"
        hold = self.holds.pop(s.exchange_id, None)
        if hold:
            for c, _ in hold.counters:
                self.settled[c] += cost
                self.reserved[c] -= hold.amount
            if not s.release:
                self._count(hold.day, hold.app, s.model, cost, 1)
            if s.sample is not None:
                self.samples.setdefault((hold.app, hold.model), []).append(s.sample)
        elif hold := self.expired.pop(s.exchange_id, None):
            word = "corrected"
            if hold.day[:6] in self.closed:
                self._correct_later(hold, s, cost - hold.worst, now)
            else:
                month = f"month:{hold.day[:6]}"
                below = self.settled[month] + cost - hold.worst
                if below < 0 and any(c == month for c, _ in hold.counters):
                    self.adjusted[hold.day, hold.app, hold.model] -= below
                for c, _ in hold.counters:
                    self.settled[c] = max(0, self.settled[c] + cost - hold.worst)
                self._count(hold.day, hold.app, hold.model, -hold.worst, -1)
                if not s.release:
                    self._count(hold.day, hold.app, s.model, cost, 1)
        elif self.has_ended(s.exchange_id, now, 7 * DAY_MS):
            return "replayed"
        elif not s.release:
            at = now if month_key(s.at_ms) in self.closed else s.at_ms
            for scope, window in s.scopes:
                self.settled[f"{scope}:{WINDOW_KEYS[window](at)}"] += cost
            self._count(day_key(at), s.app, s.model, cost, 1)
        self.ended[s.exchange_id] = now // DAY_MS
        return word

    def _correct_later(self, hold: Hold, s: Settlement, delta: int, now: int) -> None:
        months = [
            f"{c.rpartition(':')[0]}:{month_key(now)}" for c, window in hold.counters if window == "month"
        ]
        runs = [c for c, window in hold.counters if window == "run"]
        delta = max([delta, *(-self.settled[c] for c in months)])
        for c in (*months, *runs):
            self.settled[c] = max(0, self.settled[c] + delta)
        self.adjusted[day_key(now), hold.app, s.model] += delta

    def renew(self, ids: list[str], ttl_ms: int, now: int) -> int:
        held = [i for i in ids if i in self.holds]
        for i in held:
            self.holds[i].deadline = now + ttl_ms
        return len(held)

    def grow(self, g: Growing, ttl_ms: int, now: int) -> tuple[int, int]:
        """(held, room left)"""
        hold = self.holds[g.exchange_id]
        hold.deadline = now + ttl_ms
        pairs = zip(hold.counters, g.ceilings, strict=True)
        rooms = [ceiling - self.committed(name) for (name, _), ceiling in pairs if ceiling >= 0]
        step = max(min([g.wanted_nanousd - hold.amount, *rooms]), g.flowed_nanousd - hold.amount, 0)
        for name, _ in hold.counters:
            self.reserved[name] += step
        hold.amount += step
        hold.worst = max(hold.worst, hold.amount)
        return hold.amount, max(min(rooms) - step, 0) if rooms else -1

    def adjust(self, a: Adjustment, now: int) -> str:
        if (known := self.adjustments.get(a.adjustment_id)) is not None:
            same = (known.cost_nanousd, known.app, known.model, known.day) == (
                a.cost_nanousd, a.app, a.model, a.day,
            )  # fmt: skip
            return "replayed" if same else "differs"
        day = a.day or day_key(now)
        if day > day_key(now):
            return "day"
        if day[:6] in self.closed:
            day = day_key(now)
        names = [f"{scope}:{day[:6]}" for scope in a.scopes]
        if any(self.settled[name] + a.cost_nanousd < 0 for name in names):
            return "floor"
        for name in names:
            self.settled[name] += a.cost_nanousd
        self.adjusted[day, a.app, a.model] += a.cost_nanousd
        self.adjustments[a.adjustment_id] = a
        return "adjusted"

    def close(self, month: str, now: int) -> str:
        if month in self.closed:
            return "again"
        if month >= month_key(now - 600_000):
            return "open"
        if any(h.day[:6] == month for h in self.holds.values()):
            return "holds"
        self.closed.add(month)
        return "closed"

    def _count(self, day: str, app: str, model: str, cost: int, exchanges: int) -> None:
        self.cost[day, app, model] += cost
        self.exchanges[day, app, model] += exchanges
