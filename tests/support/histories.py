"""Random histories of one team against the real scripts, held against the laws of the ledger and a model of it.

The laws, by name; each can fail, as the mutations in tests/integration/ledger/test_histories.py show:

bound     what is admitted fits every bound of its candidate, by what the store said before; what is refused fits none
told      a refusal names the bound and its numbers, and says whether only holds keep the request out; what is admitted
          is told how each of its bounds stands
learned   what is held of a stream is what samples say, at least its fees and its input's bound, at most its worst case;
          it grows to what has flowed, and beyond that only where every bound has room
repeats   a request passes as often as it may within its window, and no more
holds     of every counter, reserved is the sum of the holds that stand in it, and nothing is below zero
deadline  no hold outlives its deadline: a sweep leaves none that is due, a reservation sweeps eight
replay    a verb sent again changes not one key
sums      a month's settled is the sum of its cells, by app and by model
books     settled is what the model says: every true cost once, in the windows of its reservation
frozen    a closed month never changes
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import redis as sync_redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Clamp, LearnedHold
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.exchanges import Growing, Repeats, ReserveRequest, ReserveResult, Settlement
from spendgate.ledger.redis.codec import (
    SEP,
    adjust_argument,
    adjust_result,
    grow_argument,
    reserve_argument,
    reserve_result,
    settle_argument,
    team_prefix,
    text,
)
from spendgate.months import month_key
from support.asks import ask, bound, candidate, end, void
from support.model_ledger import SWEPT_BY_RESERVE, ModelLedger, counter_name

START = 1_796_083_190_000
"""Ten seconds before December 2026, so that histories cross the turn of month, day and hour."""
TEAM = "red"
PREFIX = team_prefix(TEAM)
VERBS = ("reserve", "settle", "renew", "expire", "adjust", "close")
DAY_MS = 86_400_000


LAWS = ("bound", "told", "learned", "repeats", "holds", "deadline", "replay", "sums", "books", "frozen")


class LawBroken(AssertionError):
    """`law` is one of those above."""

    def __init__(self, law: str, detail: object) -> None:
        super().__init__(f"{law}: {detail}")
        self.law = law


def check(law: str, holds: bool, detail: object) -> None:
    if not holds:
        raise LawBroken(law, detail)


def lua(name: str) -> str:
    """A file of the ledger's Lua."""
    return (files("spendgate.ledger") / "lua" / f"{name}.lua").read_text()


def sources() -> dict[str, str]:
    """Every file that the verbs are made of, to be mutated."""
    return {name: lua(name) for name in ("common", *VERBS)}


PICTURE = """
local out = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key)['ok']
  local value
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  else value = {redis.call('GET', key)} end
  out[#out + 1] = {key, kind, value, redis.call('PTTL', key)}
end
return out
"""
"""Each key of a pattern: its type, its value, and how long it lives (ms)."""


@dataclass(frozen=True)
class Picture:
    """All keys of the team, read at one instant."""

    keys: Mapping[str, Any]

    @classmethod
    def take(cls, client: sync_redis.Redis) -> Picture:
        keys: dict[str, Any] = {}
        for key, kind, value, _ in client.eval(PICTURE, 0, PREFIX.replace("[", r"\[") + "*"):
            parts = [text(v) for v in value]
            name = text(key).removeprefix(PREFIX)
            if text(kind) in ("hash", "zset"):
                keys[name] = dict(zip(parts[::2], parts[1::2], strict=True))
            else:
                keys[name] = frozenset(parts)
        return cls(keys)

    def counter(self, name: str) -> tuple[int, int]:
        fields = self.keys.get(f"b:{name}", {})
        return int(fields.get("s", 0)), int(fields.get("r", 0))

    def committed(self, name: str) -> int:
        return sum(self.counter(name))

    def counters(self, field: str) -> dict[str, int]:
        found = {k[2:]: int(v.get(field, 0)) for k, v in self.keys.items() if k.startswith("b:")}
        return {k: v for k, v in found.items() if v}

    @property
    def due(self) -> dict[str, float]:
        return {i: float(at) for i, at in self.keys.get("due", {}).items()}

    @property
    def holds(self) -> dict[str, Any]:
        import orjson

        return {i: orjson.loads(raw) for i, raw in self.keys.get("holds", {}).items()}

    @property
    def ratios(self) -> dict[tuple[str, str], Any]:
        """(app, model) → its sketch."""
        import orjson

        found = {
            tuple(k.split(SEP)): orjson.loads(v) for k, v in self.keys.get("ratios", {}).items() if k != "@"
        }
        return {(app, model): sketch for (app, model), sketch in found.items()}

    def cells(self, *signs: str) -> dict[tuple[str, str, str], int]:
        """(day, app, model) → sum of the signs."""
        found: dict[tuple[str, str, str], int] = {}
        for key, fields in self.keys.items():
            if key.startswith("d:"):
                for field, value in fields.items():
                    app, model, sign = field.split(SEP)
                    if sign in signs:
                        found[key[2:], app, model] = found.get((key[2:], app, model), 0) + int(value)
        return {k: v for k, v in found.items() if v}

    def month(self, month: str) -> dict[str, Any]:
        """What a report of the month reads."""
        return {
            k: {f: n for f, n in v.items() if n != "0"}
            for k, v in self.keys.items()
            if k.startswith(f"d:{month}") or k == f"b:month:{month}"
        }


class Scripts:
    """The verbs, from given sources, on one server."""

    def __init__(self, client: sync_redis.Redis, lua_files: Mapping[str, str]) -> None:
        self.client = client
        self._shas = {verb: client.script_load(lua_files["common"] + lua_files[verb]) for verb in VERBS}

    def run(self, verb: str, *arguments: Any) -> Any:
        return self.client.evalsha(self._shas[verb], 1, PREFIX + "holds", *arguments)


@dataclass(frozen=True)
class Limits:
    """The policy of the moment; None: not set. The pattern's name is its counter's."""

    month: int | None = 200
    day: int | None = None
    hour: int | None = 90
    pattern: str = "gpt-*"
    model: int | None = 120
    app: int | None = 150
    run: int | None = 100
    overshoot: int = 5
    downgrade_at: int = 100
    clamp: bool = True
    learned: bool = False
    percentile: int = 99


def tens(least: int, most: int) -> st.SearchStrategy[int]:
    """Round amounts meet round limits exactly, again and again."""
    return st.integers(least // 10, most // 10).map(lambda n: n * 10)


LIMITS = st.builds(
    Limits,
    month=st.none() | tens(0, 200),
    day=st.none() | tens(50, 200),
    hour=st.none() | tens(20, 120),
    pattern=st.sampled_from(["gpt-*", "gpt-4*", "*"]),
    model=st.none() | tens(10, 100),
    app=st.none() | tens(30, 150),
    run=st.none() | tens(20, 100),
    overshoot=st.sampled_from([0, 5, 50]),
    downgrade_at=tens(0, 150),
    clamp=st.sampled_from([True, True, False]),
    learned=st.booleans(),
    percentile=st.sampled_from([50, 99]),
)
ids = st.sampled_from(["x0", "x1", "x2"]) | st.sampled_from([f"x{i}" for i in range(12)])
"""Few names, so that they meet again; now and then more, so that the sweep of eight leaves some."""
amounts = st.sampled_from([0, 10, 20]) | tens(0, 60) | st.integers(0, 60)
apps = st.sampled_from(["chat", "batch"])
models = st.sampled_from(["gpt-4o", "o3"])
ratios = st.sampled_from([1, 100, 1024]) | st.integers(1, 1024)
samples = st.none() | st.tuples(ratios, ratios)
again = st.none() | st.sampled_from(["d1", "d2"])
"""What makes a request the same as another."""
PASSES, WINDOW_MS = 2, 5_000
MIN_SAMPLES = 2
"""Few, so that histories have them."""
ALL_SCOPES = (("month", "month"), ("day", "day"), ("hour", "hour"), ("run:r", "run"))


class Histories(RuleBasedStateMachine):
    """One team's life. `client` and `lua_files` are set on a subclass by `run_histories`."""

    client: sync_redis.Redis
    lua_files: Mapping[str, str]

    @initialize()
    def begin(self) -> None:
        self.client.flushall()
        self.scripts = Scripts(self.client, self.lua_files)
        self.model = ModelLedger()
        self.now = START
        self.limits = Limits()
        self.asked: list[ReserveRequest] = []
        self.settled: list[tuple[Settlement, int]] = []
        self.adjusted: list[Adjustment] = []
        self.frozen: dict[str, Any] | None = None
        self.names = itertools.count()
        self.before = Picture.take(self.client)

    # -- the world around ------------------------------------------------------------------------------------

    @rule(ms=st.integers(0, 4_000))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @rule(ms=st.sampled_from([3_600_000, 7 * 3_600_000, DAY_MS]))
    def much_time_passes(self, ms: int) -> None:
        self.now += ms

    @rule(ms=st.integers(-5_000, 5_000))
    def it_is_about_midnight(self, ms: int) -> None:
        self.now = max(self.now, (self.now // DAY_MS + 1) * DAY_MS + ms)

    @precondition(lambda self: self.now < START + 900_000)
    @rule()
    def november_is_over(self) -> None:
        self.now = START + 900_000

    @precondition(lambda self: self.now % DAY_MS < 30_000)
    @rule()
    def the_clock_is_set_back_over_midnight(self) -> None:
        self.now -= self.now % DAY_MS + 1

    @rule(ms=st.integers(1, 30_000))
    def the_clock_is_set_back(self, ms: int) -> None:
        self.now -= ms

    @rule(limits=LIMITS)
    def the_policy_changes(self, limits: Limits) -> None:
        self.limits = limits

    @rule(factor=st.sampled_from([0, 0.5, 2]))
    def the_budget_is_raised_or_lowered(self, factor: float) -> None:
        if self.limits.month is not None:
            self.limits = replace(self.limits, month=int(self.limits.month * factor))

    @rule()
    def the_pattern_is_renamed(self) -> None:
        name = "gpt-4*" if self.limits.pattern == "gpt-*" else "gpt-*"
        self.limits = replace(self.limits, pattern=name)

    @rule()
    def the_budget_is_deleted(self) -> None:
        self.limits = Limits(None, None, None, "gpt-*", None, None, None)

    # -- the verbs -------------------------------------------------------------------------------------------

    @rule(
        exchange=ids,
        dear=amounts,
        cheap=amounts,
        app=apps,
        ttl=st.integers(1, 6_000),
        run=st.booleans(),
        same=again,
        refuses=st.booleans(),
    )
    def reserve(
        self, exchange: str, dear: int, cheap: int, app: str, ttl: int, run: bool, same: str | None = None,
        refuses: bool = True,
    ) -> None:  # fmt: skip
        request = self._request(exchange, dear, cheap, app, ttl, run)
        if same is not None:
            request = replace(request, repeats=Repeats(same, PASSES, WINDOW_MS, refuses))
        expected = self.model.reserve(request, self.now)
        result = reserve_result(request, self.scripts.run("reserve", reserve_argument(request, self.now)))
        after = Picture.take(self.client)
        overdue = [i for i, at in self.before.due.items() if at <= self.now]
        left = [i for i in overdue if after.due.get(i, float("inf")) <= self.now]
        check("deadline", len(left) == max(0, len(overdue) - SWEPT_BY_RESERVE), (overdue, left))
        loop = None if result.loop is None else (result.loop.passed, result.loop.again_ms)
        check("repeats", loop == self.model.loop, (loop, self.model.loop))
        if loop is not None and refuses:
            check("repeats", result.candidate < 0 and not result.refusals, result)
        elif not result.replayed:
            self._admission(request, result.candidate, result.held_nanousd, after)
            self._learned(request, result)
        found = (result.candidate, result.held_nanousd, result.replayed)
        check("replay" if expected[2] else "books", found == expected, (found, expected))
        month = f"month:{month_key(self.now)}"
        numbers = (result.settled_nanousd, result.reserved_nanousd)
        check("books", numbers == (self.model.settled[month], self.model.reserved[month]), (numbers, month))
        self._told(request, result)
        if result.candidate >= 0:
            self.asked.append(request)

    def _learned(self, request: ReserveRequest, result: ReserveResult) -> None:
        if result.candidate < 0:
            return
        c = request.candidates[result.candidate]
        worst = c.estimate_nanousd if result.output_cap is None else result.held_nanousd
        check("learned", result.may_cost_nanousd == worst, (result, worst))
        if result.output_cap is None:
            least = c.learned.fees_nanousd + c.learned.input_min_nanousd if c.learned else worst
            held = result.held_nanousd
            check("learned", least <= held <= worst, (result, c))
            check("learned", held == self.model.needed(request.app, c), (result, c))

    @rule(exchange=ids)
    def an_app_waits_for_its_own_holds(self, exchange: str) -> None:
        self.limits = Limits(None, None, None, "gpt-*", None, app=30, run=None, clamp=False)
        for n, app in enumerate(("batch", "chat", "chat")):
            self.reserve(f"{exchange}w{n}", 20, 20, app, 6_000, False)
            self.before = Picture.take(self.client)

    @rule(same=again.filter(bool), refuses=st.booleans(), pause=st.sampled_from([0, 2_000, 5_000]))
    def a_run_sends_the_same_again(self, same: str, refuses: bool, pause: int) -> None:
        self.limits = Limits(None, None, None, "gpt-*", None, None, None)
        for _ in range(PASSES + 1):
            self.reserve(f"l{next(self.names)}", 10, 10, "chat", 6_000, False, same, refuses)
            self.before = Picture.take(self.client)
            self.now += pause

    def _told(self, request: ReserveRequest, result: ReserveResult) -> None:
        model, rows = self.model, []
        for r in result.refusals:
            bounds = request.candidates[r.candidate].bounds
            rows.append((r.candidate, bounds.index(r.bound), r.settled_nanousd, r.reserved_nanousd, r.held))
            asked = model.needed(request.app, request.candidates[r.candidate])
            check("learned", r.asked_nanousd == asked, (r, asked))
        check("told", rows == model.refusals, (rows, model.refusals))
        waits = result.waits_for
        flying = set(result.in_flight)
        check("told", flying == (model.in_flight(waits.bound, self.now) if waits else set()), (flying, waits))
        if result.candidate >= 0 and not result.replayed:
            names = [counter_name(b, self.now) for b in request.candidates[result.candidate].bounds]
            stand = tuple((model.settled[n], model.reserved[n]) for n in names)
            check("told", result.counters == stand, (result.counters, stand))

    def _request(self, exchange: str, dear: int, cheap: int, app: str, ttl: int, run: bool) -> ReserveRequest:
        x = self.limits

        def limited(limit: int | None, scope: str, window: str) -> Bound:
            if limit is None:
                return bound(scope=scope, window=window)
            return bound(limit, limit + limit * x.overshoot // 100, scope, window)

        common = [limited(x.month, "month", "month"), limited(x.day, "day", "day"),
                  limited(x.hour, "hour", "hour")]  # fmt: skip
        tail = [limited(x.app, f"app:{app}", "month")]
        if run:
            tail.append(limited(x.run, "run:r", "run"))
        clamp = Clamp(5, 2000, 3) if x.clamp else None

        def learned(amount: int) -> LearnedHold | None:
            fees, brought = amount // 10, amount // 2
            if not x.learned:
                return None
            rest = amount - fees - brought
            return LearnedHold(fees, brought // 5, brought, rest, x.percentile, MIN_SAMPLES)

        pattern = limited(x.model, f"model:{x.pattern}", "month")
        return ask(
            exchange,
            candidate(dear, *common, pattern, *tail, model="gpt-4o", learned=learned(dear),
                      used_below_nanousd=x.downgrade_at, own_nanousd=dear),
            candidate(cheap, *common, *tail, model="o3", clamp=clamp, learned=learned(cheap)),
            app=app, ttl_ms=ttl,
        )  # fmt: skip

    def _admission(self, request: ReserveRequest, index: int, held: int, after: Picture) -> None:
        before = self.before
        swept = [hold for i, hold in before.holds.items() if i not in after.holds]
        charged: Counter[str] = Counter()
        more: Counter[str] = Counter()
        for hold in swept:  # before anything was looked at
            worst = max(int(hold["e"]), int(hold.get("w", 0)))
            for counter, _ in hold["c"]:
                charged[counter[2:]] += worst
                more[counter[2:]] += worst - int(hold["e"])
        this_month = f"month:{month_key(self.now)}"
        month = before.counter(this_month)[0] + charged[this_month]

        def committed(b: Bound) -> int:
            name = counter_name(b, self.now)
            return before.committed(name) + more[name]

        def fits(c: Candidate, amount: int) -> bool:
            return all(
                b.floor_nanousd < 0
                or (committed(b) < b.floor_nanousd and committed(b) + amount <= b.ceiling_nanousd)
                for b in c.bounds
            )

        for i, c in enumerate(request.candidates):
            used = month + c.own_nanousd
            is_open = used >= c.used_from_nanousd and (
                c.used_below_nanousd < 0 or used < c.used_below_nanousd
            )
            if i == index:
                check("bound", is_open and fits(c, held), (i, held, request, before.counters("s")))
                for b in c.bounds:
                    name = counter_name(b, self.now)
                    check("bound", after.committed(name) == committed(b) + held, (name, held))
                return
            if index < 0 or i < index:
                clamped = index >= 0 and held < self.model.needed(request.app, request.candidates[index])
                needed = self.model.needed(request.app, c)
                check("bound", clamped or not (is_open and fits(c, needed)), (i, index, request))

    @rule(
        batch=st.lists(st.tuples(ids, amounts, st.booleans(), models, apps), min_size=1, max_size=4),
        sample=samples,
    )
    def settle(self, batch: list[tuple[str, int, bool, str, str]], sample: tuple[int, int] | None) -> None:
        sent = [
            replace(void(i, at_ms=START, app=app), cost_nanousd=cost)
            if is_release
            else replace(
                end(i, cost, at_ms=START, scopes=ALL_SCOPES, model=model, app=app, usage={"input": cost}),
                sample=sample,
            )
            for i, cost, is_release, model, app in batch
        ]
        expected = [self.model.settle(s, self.now) for s in sent]
        check("books", self._settle(sent) == expected, expected)
        self.settled += [(s, self.now) for s in sent]

    @precondition(lambda self: self.model.holds or self.model.expired)
    @rule(n=st.integers(0, 20), cost=amounts, is_release=st.booleans(), model=models, sample=samples)
    def settle_what_was_reserved(
        self, n: int, cost: int, is_release: bool, model: str, sample: tuple[int, int] | None
    ) -> None:
        known = [*self.model.expired, *self.model.holds]
        self.settle([(known[n % len(known)], cost, is_release, model, "chat")], sample)

    @rule(exchange=ids, app=apps, share=ratios)
    def streams_of_an_app_cost_a_share_of_their_worst_case(self, exchange: str, app: str, share: int) -> None:
        self.limits = replace(self.limits, learned=True)
        for n in range(MIN_SAMPLES):
            self.reserve(f"{exchange}s{n}", 20, 10, app, 6_000, False)
            self.before = Picture.take(self.client)
            self.settle([(f"{exchange}s{n}", 10, False, "o3", app)], (share, share))
            self.before = Picture.take(self.client)
        self.reserve(f"{exchange}left", 20, 10, app, 1, False)
        self.now += 1
        self.before = Picture.take(self.client)
        self.expire(100)

    def _settle(self, batch: list[Settlement]) -> list[str]:
        reply = self.scripts.run("settle", self.now, *(settle_argument(s) for s in batch))
        return [text(word) for word in reply[: len(batch)]]

    @rule(exchanges=st.lists(ids, max_size=4, unique=True), ttl=st.integers(1, 6_000))
    def renew(self, exchanges: list[str], ttl: int) -> None:
        expected = self.model.renew(exchanges, ttl, self.now)
        found = int(self.scripts.run("renew", self.now, ttl, *exchanges)[0])
        check("books", found == expected, (found, expected))

    @precondition(lambda self: self.model.holds)
    @rule(
        n=st.integers(0, 20),
        flowed=amounts,
        step=amounts,
        ttl=st.integers(1, 6_000),
        ceiling=st.none() | tens(0, 200),
    )
    def a_stream_grows(self, n: int, flowed: int, step: int, ttl: int, ceiling: int | None) -> None:
        exchange = [*self.model.holds][n % len(self.model.holds)]
        counters = [name for name, _ in self.model.holds[exchange].counters]
        ceilings = tuple(UNLIMITED if ceiling is None else ceiling for _ in counters)
        growing = Growing(exchange, TEAM, flowed, flowed + step, ceilings)
        before = {name: self.before.committed(name) for name in counters}
        expected = self.model.grow(growing, ttl, self.now)
        _, (_, held, room) = self.scripts.run("renew", self.now, ttl, grow_argument(growing))
        check("learned", (int(held), int(room)) == expected, (held, room, expected))
        after = Picture.take(self.client)
        for name in counters:
            grown = after.committed(name) - before[name]
            fits = ceiling is None or after.committed(name) <= ceiling
            check("learned", grown == 0 or fits or int(held) == flowed, (name, grown, growing))
        again = self.scripts.run("renew", self.now, ttl, grow_argument(growing))
        check("replay", again[1][1] == held and Picture.take(self.client) == after, (again, growing))

    @rule(limit=st.sampled_from([1, 2, 100]))
    def expire(self, limit: int) -> None:
        expected = self.model.sweep(self.now, limit)
        found = [text(row[0]) for row in self.scripts.run("expire", self.now, limit)]
        if limit == 100:
            overdue = [i for i, at in Picture.take(self.client).due.items() if at <= self.now]
            check("deadline", not overdue, overdue)
        check("books", found == expected, (found, expected))

    @rule(
        amount=st.integers(-80, 80).filter(bool),
        app=apps,
        model=models,
        day=st.sampled_from(["", "20261130", "20261201"]),
    )
    def adjust(self, amount: int, app: str, model: str, day: str) -> None:
        a = Adjustment(
            f"a{next(self.names)}", TEAM, amount, "why", app=app, model=model, day=day,
            scopes=("month", f"app:{app}"),
        )  # fmt: skip
        expected = self.model.adjust(a, self.now)
        found = self._adjust(a)
        check("books", found == expected, (a, found, expected))
        if found == "adjusted":
            self.adjusted.append(a)

    @rule()
    def all_is_taken_back(self) -> None:
        settled = self.model.settled[f"month:{month_key(self.now)}"]
        if settled > 0:
            a = Adjustment(f"a{next(self.names)}", TEAM, -settled, "credit")
            check("books", self.model.adjust(a, self.now) == self._adjust(a) == "adjusted", a)
            self.adjusted.append(a)

    def _adjust(self, a: Adjustment) -> str:
        return adjust_result(self.scripts.run("adjust", adjust_argument(a, self.now))).outcome

    @rule()
    def close_november(self) -> None:
        expected = self.model.close("202611", self.now)
        found = text(self.scripts.run("close", self.now, "202611", "ann")[0])
        check("frozen" if expected == "again" else "books", found == expected, (found, expected))
        if found == "closed":
            self.frozen = Picture.take(self.client).month("202611")

    @rule()
    def november_is_settled_and_closed(self) -> None:
        self.now = max(self.now, START + 900_000)
        self.before = Picture.take(self.client)
        self.expire(100)
        self.close_november()

    @rule(exchange=ids, cost=amounts, app=apps)
    def it_ends_just_after_midnight_and_the_clock_is_set_back(
        self, exchange: str, cost: int, app: str
    ) -> None:
        self.now = (self.now // DAY_MS + 1) * DAY_MS + 1
        self.settle([(exchange, cost, False, "o3", app)], None)
        self.now -= 10

    # -- sent again ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.settled)
    @rule(n=st.integers(0, 10**6))
    def a_settlement_is_sent_again(self, n: int) -> None:
        s, at = self.settled[-1 - n % len(self.settled)]
        if abs(self.now - at) > 6 * DAY_MS or s.exchange_id in (*self.model.holds, *self.model.expired):
            return
        before = Picture.take(self.client)
        other = replace(s, cost_nanousd=s.cost_nanousd + 1, release=not s.release)
        for again in (s, other):
            check("replay", self._settle([again]) == ["replayed"], again)
        check("replay", Picture.take(self.client) == before, s)

    @precondition(lambda self: self.asked)
    @rule(n=st.integers(0, 10**6))
    def a_reservation_is_sent_again(self, n: int) -> None:
        request = self.asked[n % len(self.asked)]
        known = (*self.model.holds, *self.model.expired)
        ended = self.model.has_ended(request.exchange_id, self.now, 600_000)
        if request.exchange_id not in known and not ended:
            return
        self.expire(100)
        before = Picture.take(self.client)
        expected = self.model.reserve(request, self.now)
        reply = reserve_result(request, self.scripts.run("reserve", reserve_argument(request, self.now)))
        check("replay", (reply.candidate, reply.held_nanousd, reply.replayed) == expected, (reply, expected))
        check("replay", expected[2] and Picture.take(self.client) == before, request)

    @precondition(lambda self: self.adjusted)
    @rule(n=st.integers(0, 10**6))
    def an_adjustment_is_sent_again(self, n: int) -> None:
        a = self.adjusted[n % len(self.adjusted)]
        before = Picture.take(self.client)
        check("replay", self._adjust(a) == "replayed", a)
        check("replay", self._adjust(replace(a, cost_nanousd=a.cost_nanousd + 1000)) == "differs", a)
        check("replay", Picture.take(self.client) == before, a)

    # -- the laws that hold at any moment ----------------------------------------------------------------------

    @invariant()
    def the_laws_hold(self) -> None:
        if not hasattr(self, "model"):
            return
        picture = self.before = Picture.take(self.client)
        if self.frozen is not None:
            check("frozen", picture.month("202611") == self.frozen, (picture.month("202611"), self.frozen))
        in_holds: dict[str, int] = {}
        for hold in picture.holds.values():
            for counter, _ in hold["c"]:
                in_holds[counter[2:]] = in_holds.get(counter[2:], 0) + int(hold["e"])
        reserved = picture.counters("r")
        check("holds", reserved == {k: v for k, v in in_holds.items() if v}, (reserved, in_holds))
        settled = picture.counters("s")
        check("holds", min([0, *settled.values(), *reserved.values()]) == 0, (settled, reserved))
        check("deadline", set(picture.due) == set(picture.holds), (picture.due, picture.holds))
        self._sums(picture)
        self._books(picture, settled, reserved)

    def _sums(self, picture: Picture) -> None:
        cells = picture.cells("$", "~")
        months = {month for day, _, _ in cells if (month := day[:6])} | {"202611", "202612"}
        for month in months:
            total = sum(v for (day, _, _), v in cells.items() if day.startswith(month))
            check("sums", total == picture.counter(f"month:{month}")[0], (month, cells))

    def _books(self, picture: Picture, settled: dict[str, int], reserved: dict[str, int]) -> None:
        model = self.model
        check("books", settled == {k: v for k, v in model.settled.items() if v}, (settled, model.settled))
        check("books", reserved == {k: v for k, v in model.reserved.items() if v}, (reserved, model.reserved))
        known = {k: v["n"] for k, v in picture.ratios.items()}
        expected_samples = {k: len(v) for k, v in model.samples.items()}
        check("learned", known == expected_samples, (known, expected_samples))
        deadlines = {i: h.deadline for i, h in model.holds.items()}
        check("deadline", picture.due == deadlines, (picture.due, deadlines))
        for signs, counts in (("$", model.cost), ("#", model.exchanges), ("~", model.adjusted)):
            expected = {k: v for k, v in counts.items() if v}
            check("books", picture.cells(signs) == expected, (signs, picture.cells(signs), expected))


def run_histories(
    client: sync_redis.Redis, count: int, lua_files: Mapping[str, str] | None = None, steps: int = 30,
    shrink: bool = True, same_again: bool = False, machine: type[Histories] = Histories,
) -> None:  # fmt: skip
    """Run `count` random histories, the same ones every time where `same_again`. Raises LawBroken for the first that
    breaks a law (the shortest, where it is shrunk)."""

    class Machine(machine):  # type: ignore[misc, valid-type]
        pass

    Machine.client = client
    Machine.lua_files = lua_files or sources()
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
            derandomize=same_again,
        ),
    )


def wanted(default: int) -> int:
    """How many histories to run: SPENDGATE_HISTORIES, where it is set."""
    return int(os.environ.get("SPENDGATE_HISTORIES", default))
