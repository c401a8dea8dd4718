"""An exchange that is over is freed by its reference counts: the collector finds nothing of it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import orjson
import pytest
from support.grpc_peer import Pair
from unit.exchange.desk import Desk, body, response_headers
from unit.exchange.driver import chat, chat_answer

from spendgate.gateway.adapters.ext_proc import Processor
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult

ANSWERS = {
    "JSON": [response_headers(), body(chat_answer(), kind="response_body")],
    "nothing": [],
}


@pytest.mark.parametrize("engine", ["ngh2", "h2"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_exchange_leaves_nothing_to_the_collector(engine: Any, answer: str) -> None:
    desk, loop = Desk("{team: ml, monthlyBudgetUSD: 9000000}"), asyncio.get_running_loop()
    reserve = desk.ledger.reserve

    async def later(request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        await asyncio.sleep(0)
        return await reserve(request)

    desk.ledger.reserve = later  # type: ignore[method-assign]
    pair = Pair(engine, service=Processor(desk.runtime, loop).begin)

    async def one() -> None:
        call = pair.call()
        asked = body(orjson.dumps(chat()))
        for message in (desk.request_headers("ml"), asked, *ANSWERS[answer]):
            pair.say(call, message.SerializeToString())
            for _ in range(8):
                pair.exchange()
                await asyncio.sleep(0)
        pair.client.reset_stream(call)
        pair.exchange()
        await asyncio.sleep(0)

    for _ in range(3):  # what is kept for all
        await one()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await one()
        gc.collect()
        ours = [x for x in gc.garbage if type(x).__module__.startswith("spendgate")]
        assert not ours, {type(x).__qualname__ for x in ours}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert answer == "nothing" or len(desk.settler.endings) == 8
    assert desk.errors() == 0
