"""The short way of `reserve.lua` answers and writes what its long way would: two teams live the same lives, one of them
by a script that has no short way."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from support.asks import T0, ask, candidate, end
from support.histories import DAY_MS, PREFIX, VERBS, Histories, lua, run_histories, wanted

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult
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
SHORT, LONG = "local told = at_once()", "local told = nil"

_STATE = """
local out = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key)['ok']
  local value
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  else value = {redis.call('GET', key)} end
  out[#out + 1] = {key, redis.call('PTTL', key), value}
end
return out
"""


class Twins:
    """The verbs as they are shipped on one team; on its twin reservations without the short way."""

    def __init__(self, client: sync_redis.Redis) -> None:
        self.client = client
        shipped = {verb: Script(verb).text for verb in VERBS}
        assert shipped["reserve"].count(SHORT) == 1
        long_alone = {**shipped, "reserve": shipped["reserve"].replace(SHORT, LONG)}
        self._shas = [
            {verb: client.script_load(source) for verb, source in way.items()}
            for way in (shipped, long_alone)
        ]
        self.short = 0
        """How many reservations went the short way."""

    def run(self, verb: str, *arguments: Any) -> Any:
        """What the team is told; the same was said to its twin."""
        told, twins = (
            self.client.evalsha(shas[verb], 1, f"{prefix}holds", *arguments)
            for prefix, shas in zip((PREFIX, TWIN), self._shas, strict=True)
        )
        self.compare()
        if verb == "settle":
            assert told[:-1] == twins[:-1]  # the last is Redis' own time
        elif verb != "reserve" or isinstance(told, list):
            assert told == twins
        else:
            self.short += 1
            candidate, _, cap, settled, reserved, now, replayed, refusals, expired, standing, *rest = twins
            assert (cap, replayed, refusals, expired, rest) == (b"-1", 0, [], [], [[], 0, [], []])
            assert candidate == orjson.loads(arguments[0]).get("i", 0)
            assert [settled, reserved] == standing[:2]
            assert [int(n) for n in told.split()] == [int(now), *standing]
        self.twins = twins
        return told

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
        for key, ttl, value in self.client.eval(_STATE, 0, prefix + "*"):
            name = text(key).removeprefix(prefix)
            values[name] = value if name.startswith("due") else sorted(value)
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


def unit_of(scope: str) -> Any:
    return scope.split(":")[1] if scope.startswith("limit:") else "usd"


@st.composite
def requests(draw: st.DrawFn) -> ReserveRequest:
    def one(scope: str, window: str) -> Bound:
        floor = draw(limits)
        return Bound(scope, window, floor, max(floor, draw(limits)), "r", unit=unit_of(scope))

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


def test_the_short_way_is_taken(redis_client: sync_redis.Redis) -> None:
    redis_client.flushall()
    twins = Twins(redis_client)
    for n in range(5):
        assert twins.reserve(ask(f"x{n}", candidate(10)), T0).candidate == 0
    assert twins.short == 5
    assert twins.reserve(ask("x0", candidate(10)), T0).replayed
    assert twins.short == 5


def test_the_short_way_uses_nothing_that_is_made_after_it() -> None:
    """Lua would look for it among the globals, at run time."""
    short = Script("reserve").text.split(LONG_WAY)[0]
    later = lua("common").split(LONG_WAY)[1] + lua("reserve").split(LONG_WAY)[1]
    made = set(re.findall(r"^local (?:function )?(\w+)", later, re.MULTILINE))
    used = set(re.findall(r"\w+", re.sub(r"--.*|'[^']*'", "", short)))
    assert made
    named = re.findall(r"local (?!function)([\w, ]+)|function \w+\((.*)\)|function (\w+)|for (.*) in", short)
    named += re.findall(r"()function (\w+)", short)
    assert made & used <= set(re.findall(r"\w+", " ".join(", ".join(words) for words in named)))
