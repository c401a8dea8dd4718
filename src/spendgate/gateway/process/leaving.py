"""A worker that stops: it waits for calls as long as they live, and leaves behind what lives longer.

A call is left by ending it in good order, so that Envoy lets the rest of its answer pass as it comes, in either failure
mode. Where a usage that the client did not ask for was to be taken out of that rest, the call stays longer; where it
was not decided yet, it stays until it is.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from spendgate.gateway.runtime import Runtime

STAYS_S = 600.0
"""A stream whose usage is taken out may keep its worker for so long, though `drain_timeout` is over: as long as the
longest answers take."""
ENDING_S = 5.0


class Open(Protocol):
    """An open call."""

    def leave(self, *, last: bool) -> None:
        """Charge what it may cost and end it; only where that harms nobody, unless it is the `last` chance."""
        ...


async def stop(server: Any, runtime: Runtime, drain_s: float, hurry: asyncio.Event) -> None:
    """Let open calls end; after `drain_s` leave those that can be left, after `STAYS_S` all. `hurry`: all, now."""
    most_s = max(drain_s, STAYS_S)
    hurrying = asyncio.create_task(hurry.wait())
    ended = asyncio.create_task(server.stop(drain_s + most_s + ENDING_S))
    for wait_s, last in ((drain_s, False), (most_s - drain_s, True)):
        await asyncio.wait({ended, hurrying}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            break
        leave(runtime, last=last or hurrying.done())
    if not ended.done():
        await asyncio.wait({ended}, timeout=ENDING_S)
        await server.stop(None)
    await ended
    hurrying.cancel()


def leave(runtime: Runtime, *, last: bool) -> None:
    """Leave open calls behind."""
    runtime.draining = True
    for call in list(runtime.open):
        call.leave(last=last)
