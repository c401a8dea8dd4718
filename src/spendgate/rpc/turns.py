"""A call that answers its messages one after the other: at once, or by a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from spendgate.rpc import eager
from spendgate.rpc.call import Call, Message


def _no_answer(message: Any) -> None:
    """What is left of a service whose call is over."""


def _nothing() -> None:
    """Likewise."""


class Refused:
    """The handler of a call that ends with a status at once."""

    def __init__(self, call: Call, code: int, message: str) -> None:
        call.finish(code, message)

    def message(self, message: Message) -> bool:
        """See Handler."""
        return False

    def half_closed(self) -> None:
        """See Handler."""

    def lost(self) -> None:
        """See Handler."""


class Turns:
    """The handler of one call. A step that waits when the call ends is cancelled, as in grpc.aio; `over` comes after
    it, exactly once."""

    __slots__ = ("_is_over", "_rest", "answer", "answered", "call", "loop", "over")

    answer: Callable[[Any], Any]
    """The reply to a message, None: there is none; or a coroutine that makes it, where it may have to wait. See `eager`
    for what that may do before it waits."""
    answered: Callable[[], None]
    """The reply is sent."""
    over: Callable[[], None]
    """The call is over, however it came to be."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.loop = loop
        self._rest: eager.Rest | None = None
        self._is_over = False

    def read(self, message: Message) -> Any:
        """Parse a message."""
        raise NotImplementedError

    def encode(self, reply: Any) -> bytes:
        """A reply as bytes."""
        raise NotImplementedError

    def message(self, message: Message) -> bool:
        """See Handler."""
        try:
            reply = self.answer(self.read(message))
            rest = None
            if type(reply) is CoroutineType:
                reply, rest = eager.start(reply, self.loop)
            if rest is None:
                self._reply(reply)
                return False
        except Exception as problem:  # noqa: BLE001  one call's fault is no other's
            self._fail(problem)
            return False
        self._rest = rest
        rest.add_done_callback(self._done)
        return True

    def _reply(self, reply: Any) -> None:
        if reply is not None:
            self.call.send(self.encode(reply))
        self.answered()

    def _done(self, rest: eager.Rest) -> None:
        self._rest = None
        if rest.cancelled() or (self.call.is_over and rest.exception() is None):
            self.call.finish()
            self._finish()
            return
        try:
            self._reply(rest.result())
        except Exception as problem:  # noqa: BLE001  one call's fault is no other's
            self._fail(problem)
        else:
            self.call.ready()

    def _fail(self, problem: BaseException) -> None:
        self.call.broke(problem)
        self._finish()

    def half_closed(self) -> None:
        """See Handler."""
        self.end()

    def end(self) -> None:
        """End the call in good order; a step that waits is cancelled."""
        self.call.finish()
        self.lost()

    def lost(self) -> None:
        """See Handler."""
        if self._rest is not None:
            self._rest.cancel()
        else:
            self._finish()

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.over()
            # what the service bound here knows us: let go, so that no cycle is left to the collector
            self.answer, self.answered, self.over = _no_answer, _nothing, _nothing
