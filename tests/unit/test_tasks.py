from __future__ import annotations

import asyncio

from spendgate.tasks import cancel_and_wait


async def test_a_task_that_takes_a_cancellation_for_something_else_ends_all_the_same() -> None:
    async def deaf() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(3600)

    async def broken() -> None:
        raise ValueError("not ours")

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await cancel_and_wait(*tasks)
    assert all(t.done() for t in tasks)
