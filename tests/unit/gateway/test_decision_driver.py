"""Counting a hostile body exactly leaves the event loop its turns."""

from __future__ import annotations

import asyncio
import random

from spendgate.gateway.decision_driver import give_way
from spendgate.tokens.count import measure


async def test_the_loop_turns_while_a_megabyte_of_letters_is_counted() -> None:
    """The tokenizer keeps the interpreter's lock while it counts: in one go the loop would not turn at all."""
    letters = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000))
    turns, pauses = 0, []

    def pause() -> None:
        before = turns
        give_way()
        pauses.append(turns > before)

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    counted = await asyncio.to_thread(measure, [letters], len(letters), exact=True, pause=pause)
    turning.cancel()
    assert counted.exact
    assert len(pauses) > 100  # one a piece
    assert sum(pauses) > len(pauses) // 2  # and the loop used them
