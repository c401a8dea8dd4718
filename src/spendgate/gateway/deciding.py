"""From a request's body to its decision: counts and reserves as the exchange asks, for every entry of traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from spendgate.gateway import events as e
from spendgate.gateway import relay
from spendgate.gateway.exchange import Exchange
from spendgate.gateway.runtime import Runtime
from spendgate.tokens.count import measure


def give_way() -> None:
    """Let the event loop have its turn, from a thread. A sleep of no length would take the lock back before the
    loop's thread is awake."""
    time.sleep(0.000_05)


class Deciding:
    """One exchange's way to its decision. The call may be cancelled at any moment: `left` ends it then."""

    __slots__ = ("_exchange", "_reserving", "_run")

    def __init__(self, runtime: Runtime, exchange: Exchange) -> None:
        self._run, self._exchange = runtime, exchange
        self._reserving: asyncio.Future[Any] | None = None

    async def on(self, body: bytes) -> e.Forward | e.Reject:
        """Decide on a whole body."""
        exchange, run = self._exchange, self._run
        began = time.perf_counter()
        await relay.take_over(run, exchange, body)
        action = exchange.receive(e.RequestBody(body, run.now_ms()))
        while True:
            match action:
                case e.NeedReserve():
                    self._reserving = asyncio.get_running_loop().create_task(run.reserve(action))
                    action = exchange.receive(await asyncio.shield(self._reserving))
                    self._reserving = None
                case e.NeedCount():
                    need = action
                    counted = await asyncio.to_thread(
                        measure, need.texts, need.text_bytes, exact=True, pause=give_way
                    )
                    action = exchange.receive(e.CountDone(counted))
                case _:
                    break
        run.metrics.decided.observe(time.perf_counter() - began)
        assert isinstance(action, e.Forward | e.Reject)
        return action

    def left(self, finish: Callable[[], None]) -> None:
        """The call is over: finish now, or, where a reservation is on its way, when it is there, to void it."""
        reserving = self._reserving
        if reserving is not None and not reserving.done():
            reserving.add_done_callback(lambda _: finish())
            self._run.keep(reserving)
            return
        finish()
