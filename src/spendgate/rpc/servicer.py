"""Services written for grpc.aio (`async def Method(self, request, context)`) on calls of ours.

The servers of generated code take them by `add_registered_method_handlers`; so does `Server`. Of grpc.aio's context
there is what services here use: metadata, read, write, abort.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import grpc

from spendgate.rpc.call import Call, Message
from spendgate.rpc.status import Code


class _Aborted(Exception):
    """The service ended the call with a status."""


class Context:
    """The context of one call."""

    def __init__(self, call: Call, serialize: Callable[[Any], bytes]) -> None:
        self._call = call
        self._serialize = serialize
        self._next: Any = None
        self._is_there = self._at_end = False
        self._reader: asyncio.Future[None] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The call's headers."""
        return tuple(self._call.metadata)

    async def read(self) -> Any:
        """The next message; grpc.aio.EOF where there are no more."""
        while not self._is_there:
            if self._at_end:
                return grpc.aio.EOF
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message, self._next, self._is_there = self._next, None, False
        self._call.ready()
        return message

    async def write(self, message: Any) -> None:
        """Send a message."""
        self._call.send(self._serialize(message))

    async def abort(self, code: Any, details: str = "") -> NoReturn:
        """End the call with a status."""
        self._call.finish(code.value[0], details)
        raise _Aborted

    def put(self, message: Any) -> None:
        """The peer's next message is there."""
        self._next, self._is_there = message, True
        self._stir()

    def end(self) -> None:
        """There are no more."""
        self._at_end = True
        self._stir()

    def _stir(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class ServicerCall:
    """The handler of one call: a task."""

    def __init__(self, call: Call, method: Any, loop: asyncio.AbstractEventLoop) -> None:
        """`method`: grpc's RpcMethodHandler."""
        self._call = call
        self._method = method
        self._loop = loop
        self._context = Context(call, method.response_serializer)
        self._task: asyncio.Task[None] | None = None
        if method.request_streaming:
            self._start(method.stream_stream or method.stream_unary, None)

    def _start(self, behaviour: Any, request: Any) -> None:
        self._task = self._loop.create_task(self._run(behaviour, request))

    async def _run(self, behaviour: Any, request: Any) -> None:
        call = self._call
        try:
            answer = await behaviour(request, self._context)
            if answer is not None and not self._method.response_streaming:
                call.send(self._method.response_serializer(answer))
            call.finish()
        except _Aborted:
            return
        except Exception as problem:  # noqa: BLE001
            call.broke(problem)

    def message(self, message: Message) -> bool:
        """See Handler."""
        request = self._method.request_deserializer(message)
        if self._method.request_streaming:
            self._context.put(request)
            return True
        if self._task is None:
            self._start(self._method.unary_stream or self._method.unary_unary, request)
        return False

    def half_closed(self) -> None:
        """See Handler."""
        if self._method.request_streaming:
            self._context.end()
        elif self._task is None:
            self._call.finish(Code.INTERNAL, "no request came")

    def lost(self) -> None:
        """See Handler."""
        if self._task is not None:
            self._task.cancel()
