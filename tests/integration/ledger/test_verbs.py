"""Every verb, every bound, on every kind of server and topology that is promised to work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import count

import pytest
import redis as sync_redis
from support.asks import T0, ask, bound, candidate, end, void
from support.topologies import Place, places, running

from spendgate.budget.bounds import Clamp
from spendgate.errors import LedgerError
from spendgate.ledger.accounts import DayCell
from spendgate.ledger.exchanges import BESIDE, Settlement
from spendgate.ledger.redis.codec import team_prefix
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import LEDGER_MAX_NANOUSD

MONTH = "202611"


@pytest.fixture(scope="module", params=places(), ids="/".join)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind, version = request.param
    with running(kind, version, tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture(scope="module")
def admin(place: Place) -> Iterator[sync_redis.Redis]:
    client = place.admin()
    yield client
    client.close()


@pytest.fixture
def redis_client(admin: sync_redis.Redis) -> sync_redis.Redis:
    admin.flushall()
    return admin


@pytest.fixture
async def ledger(place: Place, redis_client: sync_redis.Redis) -> AsyncIterator[RedisLedger]:
    made = RedisLedger.from_url(place.url, timeout_s=10.0)
    yield made
    await made.close()


async def test_reserve_holds_and_settle_replaces_the_hold_by_the_true_cost(ledger: RedisLedger) -> None:
    result = await ledger.reserve(ask("x1", candidate(500)), T0)
    assert (result.candidate, result.held_nanousd, result.committed_nanousd) == (0, 500, 500)
    assert (result.at_ms, result.output_cap, result.replayed, result.refusals) == (T0, None, False, ())
    held = await ledger.month("red", MONTH)
    assert (held.settled_nanousd, held.reserved_nanousd, held.requests, held.open_holds) == (0, 500, 0, 1)
    assert await ledger.open_holds("red") == 1

    assert await ledger.settle([end("x1", 321, usage={"input": 10, "output": 5})], T0) == ["settled"]
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.requests, month.open_holds) == (321, 0, 1, 0)
    assert month.tokens == {"input": 10, "output": 5}
    assert month.models == {"gpt-4o": 321}
    assert month.apps == {"chat": 321}
    assert month.cells == {("chat", "gpt-4o"): 321}
    assert await ledger.teams() == ["red"]


async def test_release_voids_the_hold_and_counts_nothing(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500)), T0)
    assert await ledger.settle([void("x1")], T0) == ["released"]
    month = await ledger.month("red", MONTH)
    assert (month.committed_nanousd, month.requests, month.models, month.open_holds) == (0, 0, {}, 0)


async def test_what_another_model_saved_and_what_was_refused_stand_in_the_days_cell_once(
    ledger: RedisLedger,
) -> None:
    await ledger.reserve(ask("x1", candidate(500)), T0)
    routed = replace(end("x1", 321, usage={"input": 10}), saved_nanousd=-79)
    refused = Settlement("refused-1", "red", "chat", "o3", 0, at_ms=T0, refused=7)
    assert await ledger.settle([routed, refused], T0) == ["settled", "settled"]
    assert await ledger.settle([routed, refused], T0) == ["replayed", "replayed"]
    assert await ledger.cells(["red"], MONTH) == [
        DayCell("red", "20261118", "chat", "gpt-4o", 1, 321, {"input": 10}, saved_nanousd=-79),
        DayCell("red", "20261118", "chat", "o3", 0, 0, {}, refused=7),
    ]
    days = ["20261117", "20261118"]
    assert await ledger.daily(["red", "blue"], days) == {"red": [0, 321], "blue": [0, 0]}
    month = await ledger.month("red", MONTH)
    assert (month.requests, month.saved_nanousd, month.refused) == (1, -79, 7)
    assert (month.committed_nanousd, month.tokens, month.models) == (321, {"input": 10}, {"gpt-4o": 321})


async def test_a_replayed_reserve_gets_its_first_answer_and_holds_once(ledger: RedisLedger) -> None:
    tight = bound(1000)
    first = await ledger.reserve(
        ask("x1", candidate(5000, tight, model="dear"), candidate(700, tight, model="cheap")), T0
    )
    again = await ledger.reserve(
        ask("x1", candidate(5000, tight, model="dear"), candidate(700, tight, model="cheap")), T0 + 1
    )
    assert (first.candidate, again.candidate) == (1, 1)
    assert again.replayed
    assert (again.held_nanousd, again.committed_nanousd) == (700, 700)
    assert (await ledger.month("red", MONTH)).reserved_nanousd == 700


async def test_a_replayed_reserve_of_nothing_is_not_taken_for_one_that_ended(ledger: RedisLedger) -> None:
    """Its requests and tokens count once."""
    for _ in range(2):
        result = await ledger.reserve(ask("x1", candidate(0)), T0)
    assert result.replayed and not result.has_ended


@pytest.mark.parametrize("late_ms", [0, 5 * 60_000, 8 * 60_000])
async def test_a_reserve_that_its_own_settlement_overtook_holds_nothing(
    ledger: RedisLedger, late_ms: int
) -> None:
    before_midnight = 1_795_046_100_000  # 23:55 UTC, so that the later ones come the next day
    await ledger.settle([end("x1", 100, at_ms=before_midnight)], before_midnight)
    result = await ledger.reserve(ask("x1", candidate(500)), before_midnight + late_ms)
    assert (result.candidate, result.held_nanousd, result.replayed) == (0, 0, True)
    assert result.has_ended
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd) == (100, 0)


@pytest.mark.parametrize("first", [end("x1", 321), void("x1")])
@pytest.mark.parametrize("second", [end("x1", 999), void("x1")])
@pytest.mark.parametrize("days", [0, 1, 6.9])
async def test_an_ended_exchange_can_not_be_ended_again_for_seven_days(
    ledger: RedisLedger, first: object, second: object, days: float
) -> None:
    await ledger.reserve(ask("x1", candidate(500)), T0)
    await ledger.settle([first], T0)  # type: ignore[list-item]
    before = await ledger.month("red", MONTH)
    assert await ledger.settle([second], T0 + int(days * 86_400_000)) == ["replayed"]  # type: ignore[list-item]
    assert await ledger.month("red", MONTH) == before


async def test_the_same_exchange_twice_in_one_batch_is_charged_once(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500)), T0)
    assert await ledger.settle([end("x1", 5), end("x1", 5)], T0) == ["settled", "replayed"]
    assert (await ledger.month("red", MONTH)).settled_nanousd == 5


async def test_an_unsettled_hold_expires_at_its_estimate(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0)
    assert await ledger.expire("red", T0 + 999) == []
    (gone,) = await ledger.expire("red", T0 + 1000)
    assert (gone.exchange_id, gone.team, gone.app, gone.model) == ("x1", "red", "chat", "gpt-4o")
    assert (gone.charged_nanousd, gone.at_ms) == (500, T0)
    assert await ledger.expire("red", T0 + 1001) == []
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (500, 0, 1)


async def test_settle_after_expiry_corrects_to_the_true_cost_once(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0)
    await ledger.expire("red", T0 + 2000)
    late = end("x1", 321, model="gpt-4o-2024", usage={"input": 7})
    assert await ledger.settle([late], T0 + 3000) == ["corrected"]
    assert await ledger.settle([late], T0 + 4000) == ["replayed"]
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (321, 0, 1)
    assert month.models == {"gpt-4o-2024": 321}
    assert month.tokens == {"input": 7}


async def test_what_is_charged_beside_an_exchange_is_money_and_no_request(ledger: RedisLedger) -> None:
    beside = "x1" + BESIDE
    await ledger.settle([end("x1", 100)], T0)
    await ledger.reserve(ask(beside, candidate(500), ttl_ms=1000), T0)
    await ledger.expire("red", T0 + 2000)
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.requests) == (600, 1)
    assert await ledger.settle([end(beside, 250)], T0 + 3000) == ["corrected"]
    await ledger.reserve(ask("x2" + BESIDE, candidate(500)), T0)
    await ledger.settle([end("x2" + BESIDE, 30), end("x3" + BESIDE, 20)], T0)
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (400, 0, 1)


async def test_release_after_expiry_gives_the_estimate_back(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0)
    await ledger.expire("red", T0 + 2000)
    assert await ledger.settle([void("x1")], T0 + 3000) == ["corrected"]
    assert await ledger.settle([end("x1", 9)], T0 + 3000) == ["replayed"]
    month = await ledger.month("red", MONTH)
    assert (month.committed_nanousd, month.requests, month.models, month.cells) == (0, 0, {}, {})


async def test_a_reserve_replayed_after_expiry_gets_its_first_answer(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0)
    result = await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0 + 5000)
    assert (result.replayed, result.held_nanousd, len(result.expired)) == (True, 500, 1)
    assert (await ledger.month("red", MONTH)).committed_nanousd == 500


async def test_renew_moves_the_deadline_of_what_is_still_held(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(500), ttl_ms=1000), T0)
    await ledger.reserve(ask("x2", candidate(500), team="blue", ttl_ms=1000), T0)
    holds = [("red", "x1"), ("blue", "x2"), ("red", "never")]
    assert await ledger.renew(holds, 5000, T0 + 900) == 2
    assert await ledger.expire("red", T0 + 5899) == []
    assert len(await ledger.expire("red", T0 + 5900)) == 1
    assert await ledger.renew([("red", "x1")], 5000, T0 + 6000) == 0
    assert await ledger.renew([], 5000) == 0


async def test_reserve_sweeps_what_is_overdue_and_reports_it(ledger: RedisLedger) -> None:
    for i in range(10):
        await ledger.reserve(ask(f"x{i}", candidate(100), ttl_ms=1000), T0)
    result = await ledger.reserve(ask("y", candidate(100)), T0 + 2000)
    assert len(result.expired) == 8
    assert (await ledger.month("red", MONTH)).committed_nanousd == 1100
    assert len(await ledger.expire("red", T0 + 2000, limit=1)) == 1
    assert len(await ledger.expire("red", T0 + 2000)) == 1


async def test_a_hold_that_redis_lost_is_charged_in_the_windows_of_its_reservation(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    day = bound(10_000, scope="day", window="day")
    await ledger.reserve(ask("x1", candidate(500, bound(), day)), T0)
    redis_client.flushall()
    lost = end("x1", 321, scopes=(("month", "month"), ("day", "day")), usage={"output": 3})
    next_month = T0 + 20 * 86_400_000
    assert await ledger.settle([lost], next_month) == ["settled"]
    assert await ledger.settle([lost], next_month) == ["replayed"]
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd, month.requests) == (321, 0, 1)
    assert month.tokens == {"output": 3}
    assert redis_client.hget(team_prefix("red") + "b:day:20261118", "s") == b"321"
    assert (await ledger.month("red", "202612")).committed_nanousd == 0


async def test_release_of_a_hold_that_redis_lost_changes_no_money(ledger: RedisLedger) -> None:
    assert await ledger.settle([void("x1")], T0) == ["released"]
    month = await ledger.month("red", MONTH)
    assert (month.committed_nanousd, month.requests, month.cells) == (0, 0, {})


async def test_admission_needs_committed_below_the_floor_and_the_sum_within_the_ceiling(
    ledger: RedisLedger,
) -> None:
    limits = bound(1000, 1050)
    ids = count()

    async def tries(estimate: int) -> int:
        return (await ledger.reserve(ask(f"x{next(ids)}", candidate(estimate, limits)), T0)).candidate

    assert await tries(1051) == -1
    assert await tries(999) == 0
    assert await tries(52) == -1
    assert await tries(51) == 0  # 1050: the allowance's last nano-dollar
    assert await tries(0) == -1  # committed is past the floor


async def test_a_budget_of_zero_admits_nothing(ledger: RedisLedger) -> None:
    assert (await ledger.reserve(ask("x", candidate(0, bound(0))), T0)).candidate == -1


async def test_a_refusal_names_the_bound_and_the_committed_amount_and_moves_nothing(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    month, app = bound(10_000), bound(800, scope="app:chat")
    hour, run = bound(600, scope="hour", window="hour"), bound(700, scope="run:r1", window="run")
    await ledger.reserve(ask("x1", candidate(500, month, app, hour, run)), T0)
    before = {key: redis_client.hgetall(key) for key in redis_client.keys("*:b:*")}
    result = await ledger.reserve(ask("x2", candidate(150, month, app, hour, run)), T0)
    assert result.candidate == -1
    (refusal,) = result.refusals
    assert (refusal.candidate, refusal.bound, refusal.committed_nanousd) == (0, hour, 500)
    assert {key: redis_client.hgetall(key) for key in redis_client.keys("*:b:*")} == before
    assert await ledger.open_holds("red") == 1
    next_hour = await ledger.reserve(ask("x3", candidate(250, month, app, hour, run)), T0 + 3_600_000)
    assert next_hour.refusals[0].bound == run  # a run's counter knows no hour
    other_run = bound(700, scope="run:r2", window="run")
    assert (
        await ledger.reserve(ask("x4", candidate(250, month, app, hour, other_run)), T0 + 3_600_000)
    ).candidate == 0


async def test_the_next_candidate_is_tried_and_every_refusal_is_named_in_order(ledger: RedisLedger) -> None:
    month, dear = bound(10_000), bound(100, scope="model:gpt-*")
    result = await ledger.reserve(
        ask(
            "x1",
            candidate(200, month, dear),
            candidate(20_000, month, model="huge"),
            candidate(50, month, model="mini"),
        ),
        T0,
    )
    assert result.candidate == 2
    assert [(r.candidate, r.bound.scope) for r in result.refusals] == [(0, "model:gpt-*"), (1, "month")]
    assert (await ledger.month("red", MONTH)).reserved_nanousd == 50


async def test_a_candidate_is_skipped_outside_its_span_of_what_is_used(ledger: RedisLedger) -> None:
    calm = candidate(100, model="asked", used_below_nanousd=250, own_nanousd=100)
    pressed = candidate(10, model="cheap", used_from_nanousd=250, own_nanousd=100)
    picks = []
    for i in range(4):
        picks.append((await ledger.reserve(ask(f"x{i}", calm, pressed), T0)).candidate)
        await ledger.settle([end(f"x{i}", 100)], T0)
    assert picks == [0, 0, 1, 1]


async def test_what_others_hold_moves_no_span(ledger: RedisLedger) -> None:
    calm = candidate(100, model="asked", used_below_nanousd=250, own_nanousd=100)
    pressed = candidate(10, model="cheap", used_from_nanousd=250, own_nanousd=100)
    picks = [(await ledger.reserve(ask(f"x{i}", calm, pressed), T0)).candidate for i in range(4)]
    assert picks == [0, 0, 0, 0]


async def test_a_refusal_tells_what_only_holds_keep_out_and_which(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x0", candidate(300, bound(1000))), T0)
    await ledger.settle([end("x0", 10)], T0)
    await ledger.reserve(ask("x1", candidate(600, bound(1000))), T0 + 1_000)
    await ledger.reserve(ask("x2", candidate(300, bound(1000))), T0 + 2_000)
    held = await ledger.reserve(ask("x3", candidate(500, bound(1000))), T0 + 5_000)
    (refusal,) = held.refusals
    assert (refusal.settled_nanousd, refusal.reserved_nanousd, refusal.held) == (10, 900, True)
    assert held.waits_for == refusal
    assert sorted(held.in_flight) == [(3_000, 300), (4_000, 600)]
    alone = await ledger.reserve(ask("x4", candidate(991, bound(1000))), T0 + 5_000)
    assert (alone.waits_for, alone.refusals[0].held, alone.in_flight) == (None, False, ())


async def test_a_bound_that_is_spent_is_named_before_one_that_is_only_held(ledger: RedisLedger) -> None:
    day, app = bound(1000, scope="day", window="day"), bound(100, scope="app:a", window="month")
    await ledger.reserve(ask("x0", candidate(100, bound(9000), app)), T0)
    await ledger.settle([end("x0", 100)], T0)
    await ledger.reserve(ask("x1", candidate(900, bound(9000), day)), T0)
    result = await ledger.reserve(ask("x2", candidate(500, bound(9000), day, app)), T0)
    assert [(r.bound.scope, r.held) for r in result.refusals] == [("app:a", False)]
    result = await ledger.reserve(ask("x3", candidate(500, bound(9000), day)), T0)
    assert [(r.bound.scope, r.held) for r in result.refusals] == [("day", True)]


async def test_an_admission_tells_how_each_of_its_bounds_stands(ledger: RedisLedger) -> None:
    day = bound(1000, scope="day", window="day")
    await ledger.reserve(ask("x0", candidate(100, bound(9000))), T0)
    await ledger.settle([end("x0", 40)], T0)
    await ledger.reserve(ask("x1", candidate(30, bound(9000))), T0)
    request = ask("x2", candidate(500, bound(9000), day))
    assert (await ledger.reserve(request, T0)).counters == ((40, 530), (0, 500))
    assert (await ledger.reserve(request, T0)).counters == ((40, 530), (0, 500))  # sent again


async def test_clamp_lowers_the_output_cap_to_the_money_left(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x0", candidate(600, bound(1000))), T0)
    clamp = Clamp(fixed_nanousd=100, output_picousd_per_token=10_000, output_tokens_min=20)
    result = await ledger.reserve(ask("x1", candidate(5000, bound(1000, 1050), clamp=clamp)), T0)
    assert (result.candidate, result.output_cap, result.held_nanousd) == (0, 30, 400)
    assert result.committed_nanousd == 1000  # the bound itself, never its overshoot
    replay = await ledger.reserve(ask("x1", candidate(5000, bound(1000, 1050), clamp=clamp)), T0)
    assert (replay.output_cap, replay.held_nanousd) == (30, 400)


async def test_clamp_refuses_a_part_that_is_too_small_to_be_useful(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x0", candidate(801, bound(1000))), T0)
    clamp = Clamp(fixed_nanousd=100, output_picousd_per_token=5_000, output_tokens_min=20)
    assert (await ledger.reserve(ask("x1", candidate(900, bound(1000), clamp=clamp)), T0)).candidate == -1


async def test_windows_are_those_of_the_reservation_at_the_turn_of_the_month(ledger: RedisLedger) -> None:
    last_ms = 1_796_083_199_999  # 2026-11-30T23:59:59.999Z
    limits = bound(1000)
    await ledger.reserve(ask("x1", candidate(900, limits)), last_ms)
    assert (await ledger.reserve(ask("x2", candidate(900, limits)), last_ms)).candidate == -1
    assert (await ledger.reserve(ask("x3", candidate(900, limits)), last_ms + 1)).candidate == 0
    await ledger.settle([end("x1", 800), end("x3", 700)], last_ms + 10_000)
    november, december = await ledger.month("red", MONTH), await ledger.month("red", "202612")
    assert (november.settled_nanousd, november.cells) == (800, {("chat", "gpt-4o"): 800})
    assert (december.settled_nanousd, december.cells) == (700, {("chat", "gpt-4o"): 700})


@pytest.mark.parametrize(
    ("at_ms", "day"),
    [
        (0 + 1, "19700101"),
        (951_782_400_000, "20000229"),
        (1_709_164_800_000, "20240229"),
        (1_798_761_599_999, "20261231"),
        (4_107_542_399_999, "21000228"),
    ],
)
async def test_the_script_knows_the_calendar(
    ledger: RedisLedger, redis_client: sync_redis.Redis, at_ms: int, day: str
) -> None:
    await ledger.reserve(ask("x", candidate(1, bound(scope="day", window="day"))), at_ms)
    assert redis_client.exists(f"{team_prefix('red')}b:day:{day}")


async def test_without_a_given_time_the_ledger_takes_its_own_clock(ledger: RedisLedger, place: Place) -> None:
    began = place.now_ms()
    result = await ledger.reserve(ask("x", candidate(1)))
    assert began - 50 <= result.at_ms < began + 60_000  # the servers of a cluster read the clock apart


async def test_amounts_are_exact_up_to_the_largest(ledger: RedisLedger) -> None:
    most = LEDGER_MAX_NANOUSD
    first = await ledger.reserve(ask("x1", candidate(most - 1, bound(most)), ttl_ms=10), T0)
    assert first.committed_nanousd == most - 1
    assert (await ledger.reserve(ask("x2", candidate(2, bound(most)), ttl_ms=10), T0)).candidate == -1
    last = await ledger.reserve(ask("x3", candidate(1, bound(most)), ttl_ms=99), T0)
    assert last.committed_nanousd == most
    (gone,) = await ledger.expire("red", T0 + 20)
    assert gone.charged_nanousd == most - 1
    assert await ledger.settle([end("x1", most - 7)], T0 + 30) == ["corrected"]
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.reserved_nanousd) == (most - 7, 1)


@pytest.mark.parametrize("amount", [-1, LEDGER_MAX_NANOUSD + 1])
async def test_an_amount_that_the_ledger_can_not_hold_is_refused_before_it_is_sent(
    ledger: RedisLedger, amount: int
) -> None:
    with pytest.raises(LedgerError, match="estimate"):
        await ledger.reserve(ask("x1", candidate(amount)), T0)
    with pytest.raises(ValueError, match="cost_nanousd"):
        end("x1", amount)


@pytest.mark.parametrize(
    "name",
    ["", "a{b}c", "{}", "}{", "日本 team", "with spaces", "a:b/c%d", "-", "x\x1fy\n", "\ud800", "t" * 5000],
)
async def test_any_name_works_as_team_app_model_and_scope(
    ledger: RedisLedger, redis_client: sync_redis.Redis, name: str
) -> None:
    limits = bound(1000, scope=f"app:{name}")
    request = ask("x1", candidate(500, bound(), limits, model=name), team=name, app=name)
    assert (await ledger.reserve(request, T0)).candidate == 0
    assert (await ledger.reserve(ask("x2", candidate(501, limits), team=name), T0)).candidate == -1
    assert await ledger.settle([end("x1", 7, team=name, app=name, model=name)], T0) == ["settled"]
    month = await ledger.month(name, MONTH)
    assert (month.settled_nanousd, month.requests, len(month.cells)) == (7, 1, 1)
    (team,) = await ledger.teams()
    assert (await ledger.month(team, MONTH)).settled_nanousd == 7  # a listed name leads to the same keys


async def test_long_names_that_differ_only_at_their_end_stay_apart(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(5), team="t" * 5000 + "1"), T0)
    assert (await ledger.month("t" * 5000 + "2", MONTH)).committed_nanousd == 0


async def test_empty_usage_and_empty_scopes_are_read_as_empty(ledger: RedisLedger) -> None:
    assert await ledger.settle([end("x1", 5, scopes=(), usage={})], T0) == ["settled"]
    month = await ledger.month("red", MONTH)
    assert (month.settled_nanousd, month.cells, month.tokens) == (0, {("chat", "gpt-4o"): 5}, {})
    assert await ledger.settle([]) == []


async def test_a_batch_answers_in_the_order_it_was_given(ledger: RedisLedger) -> None:
    for i in range(6):
        await ledger.reserve(ask(f"x{i}", candidate(10), team=f"t{i % 3}"), T0)
    await ledger.settle([end("x4", 1, team="t1")], T0)
    batch = [
        void(f"x{i}", team=f"t{i % 3}") if i % 2 else end(f"x{i}", 1, team=f"t{i % 3}") for i in range(6)
    ]
    expected = ["settled", "released", "settled", "released", "replayed", "released"]
    assert await ledger.settle(batch, T0) == expected


async def test_months_reads_many_teams_in_the_order_given(ledger: RedisLedger) -> None:
    teams = [f"team {i:03d}" for i in range(150)]
    for i, team in enumerate(teams):
        await ledger.reserve(ask(f"x{i}", candidate(i), team=team), T0)
    read = await ledger.months([*reversed(teams), "nobody"], MONTH)
    assert [(m.team, m.reserved_nanousd, m.open_holds) for m in read[:2]] == [
        ("team 149", 149, 1),
        ("team 148", 148, 1),
    ]
    assert (read[-1].team, read[-1].reserved_nanousd, read[-1].open_holds) == ("nobody", 0, 0)
    assert await ledger.months([], MONTH) == []
    assert await ledger.teams() == teams
