"""The short ways of `reserve.lua` and `settle.lua` answer and write what their long ways would: two teams live the same
lives, one of them by scripts that have no short way, and that settle one exchange after the other."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from support.asks import T0, ask, bound, candidate, end
from support.histories import DAY_MS, PICTURE, PREFIX, VERBS, Histories, lua, run_histories, wanted

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult, Settlement
from spendgate.ledger.redis.calls import LONG_WAY, Script
from spendgate.ledger.redis.codec import (
    clean,
    reserve_argument,
    reserve_result,
    settle_argument,
    team_prefix,
    text,
)
from spendgate.money import LEDGER_MAX_NANOUSD

TWIN = team_prefix("twin")
TTL_APART_MS = 5_000
LONG = {
    "reserve": ("if c and not (c.h or ask.again", "if false and not (c.h or ask.again"),
    "settle": ("local PLAIN_MAX = math.min(#batch, 1000)", "local PLAIN_MAX = 0"),
}
"""What makes a verb take the long way always."""


class Twins:
    """The verbs as they are shipped on one team; on its twin by the long way alone."""

    def __init__(self, client: sync_redis.Redis) -> None:
        self.client = client
        shipped = {verb: Script(verb).text for verb in VERBS}
        long_alone = dict(shipped)
        for verb, (short, long) in LONG.items():
            assert shipped[verb].count(short) == 1
            long_alone[verb] = shipped[verb].replace(short, long)
        self._shas = [
            {verb: client.script_load(source) for verb, source in way.items()}
            for way in (shipped, long_alone)
        ]
        self.short = 0
        """How many reservations went the short way."""

    def run(self, verb: str, *arguments: Any) -> Any:
        """What the team is told; the same was said to its twin."""
        first, *batch = arguments
        told = self._one(0, verb, *arguments)
        if verb == "settle":
            twins = [self._one(1, verb, first, argument)[0] for argument in batch]
            assert told[:-1] == twins  # the last is Redis' own time
        else:
            twins = self._one(1, verb, *arguments)
        self.compare()
        if verb == "settle":
            return told
        if verb != "reserve" or isinstance(told, list):
            assert told == twins
        else:
            self.short += 1
            candidate, _, cap, settled, reserved, now, replayed, refusals, expired, standing, *rest = twins
            assert (cap, replayed, refusals, expired, rest) == (b"-1", 0, [], [], [b"", 0, [], []])
            assert candidate == orjson.loads(arguments[0]).get("i", 0)
            assert [settled, reserved] == standing[:2]
            assert [int(n) for n in told.split()] == [int(now), *standing]
        self.twins = twins
        return told

    def _one(self, twin: int, verb: str, *arguments: Any) -> Any:
        return self.client.evalsha(self._shas[twin][verb], 1, f"{(PREFIX, TWIN)[twin]}holds", *arguments)

    def reserve(self, request: ReserveRequest, now: int) -> ReserveResult:
        """The same by either reply."""
        told = self.run("reserve", reserve_argument(request, now))
        result = reserve_result(request, told)
        assert result == reserve_result(request, self.twins)
        return result

    def state(self, prefix: str) -> tuple[dict[str, Any], dict[str, int]]:
        """What every key of a team holds, byte for byte; and how long it lives."""
        values: dict[str, Any] = {}
        lives: dict[str, int] = {}
        for key, _, value, ttl in self.client.eval(PICTURE, 0, prefix + "*"):
            name = text(key).removeprefix(prefix)
            values[name] = value if name == "due" else sorted(value)
            if name.startswith("d:"):  # what was added and taken back in one batch leaves no zero
                pairs = zip(value[::2], value[1::2], strict=True)
                values[name] = {f: n for f, n in pairs if n != b"0" or f.endswith(b"#")}
            lives[name] = ttl
        return values, lives

    def compare(self) -> None:
        (values, lives), (twins, theirs) = self.state(PREFIX), self.state(TWIN)
        assert values == twins
        for key, ttl in lives.items():
            assert (ttl < 0) == (theirs[key] < 0), key
            assert abs(ttl - theirs[key]) < TTL_APART_MS, (key, ttl, theirs[key])


class TwinHistories(Histories):
    """As all histories, with a twin."""

    made: list[Twins]

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.scripts = Twins(self.client)  # type: ignore[assignment]
        self.made.append(self.scripts)  # type: ignore[arg-type]


def test_every_history_is_the_same_either_way(redis_client: sync_redis.Redis) -> None:
    TwinHistories.made = []
    run_histories(redis_client, wanted(150), machine=TwinHistories)
    short = sum(twins.short for twins in TwinHistories.made)
    assert short > len(TwinHistories.made) // 10  # they play around midnight, where the long way is taken


names = st.sampled_from(["chat", 'a "quoted" \\ name', "größe/…", "limit:usd:x", "x:attempts"]) | st.text(
    max_size=8
)
amounts = st.sampled_from([0, 1, 1000, LEDGER_MAX_NANOUSD // 2, LEDGER_MAX_NANOUSD]) | st.integers(
    0, LEDGER_MAX_NANOUSD
)
limits = st.just(UNLIMITED) | amounts
scopes = st.sampled_from(
    [("day", "day"), ("hour", "hour"), ("model:gpt-*", "month"), ("run:r", "run"), ("app:ü\"", "month"), ("x", "total"),
     ("limit:usd:team:month::it", "month"), ("limit:tokens:team:day::it", "day"), ("limit:requests:app:day::x", "day")]
)  # fmt: skip


PERIODS = (T0 // 1000 - 86_400, T0 // 1000, T0 // 1000 + 5)


def unit_of(scope: str) -> Any:
    return scope.split(":")[1] if scope.startswith("limit:") else "usd"


@st.composite
def requests(draw: st.DrawFn) -> ReserveRequest:
    def one(scope: str, window: str) -> Bound:
        floor = draw(limits)
        ceiling, unit, of_limits = max(floor, draw(limits)), unit_of(scope), scope.startswith("limit:")
        many = scope.rpartition(":")[0] + ":" if of_limits and draw(st.booleans()) else ""
        periods = PERIODS if of_limits and draw(st.booleans()) else ()
        return Bound(scope, window, floor, ceiling, "r", unit=unit, values_of=many, periods=periods)

    def choice() -> Candidate:
        own = draw(st.lists(scopes, max_size=3, unique=True))
        bounds = (one("month", "month"), *(one(*pair) for pair in own))
        start, below = draw(st.sampled_from([(0, UNLIMITED), (0, UNLIMITED), (0, 1000), (1000, UNLIMITED)]))
        return Candidate(
            clean(draw(names)), draw(amounts), bounds, used_from_nanousd=start, used_below_nanousd=below,
            tokens=draw(st.integers(0, 1000)),
        )  # fmt: skip

    return ReserveRequest(
        clean(draw(names)),
        "red",
        draw(names),
        draw(st.integers(0, 10_000)),
        tuple(choice() for _ in range(draw(st.integers(0, 2)))),
        first_candidate=draw(st.integers(0, 2)),
    )


times = st.sampled_from([0, 0, 1, 5_000, 10_001, DAY_MS // 2, DAY_MS, -1, -10_000])


@settings(max_examples=wanted(250), suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(requests(), times, st.booleans()), min_size=1, max_size=8))
def test_whatever_is_asked_for_both_ways_say_and_write_the_same(
    redis_client: sync_redis.Redis, steps: list[tuple[ReserveRequest, int, bool]]
) -> None:
    redis_client.flushall()
    twins, now = Twins(redis_client), T0
    for request, ms, ends in steps:
        now += ms
        result = twins.reserve(request, now)
        if ends and result.candidate >= 0:
            cost = result.held_nanousd // 2
            twins.run("settle", now, settle_argument(end(request.exchange_id, cost, at_ms=now)))


@pytest.mark.parametrize("ms", [0, 1, 599_999, 600_000, DAY_MS - 600_000, DAY_MS - 1])
def test_what_ended_before_is_known_around_midnight(redis_client: sync_redis.Redis, ms: int) -> None:
    redis_client.flushall()
    twins, midnight = Twins(redis_client), T0 - T0 % DAY_MS
    for at in (midnight + ms - 599_999, midnight + ms, midnight + ms + 599_999):
        for name in ("x", f"y{at}"):
            twins.reserve(ask(name, candidate(10)), at)
            twins.run("settle", at, settle_argument(end(name, 5, at_ms=at)))


def test_limits_take_the_short_way_once_their_counters_are_there(redis_client: sync_redis.Redis) -> None:
    redis_client.flushall()
    twins = Twins(redis_client)
    base = "limit:usd:user:month::"
    known = replace(bound(scope=base + "ann"), values_of=base)
    timed = replace(bound(scope="limit:tokens:team:day::it", window="day"), unit="tokens", periods=PERIODS)
    asked = candidate(10, bound(), known, TOKENS, REQUESTS, timed, tokens=30)
    for n in range(4):
        result = twins.reserve(ask(f"x{n}", asked), T0)
    assert twins.short == 3
    assert result.counters == ((0, 40), (0, 40), (0, 120), (4, 0), (0, 120))


def test_the_short_way_is_taken(redis_client: sync_redis.Redis) -> None:
    redis_client.flushall()
    twins = Twins(redis_client)
    for n in range(5):
        assert twins.reserve(ask(f"x{n}", candidate(10)), T0).candidate == 0
    assert twins.short == 5
    assert twins.reserve(ask("x0", candidate(10)), T0).replayed
    assert twins.short == 5


class Life:
    """Reservations, then settlements of all kinds in batches."""

    def __init__(self, client: sync_redis.Redis) -> None:
        client.flushall()
        self.twins, self.now = Twins(client), T0

    def hold(self, *ids: str, estimate: int = 100) -> None:
        bounds = (
            bound(),
            bound(scope="hour", window="hour"),
            bound(scope="run:r", window="run"),
            TOKENS,
            REQUESTS,
        )
        for i in ids:
            self.twins.reserve(ask(i, candidate(estimate, *bounds, tokens=30)), self.now)

    def settle(self, *batch: Settlement) -> list[str]:
        told = self.twins.run("settle", self.now, *map(settle_argument, batch))
        return [text(word) for word in told[:-1]]


TOKENS = replace(bound(scope="limit:tokens:team:day::it", window="day"), unit="tokens")
REQUESTS = replace(bound(scope="limit:requests:team:day::it", window="day"), unit="requests")
names_held = st.sampled_from(["a", "b", "c", "d", "e:attempts", "lost"])
costs = st.sampled_from([0, 1, 100, 10**9, LEDGER_MAX_NANOUSD // 1000, LEDGER_MAX_NANOUSD // 4])
counts = st.dictionaries(st.sampled_from(["input", "output", "cached"]), st.integers(0, 10**12), max_size=3)
SCOPES = (
    ("month", "month"),
    ("hour", "hour"),
    ("run:r", "run"),
    (TOKENS.scope, "day"),
    (REQUESTS.scope, "day"),
)


@st.composite
def settlements(draw: st.DrawFn) -> Settlement:
    """Mostly plain ones."""

    def rarely(some: st.SearchStrategy[Any], usual: Any) -> Any:
        return draw(some) if draw(st.integers(0, 7)) == 0 else usual

    return Settlement(
        draw(names_held),
        "red",
        draw(st.sampled_from(["chat", "batch"])),
        draw(st.sampled_from(["gpt-4o", "o3"])),
        draw(costs),
        draw(counts),
        T0,
        rarely(st.booleans(), False),
        SCOPES,
        unspent=rarely(st.sampled_from([("hour",), (REQUESTS.scope,)]), ()),
        saved_nanousd=rarely(st.sampled_from([-5, 5, LEDGER_MAX_NANOUSD]), 0),
        refused=rarely(st.integers(0, 3), 0),
        sample=rarely(st.tuples(st.integers(1, 1024), st.integers(1, 1024)), None),
        off_list_nanousd=rarely(st.sampled_from([-5, 5]), 0),
        tokens=rarely(st.sampled_from([0, 50]), None),
        acknowledged_us=rarely(st.just(T0 * 1000), 0),
    )


@settings(max_examples=wanted(250), suppress_health_check=list(HealthCheck))
@given(
    rounds=st.lists(
        st.tuples(st.lists(names_held, max_size=6), st.lists(settlements(), min_size=1, max_size=8), times),
        min_size=1,
        max_size=4,
    )
)
def test_a_batch_says_and_writes_what_its_settlements_do_one_by_one(
    redis_client: sync_redis.Redis, rounds: list[tuple[list[str], list[Settlement], int]]
) -> None:
    life = Life(redis_client)
    for held, batch, ms in rounds:
        life.hold(*(name for name in held if name != "lost"))
        life.now += ms
        life.settle(*batch)
        life.now += 70_000
        life.twins.run("expire", life.now, 2)


def test_what_a_batch_moves_is_added_up(redis_client: sync_redis.Redis) -> None:
    life = Life(redis_client)
    life.hold("first", "x", "y", "z")
    life.settle(end("first", 1))
    before = written(redis_client)
    batch = end("x", 5, usage={"input": 2}), end("y", 6, usage={"input": 3}), end("x", 7), end("z", 8)
    words = [text(w) for w in life.twins._one(0, "settle", life.now, *map(settle_argument, batch))[:-1]]
    assert words == ["settled", "settled", "replayed", "settled"]
    cell = redis_client.hgetall(f"{PREFIX}d:20261118")
    counted = {text(field).split("\x1f")[2]: int(n) for field, n in cell.items()}
    assert counted == {"#": 4, "$": 20, "input": 5}
    once = {"cmdstat_hdel": 2, "cmdstat_zrem": 2}  # the batch's first two, then z
    assert {name: written(redis_client)[name] - before[name] for name in once} == once


def written(client: sync_redis.Redis) -> dict[str, int]:
    """How often Redis ran each command."""
    return {name: row["calls"] for name, row in client.info("commandstats").items()}


def test_sums_of_large_amounts_are_exact(redis_client: sync_redis.Redis) -> None:
    life, ids = Life(redis_client), [f"x{n}" for n in range(9)]
    life.hold("first", *ids)
    life.settle(end("first", 1))
    odd = 2**53 // 1000
    words = life.settle(*(end(i, odd - n % 2 if n < 6 else 2**53 - 1) for n, i in enumerate(ids)))
    assert words == ["settled"] * 9
    settled = int(redis_client.hget(f"{PREFIX}b:month:202611", "s") or 0)
    assert settled == 1 + 6 * odd - 3 + 3 * (2**53 - 1)


def test_a_day_that_is_full_counts_the_rest_of_a_batch_as_other(redis_client: sync_redis.Redis) -> None:
    life, ids = Life(redis_client), [f"x{n}" for n in range(6)]
    for prefix in (PREFIX, TWIN):
        redis_client.hset(f"{prefix}d:20261118", mapping={f"a\x1f{n}\x1f#": 1 for n in range(3_995)})
    life.hold(*ids)
    life.settle(*(end(i, 7, model=f"m{n % 4}", usage={"input": 3, "output": 2}) for n, i in enumerate(ids)))
    cells = redis_client.hgetall(f"{PREFIX}d:20261118")
    assert cells[b"other\x1fother\x1f#"] == b"2"


def test_a_batch_of_more_than_are_added_up(redis_client: sync_redis.Redis) -> None:
    life, ids = Life(redis_client), [f"x{n}" for n in range(1_005)]
    twins, life.twins.compare = life.twins, lambda: None  # type: ignore[method-assign]
    life.hold(*ids)
    assert life.settle(*(end(i, 7) for i in ids), end("x3", 8)) == ["settled"] * 1_005 + ["replayed"]
    Twins.compare(twins)


@pytest.mark.parametrize("verb", LONG)
def test_a_short_way_uses_nothing_that_is_made_after_it(verb: str) -> None:
    """Lua would look for it among the globals, at run time."""
    short = Script(verb).text.split(f"{LONG_WAY}.")[0]
    later = lua("common").split(f"{LONG_WAY} of {verb}.")[1] + lua(verb).split(f"{LONG_WAY}.")[1]
    made = set(re.findall(r"^local (?:function )?(\w+)", later, re.MULTILINE))
    used = set(re.findall(r"\w+", re.sub(r"--.*|'[^']*'", "", short)))
    assert made
    named = re.findall(r"local (?!function)([\w, ]+)|function \w+\((.*)\)|function (\w+)|for (.*) in", short)
    named += re.findall(r"()function (\w+)", short)
    assert made & used <= set(re.findall(r"\w+", " ".join(", ".join(words) for words in named)))
