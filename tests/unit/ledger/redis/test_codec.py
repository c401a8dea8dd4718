"""What goes to the scripts is what it was before the common cases were made short."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count, islice
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Carry, Clamp, LearnedHold
from spendgate.ledger.exchanges import Repeats, ReserveRequest, group_account
from spendgate.ledger.redis.calls import Script, script_call
from spendgate.ledger.redis.codec import (
    NAME_MAX,
    TEAMS_KNOWN,
    clean,
    holds_key,
    reserve_argument,
    reserve_result,
    team_prefix,
)

UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
names = st.text(st.characters(codec=None), max_size=12) | st.text(
    min_size=NAME_MAX - 1, max_size=NAME_MAX + 2
)
amounts = st.integers(0, 2**53 - 1)
limits = st.just(UNLIMITED) | amounts
groups = st.sampled_from(["", "", "dept", "all"])
periods = st.sampled_from([(), (), (1, 2, 3), (4, 5, 6)])
carries = st.none() | st.builds(Carry, amounts, amounts, st.integers(0, 10**4), st.integers(0, 10**4))
bounds = st.builds(
    Bound, names, st.sampled_from(["month", "day"]), limits, limits, st.just("r"),
    group=groups, periods=periods, values_of=st.just("") | names, carry=carries,
)  # fmt: skip
candidates = st.builds(
    Candidate, names, amounts, st.lists(bounds, max_size=3).map(tuple),
    used_from_nanousd=st.just(0) | amounts, used_below_nanousd=limits, own_nanousd=amounts,
    clamp=st.none() | st.builds(Clamp, amounts, amounts, st.integers(0, 9)),
    learned=st.none() | st.builds(LearnedHold, amounts, amounts, amounts, amounts, st.just(99), st.integers(1, 9)),
    tokens=st.integers(0, 9), carry_parts=st.integers(0, 10**4),
)  # fmt: skip
requests = st.builds(
    ReserveRequest, names, names, names, st.integers(1, 10**6), st.lists(candidates, max_size=3).map(tuple),
    repeats=st.none() | st.builds(Repeats, st.text("abc"), st.integers(1, 9), st.integers(1, 9), st.booleans()),
    first_candidate=st.integers(0, 2),
)  # fmt: skip


@given(names)
def test_a_name_has_nothing_unsafe_and_is_else_as_it_was(name: str) -> None:
    found = clean(name)
    assert len(found) <= NAME_MAX
    assert found == UNSAFE.sub("?", found)
    if len(name) <= NAME_MAX:
        assert found == UNSAFE.sub("?", name)
    assert clean(found) == found


@given(names)
def test_a_teams_keys_are_the_same_when_they_are_remembered(name: str) -> None:
    for team in (name, group_account(name)):
        for _ in range(2):
            assert team_prefix(team) == team_prefix.__wrapped__(team)
            assert holds_key(team) == f"{team_prefix.__wrapped__(team)}holds"


def test_more_teams_than_are_remembered_have_keys() -> None:
    teams = [f"t{n}" for n in islice(count(), TEAMS_KNOWN + 2)]
    assert [team_prefix(team) for team in teams] == [f"sg1:{{{team}}}:" for team in teams]
    assert team_prefix(teams[0]) == "sg1:{t0}:"


def test_a_call_names_all_its_accounts() -> None:
    script = Script("expire")
    call = script_call(script, ("red", group_account("dept")), (1, 2))
    assert call == ("EVALSHA", script.sha, 2, "sg1:{red}:holds", "sg1:{%g:dept}:holds", 1, 2)


def bound_plainly(b: Bound, order: list[str], told: list[tuple[int, ...]]) -> list[Any]:
    out: list[Any] = [clean(b.scope), b.window, b.floor_nanousd, b.ceiling_nanousd]
    if b.periods:
        out[1] = told.index(b.periods) + 1
    more: dict[str, Any] = {}
    if b.group:
        more["g"] = order.index(b.group) + 2
    if b.values_of:
        more["x"] = clean(b.values_of)
    if b.carry is not None and b.floor_nanousd >= 0:
        k = b.carry
        more["p"] = [k.budget_nanousd, k.most_nanousd, k.floor_parts, k.ceiling_parts]
    return [*out, more] if b.group or b.values_of or b.carry else out


def candidate_plainly(c: Candidate, order: list[str], told: list[tuple[int, ...]]) -> dict[str, Any]:
    start, below, own = c.used_from_nanousd, c.used_below_nanousd, c.own_nanousd
    row: dict[str, Any] = {"m": clean(c.model), "e": c.estimate_nanousd}
    row["l"] = [bound_plainly(b, order, told) for b in c.bounds]
    if any(b.carry is not None for b in c.bounds):
        row |= {"f": start, "b": below, "cp": c.carry_parts, "o": own}
    else:
        row |= {"f": max(start - own, 0), "b": below if below < 0 else max(below - own, 0)}
    if c.tokens:
        row["t"] = c.tokens
    if (k := c.clamp) is not None:
        row["k"] = [k.fixed_nanousd, k.output_picousd_per_token, k.output_tokens_min]
    if (h := c.learned) is not None:
        shares = [h.fees_nanousd, h.input_min_nanousd, h.input_nanousd, h.output_nanousd]
        row["h"] = [*shares, h.percentile, h.samples]
    return row


def plainly(request: ReserveRequest, now_ms: int, again: bool) -> dict[str, Any]:
    """What reserve.lua is to read of a request, by the head of reserve.lua alone."""
    every = [b for c in request.candidates for b in c.bounds]
    order = list(dict.fromkeys(b.group for b in every if b.group))
    told = list(dict.fromkeys(b.periods for b in every if b.periods))
    rows = [candidate_plainly(c, order, told) for c in request.candidates]
    out: dict[str, Any] = {
        "id": request.exchange_id,
        "app": clean(request.app),
        "ttl": request.ttl_ms,
        "c": rows,
    }
    if told:
        out["w"] = [list(p) for p in told]
    if (r := request.repeats) is not None:
        out["r"] = [r.digest, r.max, r.window_ms, int(r.refuses)]
    if request.first_candidate:
        out["i"] = request.first_candidate
    if order:
        out["team"] = clean(request.team)
    if any("cp" in row for row in rows):
        out["ro"] = True
    return out | {"now": now_ms} | ({"again": True} if again else {})


@given(requests, st.integers(0, 2**50), st.booleans())
def test_every_request_is_written_as_the_script_reads_it(
    request: ReserveRequest, now_ms: int, again: bool
) -> None:
    request = replace(request, exchange_id=clean(request.exchange_id))
    assert orjson.loads(reserve_argument(request, now_ms, again)) == plainly(request, now_ms, again)


@pytest.mark.parametrize("text", [b"1796083190000 5 6", "1796083190000 5 6", b"1796083190000 5 6 7 8 9 0"])
def test_the_short_reply_is_read(text: Any) -> None:
    month = Bound("month", "month", 9, 9, "r")
    request = ReserveRequest("x", "red", "app", 1, (Candidate("m", 5, (month,)),), first_candidate=2)
    result = reserve_result(request, text)
    assert (result.candidate, result.held_nanousd, result.output_cap, result.at_ms) == (
        2,
        5,
        None,
        1796083190000,
    )
    assert (result.settled_nanousd, result.reserved_nanousd, result.replayed) == (5, 6, False)
    assert result.counters == ((5, 6), (7, 8), (9, 0))[: len(text.split()) // 2]
