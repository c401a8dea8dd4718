"""Coroutines that mostly wait once or not at all: run at once, and made a task only where they wait again.

Up to its first wait a coroutine runs in the task of whoever starts it, if any, and up to its second in none: there must
be no `asyncio.current_task` in it, hence no `asyncio.timeout`. `asyncio.sleep(0)` makes it a task; after the first wait
`tasks.in_task` does, where it is none. Python 3.12 has a part of this as `eager_task_factory`.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def _goes_on(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
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


class Rest:
    """The rest of a coroutine that waits: to be cancelled, and told of its end, as a task is. One may await it, and
    whoever does may be cancelled: the rest goes on. What it fails at and nobody hears is told to the loop."""

    __slots__ = (
        "_awaited", "_coroutine", "_is_cancelled", "_loop", "_problem", "_result", "_task", "_tell", "_waiter"
    )  # fmt: skip

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], awaited: Any, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._coroutine: Coroutine[Any, Any, Any] | None = coroutine
        self._loop = loop
        self._tell: list[Callable[[Any], object]] = []
        self._waiter: asyncio.Future[Any] | None = None
        self._result: Any = None
        self._problem: BaseException | None = None
        self._awaited: Any = None
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        """It is to be cancelled when what it waits for is there."""
        if awaited is None:  # asyncio.sleep(0)
            self._become_task(awaited)
        else:
            awaited._asyncio_future_blocking = False  # as a task says that it has seen it
            self._awaited = awaited
            awaited.add_done_callback(self._resume)

    def _resume(self, awaited: Any) -> None:
        coroutine = self._coroutine
        assert coroutine is not None
        self._awaited = None
        try:
            if self._is_cancelled:
                self._is_cancelled = False
                awaited = coroutine.throw(asyncio.CancelledError())
            else:
                awaited = coroutine.send(None)
        except StopIteration as done:
            self._result = done.value
            self._end()
        except BaseException as problem:
            self._problem = problem
            self._end()
            if isinstance(problem, KeyboardInterrupt | SystemExit):
                raise
        else:
            self._become_task(awaited)

    def _become_task(self, awaited: Any) -> None:
        coroutine = self._coroutine
        assert coroutine is not None

        async def rest() -> Any:
            return await _goes_on(coroutine, awaited)

        self._task = self._loop.create_task(rest())
        self._task.add_done_callback(self._ended)
        if self._is_cancelled:  # meanwhile, by what the coroutine itself did
            self._task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._problem = asyncio.CancelledError()
        else:
            self._problem = task.exception()
            self._result = task.result() if self._problem is None else None
        self._task = None
        self._end()

    def _end(self) -> None:
        self._coroutine = None
        waiter, problem, tell = self._waiter, self._problem, self._tell
        self._waiter, self._tell = None, []
        if waiter is not None and not waiter.done():
            if problem is None:
                waiter.set_result(self._result)
            elif isinstance(problem, asyncio.CancelledError):
                waiter.cancel()
            else:
                waiter.set_exception(problem)
        elif not (problem is None or tell or isinstance(problem, asyncio.CancelledError)):
            self._loop.call_exception_handler({"message": "nobody waited for it", "exception": problem})
        for callback in tell:
            callback(self)

    def __await__(self) -> Generator[Any, None, Any]:
        """For one at a time."""
        if self._coroutine is None:
            return self.result()
        self._waiter = self._loop.create_future()
        return (yield from self._waiter)

    # -- as a task's ----------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Is it over?"""
        return self._coroutine is None

    def cancel(self) -> bool:
        """Let what it waits for fail with CancelledError. False where it is over."""
        if self._coroutine is None:
            return False
        if self._task is not None:
            return self._task.cancel()
        if self._awaited is None or not self._awaited.cancel():
            self._is_cancelled = True
        return True

    def cancelled(self) -> bool:
        """Did it end by that?"""
        return isinstance(self._problem, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        """What it failed at."""
        return self._problem

    def result(self) -> Any:
        """What it returned. Raises what it failed at."""
        if self._problem is not None:
            raise self._problem
        return self._result

    def add_done_callback(self, tell: Callable[[Any], object]) -> None:
        """Tell of its end, with itself. At once, when it comes; not where it is over."""
        self._tell.append(tell)


def start(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> tuple[Any, Rest | None]:
    """Run a coroutine until it waits. Its result and None, or None and the rest. Raises what it raises."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as done:
        return done.value, None
    return None, Rest(coroutine, awaited, loop)
