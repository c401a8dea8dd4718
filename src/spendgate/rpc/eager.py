"""Coroutines that mostly do not wait: run at once, and made a task only where they do wait.

What a coroutine does before it waits for the first time runs outside of any task: there must be no
`asyncio.current_task` in it, hence no `asyncio.timeout`. Python 3.12 has this as `eager_task_factory`.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """The rest of a coroutine that waits for something. A future that it yielded is marked as awaited still, so that
    the task takes it as if it had been yielded to it."""
    while True:
        resume: Callable[[Any], Any] = coroutine.send
        try:
            value = yield awaited
        except BaseException as problem:  # noqa: BLE001  the coroutine's to bear
            resume, value = coroutine.throw, problem
        try:
            awaited = resume(value)
        except StopIteration as done:
            return done.value


def start(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
) -> tuple[Any, asyncio.Task[Any] | None]:
    """Run a coroutine until it waits. Its result and None, or None and the task that does the rest. Raises what it
    raises."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as done:
        return done.value, None

    async def rest() -> Any:
        return await _rest(coroutine, awaited)

    return None, loop.create_task(rest())
