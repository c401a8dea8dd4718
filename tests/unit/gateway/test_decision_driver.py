"""Long bodies leave the event loop its turns: whether they are read, or a hostile one is counted exactly."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import orjson
import pytest
from unit.exchange.driver import snapshot_of
from unit.gateway.test_runtime import SPEC, runtime

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.gateway.decision_driver import DecisionDriver, give_way
from spendgate.identity.identity import Caller
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


CODE = (
    'if (x["key"] == \'v\' && y_c != "") { return [1, 2, {"a": "b"}]; } // so that strings have many ends\n'
)
BLOCKED_S = 0.005
"""The event loop is never away for longer with a body."""


class _Watched(Exchange):
    """Knows in which threads it was told things."""

    def __init__(self) -> None:
        super().__init__("x", snapshot_of(SPEC))
        caller = Caller({"content-type": "application/json", "x-llm-team": "ml", "x-llm-app": "a"})
        self.receive(e.RequestHeaders("POST", "/v1/chat/completions", caller))
        self.threads: list[str] = []

    def receive(self, event: e.Event) -> e.Action:
        if isinstance(event, e.RequestBody):
            self.threads.append(threading.current_thread().name)
        return super().receive(event)


async def _longest_turn(body: bytes) -> tuple[float, str]:
    """Decide on a body: the most CPU time that the loop's own thread took in one turn, and who read the body."""
    run, ledger = runtime()
    ledger.away = False
    turns: list[float] = []

    async def turn() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - before)

    exchange = _Watched()
    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    assert isinstance(await DecisionDriver(run, exchange).on(body), e.Forward)
    await asyncio.sleep(0)
    turning.cancel()
    [thread] = exchange.threads
    return max(turns), thread


@pytest.mark.parametrize(
    ("words", "size", "where"),
    [
        ("the quick brown fox ", 100_000, "MainThread"),
        ("the quick brown fox ", 2_000_000, "MainThread"),
        ("the quick brown fox ", 10_000_000, "reading"),
        (CODE, 60_000, "MainThread"),
        (CODE, 500_000, "reading"),
        (CODE, 10_000_000, "reading"),
        ("naïve – “so to say” – ", 500_000, "MainThread"),
        ("naïve – “so to say” – ", 2_000_000, "reading"),
    ],
)
async def test_no_body_keeps_the_event_loop_away(words: str, size: int, where: str) -> None:
    said = words * (size // len(words.encode()))
    asked = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": said}]}
    body = orjson.dumps(asked)
    found = [await _longest_turn(body) for _ in range(5)]
    assert all(thread.startswith(where) for _, thread in found)
    assert min(longest for longest, _ in found) < BLOCKED_S
