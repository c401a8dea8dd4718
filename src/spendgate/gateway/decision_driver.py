"""From a request's body to its decision: counts and reserves as the exchange asks, for every entry of traffic.

Bodies that take at most some two milliseconds are read on the event loop: a thread would hold the interpreter's lock as
long, and costs half a millisecond itself. Longer ones are read, and rewritten, in a thread, one at a time. Counting
ends with its part of the message timeout, and then the bytes are the bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from spendgate.dialects.wire.json_read import is_light
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.gateway import relay
from spendgate.gateway.runtime import Runtime
from spendgate.rpc import eager
from spendgate.tokens.count import measure

COUNTING_SHARE = 0.3
"""The part of the message timeout after which nothing more is counted."""
LATE_SHARE = 0.5
"""A call that ends undecided after this part of it was sent on by Envoy, as far as we can know: the clocks of both
are not the same, and what waits for a busy loop has waited before we see it."""
WAIT_SHARE = 0.45
"""The part of the message timeout in which room is waited for (`hold_wait`): less than makes a decision late."""
AGAIN_S = 0.05
"""A request that waits for room asks the ledger so often."""
SETTLE_S = 0.01
"""So long a late decision waits for word that Envoy has given the call up."""


def is_late(run: Runtime, seconds: float) -> bool:
    """Does Envoy count as gone where it has waited so long for a decision?"""
    return seconds >= run.snapshot.settings.message_timeout / 1000 * LATE_SHARE


def late_or_left(run: Runtime, deciding: DecisionDriver) -> e.EndedBy:
    """Who ended a call while we were deciding: Envoy, which sends on what it has no answer for (`failure_mode:
    open`; with `closed` nothing was sent), or the client."""
    is_open = run.snapshot.settings.failure_mode == "open"
    return e.EndedBy.LATE if is_open and deciding.is_late() else e.EndedBy.CLIENT


def give_way() -> None:
    """Let the event loop have its turn, from a thread. A sleep of no length would take the lock back before the
    loop's thread is awake."""
    time.sleep(0.000_05)


class DecisionDriver:
    """One exchange's way to its decision. The call may be cancelled at any moment: `left` ends it then."""

    __slots__ = ("_came", "_exchange", "_run", "_timeout_s", "_working")

    def __init__(self, runtime: Runtime, exchange: Exchange) -> None:
        self._run, self._exchange = runtime, exchange
        self._came = time.monotonic() - runtime.lag.recent_s()
        """When its body came at the latest: it may have waited for the loop."""
        self._timeout_s = runtime.snapshot.settings.message_timeout / 1000
        self._working: asyncio.Future[Any] | eager.Rest | None = None

    async def on(self, body: bytes) -> e.Forward | e.Reject:
        """Decide on a whole body."""
        run = self._run
        began = time.perf_counter()
        exchange = self._exchange
        if exchange.handover_word:
            await relay.take_over(run, exchange, body)
        at = None if not exchange.is_coded and is_light(body) else run.reading
        event: e.Event = e.RequestBody(body, run.now_ms())
        del body
        while True:
            action = exchange.receive(event) if at is None else await self._receive(event, at)
            del event  # only the exchange knows how long the body is needed
            match action:
                case e.NeedReserve():
                    event = await self._reserve(action)
                case e.NeedCount():
                    counting = asyncio.get_running_loop().run_in_executor(run.counting, self._count, action)
                    event = e.CountDone(await self._shielded(counting))
                case _:
                    break
        if self.is_late():
            await asyncio.sleep(SETTLE_S)  # is the call cancelled? Then this decision came too late
        run.metrics.decided.observe(time.perf_counter() - began)
        assert isinstance(action, e.Forward | e.Reject)
        return action

    def is_late(self) -> bool:
        """Did Envoy send the request on, should the call be over now?"""
        return is_late(self._run, time.monotonic() - self._came)

    def left(self, finish: Callable[[], None]) -> None:
        """The call is over: finish now, or, where a step is on its way that cannot be called back, after it."""
        working = self._working
        if working is not None and not working.done():
            working.add_done_callback(lambda _: finish())
            self._run.keep(working)
            return
        finish()

    async def _reserve(self, need: e.NeedReserve) -> e.ReserveDone | e.LedgerDown:
        """Ask the ledger; once more, after a moment, where others' holds may have ended."""
        if need.again:
            await asyncio.sleep(AGAIN_S)
        done: e.ReserveDone | e.LedgerDown
        done, reserving = eager.start(self._run.reserve(need), asyncio.get_running_loop())
        if reserving is not None:
            self._working = reserving  # it goes on to its end even where the call does not
            done = await reserving
            self._working = None
        if isinstance(done, e.ReserveDone) and done.result.waits_for is not None and self._may_wait():
            return replace(done, may_wait=True)
        return done

    def _may_wait(self) -> bool:
        """Is there time to ask once more? `hold_wait` ends early enough for the decision to reach Envoy in time."""
        wait_s = min(self._run.snapshot.settings.hold_wait / 1000, self._timeout_s * WAIT_SHARE)
        return time.monotonic() - self._came + AGAIN_S < wait_s

    async def _receive(self, event: e.Event, at: Executor) -> e.Action:
        loop = asyncio.get_running_loop()
        action: e.Action = await self._shielded(loop.run_in_executor(at, self._exchange.receive, event))
        return action

    async def _shielded(self, working: asyncio.Future[Any]) -> Any:
        """Wait for a step that goes on to its end even where the call does not."""
        self._working = working
        result = await asyncio.shield(working)
        self._working = None
        return result

    def _count(self, need: e.NeedCount) -> Any:
        until = self._came + self._timeout_s * COUNTING_SHARE

        def stop() -> bool:
            return time.monotonic() > until

        return measure(need.texts, need.text_bytes, exact=True, pause=give_way, stop=stop)
