"""Coroutines that are run at once: what they wait for once makes no task, and nothing of them is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spendgate.rpc import eager
from spendgate.tasks import in_task


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def after(future: asyncio.Future[Any], seen: list[object]) -> str:
    """Waits once."""
    try:
        seen.append(await future)
        seen.append(asyncio.current_task())
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
    return "done"


async def test_a_coroutine_that_does_not_wait_is_over_at_once() -> None:
    async def at_once(x: int) -> int:
        return x + 1

    async def fails() -> None:
        raise ValueError("at once")

    before = len(asyncio.all_tasks())
    assert eager.start(at_once(1), loop()) == (2, None)
    with pytest.raises(ValueError, match="at once"):
        eager.start(fails(), loop())
    assert len(asyncio.all_tasks()) == before


async def test_one_that_waits_once_makes_no_task_and_tells_of_its_end() -> None:
    before = len(asyncio.all_tasks())
    seen: list[object] = []
    told: list[object] = []
    future = loop().create_future()
    nothing, rest = eager.start(after(future, seen), loop())
    assert nothing is None
    assert rest is not None
    rest.add_done_callback(lambda r: told.append(r.result()))
    assert (rest.done(), len(asyncio.all_tasks())) == (False, before)
    future.set_result("there")
    assert await rest == "done"
    assert seen == ["there", None]  # in no task
    assert told == ["done"]
    assert (rest.done(), rest.cancelled(), rest.exception(), await rest) == (True, False, None, "done")


async def test_one_that_waits_again_is_a_task_by_then() -> None:
    async def waits(future: asyncio.Future[int]) -> int:
        x = await future
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            return x + 1
        return 0

    future = loop().create_future()
    _, rest = eager.start(waits(future), loop())
    future.set_result(1)
    assert rest is not None
    assert await rest == 2


async def test_a_timeout_is_had_after_a_first_wait_by_asking_for_a_task() -> None:
    async def bounded(future: asyncio.Future[int]) -> None:
        await future
        await in_task()
        async with asyncio.timeout(0.001):
            await asyncio.sleep(5)

    future = loop().create_future()
    _, rest = eager.start(bounded(future), loop())
    future.set_result(1)
    assert rest is not None
    with pytest.raises(TimeoutError):
        await rest


@pytest.mark.parametrize("is_there", [False, True], ids=["waits", "is there already"])
async def test_one_that_is_cancelled_hears_of_it(is_there: bool) -> None:
    seen: list[object] = []
    future = loop().create_future()
    _, rest = eager.start(after(future, seen), loop())
    assert rest is not None
    if is_there:
        future.set_result("there")
    assert rest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rest
    assert seen == ["cancelled"]
    assert (rest.done(), rest.cancelled(), rest.cancel()) == (True, True, False)


async def test_one_that_cancels_itself_is_cancelled_where_it_waits_next() -> None:
    async def ends(future: asyncio.Future[int]) -> None:
        await future
        assert rest is not None
        rest.cancel()
        await asyncio.sleep(5)

    future = loop().create_future()
    _, rest = eager.start(ends(future), loop())
    future.set_result(1)
    assert rest is not None
    with pytest.raises(asyncio.CancelledError):
        await rest


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_what_another_waits_for_goes_on_when_that_one_is_cancelled(in_a_task: bool) -> None:
    inner_future = loop().create_future()
    seen: list[object] = []
    told: list[eager.Rest] = []

    async def outer() -> None:
        _, inner = eager.start(after(inner_future, seen), loop())
        assert inner is not None
        inner.add_done_callback(told.append)
        await inner

    if in_a_task:
        task = loop().create_task(outer())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        _, rest = eager.start(outer(), loop())
        assert rest is not None
        rest.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rest
    assert seen == []
    inner_future.set_result("there")
    await asyncio.sleep(0.001)
    assert seen[0] == "there"
    assert told[0].result() == "done"


async def test_what_it_fails_at_is_told_to_whoever_waits_else_to_the_loop() -> None:
    async def fails(future: asyncio.Future[int]) -> None:
        await future
        raise ValueError("later")

    heard: list[dict[str, Any]] = []
    loop().set_exception_handler(lambda _, context: heard.append(context))
    future = loop().create_future()
    _, rest = eager.start(fails(future), loop())
    _, unheard = eager.start(fails(future), loop())
    assert rest is not None
    waiting = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    future.set_result(1)
    with pytest.raises(ValueError, match="later"):
        await waiting
    assert unheard is not None
    assert unheard.done()
    assert [str(h["exception"]) for h in heard] == ["later"]
