"""An hour in which every request of a team fails or aborts before it cost much: no hold of it ever refuses the team.

What Envoy gives up after it was sent is charged its hold, and is none of these (docs/reference/ends.md)."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest
import redis as sync_redis
from support.histories import Picture, Scripts, sources
from support.mutations import MUTATIONS, Mutation
from unit.exchange.driver import Drive, chat, snapshot_of

from spendgate.exchange import events as e
from spendgate.ledger.exchanges import ReserveResult
from spendgate.ledger.redis.codec import reserve_argument, reserve_result, settle_argument
from spendgate.records.record import ExchangeResult

HOUR_S = 3600
BEGAN = 1_795_521_600_000
"""2026-11-24T12:00:00Z"""
TTL_MS = 30_000
OPEN_MAX_S = 20
ESTIMATE_NANOUSD = 100_000_000
"""About what one request holds: 10,000 output tokens of gpt-4o."""


class TrueLedger:
    """The real scripts, at a time of our own."""

    def __init__(self, client: sync_redis.Redis, bug: Mutation | None = None) -> None:
        client.flushall()
        self.scripts = Scripts(client, bug.applied(sources()) if bug else sources())
        self.now_ms = BEGAN
        self.endings: list[ExchangeResult] = []

    def reserve(self, need: e.NeedReserve) -> ReserveResult:
        reply = self.scripts.run("reserve", reserve_argument(need.request, self.now_ms))
        return reserve_result(need.request, reply)

    def settle(self, ending: ExchangeResult) -> None:
        self.endings.append(ending)
        if ending.settlement is not None:
            self.scripts.run("settle", self.now_ms, settle_argument(ending.settlement))


def the_provider_answers_an_error(drive: Drive) -> None:
    drive.answer(500)
    drive.over()


def the_provider_cannot_be_reached(drive: Drive) -> None:
    drive.answer(503, local=True, details="upstream_reset_before_response_started{connection_failure}")
    drive.over()


def the_client_leaves(drive: Drive) -> None:
    drive.over()


def the_stream_breaks_off(drive: Drive) -> None:
    drive.answer(content_type="text/event-stream")
    drive.piece(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
    drive.over()


ENDS: tuple[Callable[[Drive], None], ...] = (
    the_provider_answers_an_error, the_provider_cannot_be_reached, the_client_leaves, the_stream_breaks_off,
)  # fmt: skip


class Refused(AssertionError):
    """The team met its bound."""


def an_hour_of_failures(redis_client: sync_redis.Redis, bug: Mutation | None = None) -> None:
    dice = random.Random(7)
    ledger = TrueLedger(redis_client, bug)
    # no more than what one request each second may hold for as long as it is open, and a little
    budget = "{team: red, monthlyBudgetUSD: %s, overshootPercent: 0, maxUSDPerHour: %s}"
    usd = (OPEN_MAX_S + 6) * ESTIMATE_NANOUSD / 1e9
    snap = snapshot_of(budget % (usd, usd))
    names = count()
    open_now: list[tuple[float, int, Drive, Callable[[Drive], None]]] = []
    highest = 0

    def begin() -> Drive:
        drive = Drive(snap, ledger, f"x{next(names)}")  # type: ignore[arg-type]
        action = drive.send(chat(max_tokens=10_000, stream=True), headers={"x-llm-team": "red"})
        if isinstance(action, e.Reject):
            raise Refused(action.body)
        return drive

    for second in range(HOUR_S):
        ledger.now_ms = BEGAN + second * 1000
        while open_now and open_now[0][0] <= second:
            _, _, drive, end = heapq.heappop(open_now)
            end(drive)
        heapq.heappush(
            open_now, (second + dice.uniform(0, OPEN_MAX_S), next(names), begin(), dice.choice(ENDS))
        )
        if second % 10 == 0:  # as the gateway does, three times within each deadline
            ids = [d.exchange.holds[1] for _, _, d, _ in open_now if d.exchange.holds is not None]
            ledger.scripts.run("renew", ledger.now_ms, TTL_MS, *ids)
            highest = max(highest, Picture.take(redis_client).counter("month:202611")[1])
    for _, _, drive, end in open_now:
        end(drive)

    assert highest > 12 * ESTIMATE_NANOUSD  # a few leaked holds would have been too many
    picture = Picture.take(redis_client)
    settled, reserved = picture.counter("month:202611")
    assert (reserved, picture.holds, picture.due) == (0, {}, {})
    assert settled == sum(x.record.cost_nanousd for x in ledger.endings)
    assert len(ledger.endings) == HOUR_S
    assert settled < 6 * ESTIMATE_NANOUSD


def test_a_team_whose_every_request_fails_for_an_hour_is_never_refused(
    redis_client: sync_redis.Redis,
) -> None:
    an_hour_of_failures(redis_client)


def test_the_hour_would_notice_holds_that_leak(redis_client: sync_redis.Redis) -> None:
    (leak,) = (m for m in MUTATIONS if m.name == "a settlement leaves its hold reserved")
    with pytest.raises(Refused):
        an_hour_of_failures(redis_client, leak)


def test_holds_of_a_dead_worker_cost_their_estimate_once_and_hold_nothing_more(
    redis_client: sync_redis.Redis,
) -> None:
    """What nobody ends is settled when its deadline passes, by the team's own next request."""
    ledger = TrueLedger(redis_client)
    snap = snapshot_of("{team: red, monthlyBudgetUSD: 1, overshootPercent: 0}")
    held = 0
    for i in range(5):
        drive = Drive(snap, ledger, f"dead{i}")  # type: ignore[arg-type]
        assert isinstance(drive.send(chat(max_tokens=10_000), headers={"x-llm-team": "red"}), e.Forward)
        held += drive.exchange.decided.held_nanousd
    ledger.now_ms += TTL_MS + 1
    for second in range(0, HOUR_S, 60):
        ledger.now_ms += 60_000
        drive = Drive(snap, ledger, f"alive{second}")  # type: ignore[arg-type]
        action = drive.send(chat(max_tokens=10_000), headers={"x-llm-team": "red"})
        assert isinstance(action, e.Forward)
        the_provider_answers_an_error(drive)
    picture = Picture.take(redis_client)
    assert picture.counter("month:202611") == (held, 0)
    assert picture.holds == {}
