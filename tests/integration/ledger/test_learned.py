"""What the ledger learns of an app's streams: bounded, aged, apart by app and model; and how holds grow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.asks import T0, ask, bound, candidate, end

from spendgate.budget.bounds import UNLIMITED, LearnedHold
from spendgate.budget.ratios import Ratios
from spendgate.ledger.exchanges import Growing, Grown
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.redis.ratios import read_ratios

DAY_MS = 86_400_000
HOLD = LearnedHold(10, 20, 400, 590, 99, 3)
STREAM = replace(candidate(1000, bound(5000)), learned=HOLD)


async def learn(
    ledger: RedisLedger, samples: list[tuple[int, int]], app: str = "chat", at: int = T0, name: str = "s"
) -> None:
    for i, sample in enumerate(samples):
        await ledger.reserve(ask(f"{name}{i}", candidate(1, bound()), app=app), at)
        await ledger.settle([replace(end(f"{name}{i}", 1, app=app), sample=sample)], at)


async def test_a_hold_is_what_the_samples_of_its_app_and_model_say(ledger: RedisLedger) -> None:
    await learn(ledger, [(512, 10), (100, 20)])
    assert (await ledger.reserve(ask("before", STREAM), T0)).held_nanousd == 1000
    await learn(ledger, [(100, 10)], name="t")
    made = await ledger.reserve(ask("x1", STREAM), T0)
    assert (made.held_nanousd, made.worst_nanousd) == (10 + 200 + 12, 1000)
    other = await ledger.reserve(ask("x2", STREAM, app="other"), T0)
    dear = await ledger.reserve(ask("x3", replace(STREAM, model="o3")), T0)
    assert other.held_nanousd == dear.held_nanousd == 1000
    again = await ledger.reserve(ask("x1", STREAM), T0)
    assert (again.held_nanousd, again.worst_nanousd, again.replayed) == (222, 1000, True)


async def test_it_never_sinks_below_the_inputs_bound_and_the_fees(ledger: RedisLedger) -> None:
    await learn(ledger, [(1, 1)] * 5)
    assert (await ledger.reserve(ask("x1", STREAM), T0)).held_nanousd == 10 + 20 + 1


async def test_who_nobody_settles_is_charged_the_worst_case(ledger: RedisLedger) -> None:
    await learn(ledger, [(1, 1)] * 5)
    await ledger.reserve(ask("x1", STREAM, ttl_ms=10), T0)
    [gone] = await ledger.expire("red", T0 + 20)
    assert gone.charged_nanousd == 1000
    month = await ledger.month("red", "202611")
    assert (month.settled_nanousd, month.reserved_nanousd) == (5 + 1000, 0)
    assert await ledger.settle([end("x1", 30)], T0 + 30) == ["corrected"]
    assert (await ledger.month("red", "202611")).settled_nanousd == 5 + 30


async def test_old_samples_fade_as_the_mirror_says(ledger: RedisLedger) -> None:
    samples = [(1 + i % 1024, 1 + i * 7 % 1024) for i in range(1600)]
    mirror = Ratios()
    await ledger.reserve(ask("x", candidate(1, bound())), T0)
    batch = []
    for i, sample in enumerate(samples):
        mirror.add(sample)
        await ledger.reserve(ask(f"s{i}", candidate(1, bound())), T0)
        batch.append(replace(end(f"s{i}", 1), sample=sample))
    await ledger.settle(batch, T0)
    known = (await read_ratios(ledger, "red", "chat"))["gpt-4o"]
    assert known.samples == mirror.samples < 1100
    for percentile in (50, 75, 90, 99, 100):
        hold = replace(HOLD, percentile=percentile)
        assert known.amount(hold, 1000) == mirror.amount(hold, 1000)
        streamed = await ledger.reserve(
            ask(f"p{percentile}", replace(STREAM, learned=hold, bounds=(bound(),))), T0
        )
        assert streamed.held_nanousd == mirror.amount(hold, 1000)


async def test_after_a_month_without_a_sample_all_begins_anew(ledger: RedisLedger) -> None:
    await learn(ledger, [(1, 1)] * 5)
    later = T0 + 31 * DAY_MS
    assert (await ledger.reserve(ask("x1", STREAM), later)).held_nanousd == 1000
    await learn(ledger, [(9, 9)], at=later, name="t")
    assert (await read_ratios(ledger, "red", "chat"))["gpt-4o"].samples == 1


async def test_a_team_has_room_for_so_many_apps_and_what_is_idle_makes_room(ledger: RedisLedger) -> None:
    for n in range(260):
        await learn(ledger, [(5, 5)], app=f"app{n}", name=f"a{n}-")
    assert not await read_ratios(ledger, "red", "app259")
    assert await read_ratios(ledger, "red", "app0")
    later = T0 + 31 * DAY_MS
    await learn(ledger, [(5, 5)], app="new", at=later, name="n")
    assert await read_ratios(ledger, "red", "new")
    assert not await read_ratios(ledger, "red", "app0")


@pytest.mark.parametrize(
    ("flowed", "wanted", "others", "held", "room"),
    [
        (50, 100, 0, 222, 5250 - 222),  # less than is held
        (300, 500, 0, 500, 5250 - 500),
        (300, 500, 4900, 350, 0),  # the step as far as there is room
        (300, 500, 5100, 300, 0),  # what has flowed in any case
    ],
)
async def test_a_stream_holds_what_flowed_and_a_step_as_far_as_there_is_room(
    ledger: RedisLedger, flowed: int, wanted: int, others: int, held: int, room: int
) -> None:
    await learn(ledger, [(512, 10), (100, 20), (100, 10)])
    await ledger.reserve(ask("x1", STREAM), T0)
    await ledger.settle([end("other", others - 3)] if others else [], T0)
    room = room - 3 if not others else room
    growing = Growing("x1", "red", flowed, wanted, (5250,))
    assert await ledger.grow([growing], 60_000, T0) == {"x1": Grown(held, room)}
    assert await ledger.grow([growing], 60_000, T0) == {"x1": Grown(held, room)}, "twice changes nothing"
    await ledger.settle([end("x1", 40)], T0)
    assert (await ledger.month("red", "202611")).reserved_nanousd == 0
    assert await ledger.grow([growing], 60_000, T0) == {}


async def test_where_there_is_no_bound_it_grows_as_it_wants(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(10, bound()), ttl_ms=10), T0)
    assert await ledger.grow([Growing("x1", "red", 20, 40, (UNLIMITED,))], 60_000, T0) == {
        "x1": Grown(40, UNLIMITED)
    }
    assert await ledger.expire("red", T0 + 30_000) == [], "it was renewed, too"
