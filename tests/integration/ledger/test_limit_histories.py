"""Limits, groups, periods and what is carried over keep their laws in every random history; and each can fail."""

from __future__ import annotations

import pytest
import redis as sync_redis
from support.histories import sources, wanted
from support.limit_histories import LAWS, LawBroken, run_limit_histories
from support.mutations import Mutation

PLANTED = (
    Mutation(
        "a request is not counted when it is admitted", "reserve",
        "settles, holds = p[5] == 'r' and p[4] or 0,", "settles, holds = 0,", ("requests", "bound"),
    ),
    Mutation(
        "a request is held as money is", "reserve",
        "if p[5] then settles, holds", "if p[5] == 't' then settles, holds", ("requests", "bound"),
    ),
    Mutation(
        "a request is counted again when it is settled", "settle",
        "if hold then return spent_in(s, counter, 0) -", "if false then return spent_in(s, counter, 0) -",
        ("requests", "bound"),
    ),
    Mutation(
        "tokens need no room", "reserve",
        "need = unit == 't' and (c.t or 0)", "need = unit == 't' and 0", ("tokens", "bound"),
    ),
    Mutation(
        "tokens are settled at what was held", "settle",
        "s.x and 0 or s.g or (hold", "s.x and 0 or (hold", ("tokens", "bound"),
    ),
    Mutation(
        "what is released keeps its tokens", "settle",
        "s.x and 0 or s.g or", "s.g or", ("tokens", "bound"),
    ),
    Mutation(
        "tokens stay held when they are settled", "common",
        "return unit == 't' and tonumber(hold.n or '0') or 0", "return 0", ("tokens", "bound"),
    ),
    Mutation(
        "a group's bounds are counted in the team", "reserve",
        "    if more.g then enter(KEYS[more.g]) end\n    move", "    move", ("group", "books", "requests", "bound"),
    ),
    Mutation(
        "a group's balance is not looked at", "reserve",
        "if more and more.g then where = prefixes[more.g] end", "", ("bound",),
    ),
    Mutation(
        "a group's hold is not written down", "reserve",
        "    redis.call('ZADD', due_key, deadline, ask.id)\n  end\nend", "  end\nend", ("group", "requests", "bound"),
    ),
    Mutation(
        "an expired request is charged the estimate in its own limit", "common",
        "return unit_of(counter) and held_in(hold, counter) or charged_for(hold)", "return charged_for(hold)",
        ("requests", "tokens", "bound"),
    ),
    Mutation(
        "all of what is left is carried over", "reserve",
        "math.min(math.max(p[1] - v[1], 0), p[2])", "math.max(p[1] - v[1], 0)", ("bound",),
    ),
    Mutation(
        "a month that nobody knows is carried over", "reserve",
        "carried[account] = v[3] and 0 or math", "carried[account] = math", ("bound",),
    ),
    Mutation(
        "the ceiling does not rise with what is carried over", "reserve",
        "bound[4] = bound[4] + part(carried[account], p[4])", "", ("bound",),
    ),
    Mutation(
        "the period is the caller's, not the ledger's", "reserve",
        "local i = #window - 1", "local i = 2", ("bound", "books", "requests", "tokens", "group"),
    ),
    Mutation(
        "a period is named by its end", "common",
        "id = string.match(window, '^%d+')", "id = string.match(window, '%d+$')",
        ("bound", "requests", "tokens"),
    ),
)  # fmt: skip


def test_every_random_history_of_limits_and_groups_keeps_the_laws(redis_client: sync_redis.Redis) -> None:
    """`make histories` runs ten thousand."""
    run_limit_histories(redis_client, sources(), range(wanted(120)))


@pytest.mark.parametrize("mutation", PLANTED, ids=lambda m: m.name.replace(" ", "-"))
def test_a_planted_bug_breaks_a_law(redis_client: sync_redis.Redis, mutation: Mutation) -> None:
    with pytest.raises(LawBroken) as caught:
        run_limit_histories(redis_client, mutation.applied(sources()), range(1000, 1400))
    assert caught.value.law in mutation.laws


def test_every_law_is_in_some_planted_bug() -> None:
    assert {law for m in PLANTED for law in m.laws} == set(LAWS)
