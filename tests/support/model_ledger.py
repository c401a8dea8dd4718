"""The ledger's rules in plain Python, to audit the scripts: no Redis, no sharing with the Lua."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from spendgate.budget.bounds import Bound
from spendgate.ledger.port import ReserveRequest, Settlement
from spendgate.months import day_key, hour_key, month_key

WINDOW_KEYS = {"month": month_key, "day": day_key, "hour": hour_key, "run": lambda _: "-"}


@dataclass
class Hold:
    amount: int
    candidate: int
    app: str
    model: str
    counters: list[str]
    day: str
    deadline: int


def counter_name(bound: Bound, at_ms: int) -> str:
    return f"{bound.scope}:{WINDOW_KEYS[bound.window](at_ms)}"


class ModelLedger:
    """One team."""

    def __init__(self) -> None:
        self.settled: Counter[str] = Counter()
        self.reserved: Counter[str] = Counter()
        self.cost: Counter[tuple[str, str, str]] = Counter()
        self.exchanges: Counter[tuple[str, str, str]] = Counter()
        self.holds: dict[str, Hold] = {}
        self.expired: dict[str, Hold] = {}
        self.ended: set[str] = set()

    def committed(self, counter: str) -> int:
        return self.settled[counter] + self.reserved[counter]

    def sweep(self, now: int, limit: int) -> list[str]:
        due = sorted((h.deadline, i) for i, h in self.holds.items() if h.deadline <= now)[:limit]
        for _, i in due:
            hold = self.expired[i] = self.holds.pop(i)
            for c in hold.counters:
                self.settled[c] += hold.amount
                self.reserved[c] -= hold.amount
            self._count(hold.day, hold.app, hold.model, hold.amount, 1)
        return [i for _, i in due]

    def reserve(self, ask: ReserveRequest, now: int) -> tuple[int, int]:
        self.sweep(now, 8)
        known = self.holds.get(ask.exchange_id) or self.expired.get(ask.exchange_id)
        if known:
            return known.candidate, known.amount
        if ask.exchange_id in self.ended:
            return 0, 0
        for index, c in enumerate(ask.candidates):
            fits = all(
                b.floor_nanousd < 0
                or (
                    self.committed(counter_name(b, now)) < b.floor_nanousd
                    and self.committed(counter_name(b, now)) + c.estimate_nanousd <= b.ceiling_nanousd
                )
                for b in c.bounds
            )
            if fits:
                counters = [counter_name(b, now) for b in c.bounds]
                for name in counters:
                    self.reserved[name] += c.estimate_nanousd
                self.holds[ask.exchange_id] = Hold(
                    c.estimate_nanousd, index, ask.app, c.model, counters, day_key(now), now + ask.ttl_ms
                )
                return index, c.estimate_nanousd
        return -1, 0

    def settle(self, s: Settlement, now: int) -> str:
        cost = 0 if s.release else s.cost_nanousd
        word = "released" if s.release else "settled"
        if s.exchange_id in self.ended:
            return "replayed"
        self.ended.add(s.exchange_id)
        if hold := self.holds.pop(s.exchange_id, None):
            for c in hold.counters:
                self.settled[c] += cost
                self.reserved[c] -= hold.amount
        elif hold := self.expired.pop(s.exchange_id, None):
            word = "corrected"
            for c in hold.counters:
                self.settled[c] += cost - hold.amount
            self._count(hold.day, hold.app, hold.model, -hold.amount, -1)
        else:
            hold = Hold(0, 0, s.app, s.model, [], day_key(s.at_ms), 0)
            for scope, window in s.scopes if not s.release else ():
                self.settled[f"{scope}:{WINDOW_KEYS[window](s.at_ms)}"] += cost
        if not s.release:
            self._count(hold.day, hold.app, s.model, cost, 1)
        return word

    def renew(self, ids: list[str], ttl_ms: int, now: int) -> int:
        held = [i for i in ids if i in self.holds]
        for i in held:
            self.holds[i].deadline = now + ttl_ms
        return len(held)

    def _count(self, day: str, app: str, model: str, cost: int, exchanges: int) -> None:
        self.cost[day, app, model] += cost
        self.exchanges[day, app, model] += exchanges
