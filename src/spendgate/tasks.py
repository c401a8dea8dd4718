"""Tasks: ended for certain, and made where one is needed."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 0.5


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel until every task has ended; what they raise is not ours.

    Once is not enough: a library may take the cancellation for a timeout of its own (redis-py does while it
    connects, and before Python 3.11.3 in every call), and the task then goes on as if nothing had been said.
    """
    pending = {t for t in tasks if not t.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain of it


async def in_task() -> None:
    """Go on in a task where there is none (`rpc.eager`, after a first wait): `asyncio.timeout` needs one. Before the
    first wait the task may be another's: there `asyncio.sleep(0)` makes one in any case."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)
