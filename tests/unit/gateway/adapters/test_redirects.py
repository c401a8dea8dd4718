"""Internal redirects: which pass of a call is meant, and what a pass that ended leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from support.fake_ledger import FakeLedger
from unit.exchange.test_access_log_settlement import HELD, TICKET

from spendgate.exchange import billing
from spendgate.exchange.handover import Handover
from spendgate.gateway.adapters.redirects import REDIRECTS, Left, exchange_id, passes
from spendgate.records.record import ExchangeResult

TOLD = Handover(
    "x", "ml", "chat", "", "", "gpt-4o", "gpt-4o", "allow", "within_budget", 0, "", "", "", groups=("eng",)
)
LEFT = TICKET.ending(billing.at_hold(HELD, "aborted"))


def fields(**more: str) -> Any:
    attributes: dict[str, Any] = {
        "request.time": "2026-11-29T10:00:00Z",
        "source.address": "10.0.0.1:5",
        "connection.id": 7,
    }
    struct = Struct()
    struct.update({**attributes, **more})
    return struct.fields


def test_each_pass_has_a_name_of_its_own_and_knows_the_one_before() -> None:
    first, before = passes(fields())
    assert (first, before) == (exchange_id(fields()), "")
    assert passes(fields(**{REDIRECTS: "0"})) == (first, "")
    second, before = passes(fields(**{REDIRECTS: "1"}))
    assert (second != first, before) == (True, first)
    third, before = passes(fields(**{REDIRECTS: "2"}))
    assert (third not in (first, second), before) == (True, second)


def test_a_call_that_envoy_replays_has_the_same_names() -> None:
    assert passes(fields(**{REDIRECTS: "1"})) == passes(fields(**{REDIRECTS: "1"}))


class Ledger(FakeLedger):
    """Says what became of a hold that is voided."""

    word = "released"

    async def settle(self, batch: Any, now_ms: int = 0) -> list[str]:
        await super().settle(batch, now_ms)
        return [self.word] * len(batch)


class Taking:
    """An exchange that is told what to meter."""

    told: Handover | None = None

    def take_over(self, told: Handover) -> None:
        self.told = told


def run(act: Callable[[Left, Ledger, Taking], Awaitable[None]]) -> tuple[list[ExchangeResult], Taking]:
    put: list[ExchangeResult] = []
    taking = Taking()

    async def main() -> None:
        ledger = Ledger()
        kept: list[Any] = []
        await act(Left(ledger, put.append, kept.append), ledger, taking)  # type: ignore[arg-type]
        await asyncio.gather(*kept)

    asyncio.run(main())
    return put, taking


def test_the_next_pass_is_told_and_the_hold_of_the_first_is_voided() -> None:
    async def act(left: Left, ledger: Ledger, taking: Taking) -> None:
        left.leave(LEFT, TOLD)
        assert await left.follow(taking, "x")  # type: ignore[arg-type]
        [void] = ledger.taken
        assert (void.exchange_id, void.team, void.release) == ("x", "ml", True)
        assert [share.name for share in void.groups] == ["eng"]
        left.flush()

    put, taking = run(act)
    assert taking.told == TOLD
    assert put == [LEFT]  # which the ledger knows as ended


@pytest.mark.parametrize("word", ["replayed", "settled"])
def test_a_hold_that_cannot_be_voided_is_taken_over_by_nobody(word: str) -> None:
    async def act(left: Left, ledger: Ledger, taking: Taking) -> None:
        ledger.word = word
        left.leave(LEFT, TOLD)
        assert not await left.follow(taking, "x")  # type: ignore[arg-type]
        left.flush()

    put, taking = run(act)
    assert (put, taking.told) == ([LEFT], None)


def test_without_a_word_or_a_ledger_nothing_is_taken_over() -> None:
    async def act(left: Left, ledger: Ledger, taking: Taking) -> None:
        assert not await left.follow(taking, "x")  # type: ignore[arg-type]
        ledger.takes = 0
        left.leave(LEFT, TOLD)
        assert not await left.follow(taking, "x")  # type: ignore[arg-type]
        left.flush()

    assert run(act)[1].told is None


def test_an_exchange_that_nobody_follows_is_settled_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spendgate.gateway.adapters.redirects.LINGER_S", 0.02)

    async def act(left: Left, _: Ledger, __: Taking) -> None:
        left.leave(LEFT, TOLD)
        left.leave(LEFT, replace(TOLD, exchange_id="y"))
        await asyncio.sleep(0.1)
        left.flush()

    assert run(act)[0] == [LEFT, LEFT]
