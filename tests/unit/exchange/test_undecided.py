"""What Envoy sent on before we had answered is charged the most that it may cost."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.exchange.driver import NOW_MS, Drive, FakeLedger, chat, snapshot_of
from unit.gateway.test_runtime import runtime

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.states import State
from spendgate.gateway import decision_driver as module
from spendgate.gateway.decision_driver import DecisionDriver, late_or_left
from spendgate.identity.identity import Caller
from spendgate.ledger.exchanges import ReserveResult
from spendgate.records.record import ExchangeResult

SPEC = "{team: ml, monthlyBudgetUSD: 100}"
POOR = "{team: ml, monthlyBudgetUSD: 0}"


def _begun(spec: str, **headers: str) -> Exchange:
    exchange = Exchange("x1", snapshot_of(spec), "req-1")
    given = {"content-type": "application/json", "x-llm-team": "ml", "x-llm-app": "chat", **headers}
    exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", Caller(given, now_ms=NOW_MS)))
    return exchange


def _late(exchange: Exchange) -> ExchangeResult:
    exchange.receive(e.StreamClosed(e.EndedBy.LATE))
    ending = exchange.take_ending()
    assert ending is not None and exchange.state is State.ENDED
    assert ending.record.unmetered == "late" and ending.settlement is not None
    assert ending.settlement.cost_nanousd == ending.record.cost_nanousd > 0
    return ending


def _held(body: dict[str, object]) -> int:
    drive = Drive(snapshot_of(SPEC))
    drive.send(body)
    drive.over()
    return drive.ending.held_nanousd


def test_while_it_is_reserved_it_costs_its_hold() -> None:
    exchange = _begun(SPEC)
    assert isinstance(exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS)), e.NeedReserve)
    ending = _late(exchange)
    assert ending.record.cost_nanousd == _held(chat())
    assert ending.record.model == "gpt-4o"


def test_while_it_is_counted_it_costs_its_bytes() -> None:
    body = chat(messages=[{"role": "user", "content": "word " * 20_000}])
    exchange = _begun("{team: ml, monthlyBudgetUSD: 1}")
    assert isinstance(exchange.receive(e.RequestBody(orjson.dumps(body), NOW_MS)), e.NeedCount)
    assert _late(exchange).record.cost_nanousd > 100_000 * 2_500  # a byte is a token of $2.50 a million


def test_a_refusal_that_nobody_heard_is_charged() -> None:
    exchange = _begun(POOR)
    drive = Drive(snapshot_of(POOR))
    need = exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS))
    assert isinstance(need, e.NeedReserve)
    assert isinstance(exchange.receive(e.ReserveDone(drive.ledger.reserve(need))), e.Reject)
    assert _late(exchange).record.cost_nanousd == _held(chat())


def test_before_its_body_was_seen_it_costs_its_length_at_the_dearest_price() -> None:
    told = _late(_begun(POOR, **{"content-length": "5000000"})).record.cost_nanousd
    untold = _late(_begun(POOR)).record.cost_nanousd
    assert 5_000_000 * 2_500 < told < untold


@given(
    st.text(max_size=3000), st.integers(1, 3), st.sampled_from(["gpt-4o", "claude-opus-4-5", "no-such-model"])
)
def test_less_is_never_charged_than_what_is_known_of_it_would_have_held(
    text: str, n: int, model: str
) -> None:
    body = chat(messages=[{"role": "user", "content": text}], n=n, model=model)
    raw = orjson.dumps(body)
    exchange = _begun(SPEC)
    exchange.receive(e.RequestBody(raw, NOW_MS))
    known = _late(exchange).record.cost_nanousd
    assert known >= _held(body)


@pytest.mark.parametrize("state", [State.AWAIT_BODY, State.RESERVING])
def test_a_client_that_left_before_costs_nothing(state: State) -> None:
    exchange = _begun(SPEC)
    if state is State.RESERVING:
        exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS))
    assert exchange.state is state
    exchange.receive(e.StreamClosed(e.EndedBy.CLIENT))
    ending = exchange.take_ending()
    assert ending is None or (ending.record.cost_nanousd == 0 and ending.settlement.release)  # type: ignore[union-attr]


def test_no_room_is_a_503_in_the_dialects_shape_that_may_be_tried_again() -> None:
    exchange = _begun(SPEC)
    action = exchange.receive(e.Busy())
    assert isinstance(action, e.Reject) and action.status == 503
    assert orjson.loads(action.body)["error"]["code"] == "too_busy"
    assert dict(action.headers)["retry-after"] == "1" and dict(action.headers)["x-should-retry"] == "true"
    assert exchange.take_ending() is None and exchange.state is State.ENDED


# -- the adapter's part --------------------------------------------------------------------------------------


async def _cancelled(deciding: DecisionDriver, body: bytes, after_s: float) -> e.EndedBy:
    """Decide, be cancelled, and say who it was."""
    deciding_it = asyncio.create_task(deciding.on(body))
    await asyncio.sleep(after_s)
    deciding_it.cancel()
    await asyncio.wait([deciding_it])
    return late_or_left(deciding._run, deciding)


async def test_late_is_who_is_gone_after_half_of_the_timeout() -> None:
    run, ledger = runtime()
    waits = asyncio.Event()

    async def forever(request: Any, now_ms: int = 0) -> Any:
        await waits.wait()

    ledger.reserve = forever  # type: ignore[method-assign]
    timeout_s = run.snapshot.settings.message_timeout / 1000
    body = orjson.dumps(chat())
    assert await _cancelled(DecisionDriver(run, _begun(SPEC)), body, 0.02) is e.EndedBy.CLIENT
    old = DecisionDriver(run, _begun(SPEC))
    old._came -= timeout_s / 2
    assert await _cancelled(old, body, 0.02) is e.EndedBy.LATE
    waits.set()


async def test_what_waited_for_a_busy_loop_has_waited_since_before_it_was_seen() -> None:
    run, _ = runtime()
    run.lag.tick()
    until = time.monotonic() + run.snapshot.settings.message_timeout / 2000 + 0.1
    while time.monotonic() < until:
        pass
    assert DecisionDriver(run, _begun(SPEC)).is_late()
    assert run.is_behind()


async def test_a_long_body_is_read_off_the_loop_and_ends_there_when_its_call_is_over() -> None:
    """The exchange is not touched by the loop while the thread has it."""
    run, _ = runtime()
    exchange = _begun(SPEC)
    body = orjson.dumps(chat(messages=[{"role": "user", "content": "word " * 600_000}]))
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()
    run.reading = ThreadPoolExecutor(1)
    blocked = loop.run_in_executor(
        run.reading, lambda: asyncio.run_coroutine_threadsafe(hold.wait(), loop).result()
    )
    deciding = DecisionDriver(run, exchange)
    task = asyncio.create_task(deciding.on(body))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    finished: asyncio.Future[State] = loop.create_future()
    deciding.left(lambda: finished.set_result(exchange.state))
    assert not finished.done()
    hold.set()
    await blocked
    assert await asyncio.wait_for(finished, 5) is State.COUNTING


async def test_counting_ends_with_its_part_of_the_timeout_and_the_bytes_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = runtime("{team: ml, monthlyBudgetUSD: 1000}")
    monkeypatch.setattr(module, "COUNTING_SHARE", -1.0)
    counted = DecisionDriver(run, _begun(SPEC))._count(e.NeedCount(("word " * 20_000,), 100_000))
    assert not counted.exact and counted.text_bytes == 100_000
    assert 15_000 < counted.tokens < 25_000  # for routing, by a sample


def _over(answer: ReserveResult) -> ReserveResult:
    """What the ledger says of an id whose exchange is over."""
    return replace(answer, candidate=0, held_nanousd=0, worst_nanousd=0, replayed=True, counters=())


def test_an_id_whose_exchange_is_over_is_asked_for_under_another_name_and_charged_by_that() -> None:
    """Nothing more is settled for it: whatever went on by that name would be free."""
    ledger = FakeLedger()
    exchange = _begun(SPEC)
    first = exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS))
    assert isinstance(first, e.NeedReserve)
    again = exchange.receive(e.ReserveDone(_over(ledger.reserve(first))))
    assert isinstance(again, e.NeedReserve)
    assert again.request == replace(first.request, exchange_id=again.request.exchange_id)
    assert again.request.exchange_id != first.request.exchange_id
    assert isinstance(exchange.receive(e.ReserveDone(ledger.reserve(again))), e.Forward)
    exchange.receive(e.StreamClosed(e.EndedBy.DRAIN))
    ending = exchange.take_ending()
    assert ending is not None and ending.settlement is not None
    assert ending.settlement.exchange_id == again.request.exchange_id
    assert ending.settlement.cost_nanousd == _held(chat())


def test_a_team_without_money_is_refused_also_where_its_id_was_used_before() -> None:
    ledger = FakeLedger()
    exchange = _begun("{team: ml, monthlyBudgetUSD: 1}")
    first = exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS))
    assert isinstance(first, e.NeedReserve)
    again = exchange.receive(e.ReserveDone(_over(ledger.reserve(first))))
    assert isinstance(again, e.NeedReserve)
    ledger.committed["ml"]["month"] = 2 * 10**9
    assert isinstance(exchange.receive(e.ReserveDone(ledger.reserve(again))), e.Reject)


def test_a_reservation_of_nothing_that_was_sent_twice_is_one() -> None:
    exchange, ledger = _begun(SPEC), FakeLedger()
    need = exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS))
    assert isinstance(need, e.NeedReserve)
    free = replace(ledger.reserve(need), held_nanousd=0, worst_nanousd=0, replayed=True, counters=((0, 0),))
    assert isinstance(exchange.receive(e.ReserveDone(free)), e.Forward)
