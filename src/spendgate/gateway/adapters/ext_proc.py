"""Envoy's External Processing service on either server: a call of Process is one exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc

from spendgate.gateway.adapters import codec
from spendgate.gateway.adapters.ext_proc_call import ProcessCall
from spendgate.gateway.adapters.lenient import lenient
from spendgate.gateway.adapters.line import made
from spendgate.gateway.runtime import NO_POLICY, Runtime
from spendgate.rpc.call import Call, Handler, Message
from spendgate.rpc.status import Code
from spendgate.rpc.turns import Refused, Turns

PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_parse = lenient(pb.ProcessingRequest.FromString)
_message = pb.ProcessingResponse.FromString
"""grpc.aio's generated code writes messages, not their wire form."""


class ProcessTurns(Turns):
    """One call on our own server."""

    __slots__ = ()

    def __init__(self, runtime: Runtime, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(call, loop)
        process = ProcessCall(runtime, call.metadata_of(codec.TELLING), self)
        self.answer = process.reply
        self.answered = process.answered
        self.over = process.over

    def read(self, message: Message) -> Any:
        """See Turns."""
        return _parse(message)

    def encode(self, reply: Any) -> bytes:
        """See Turns."""
        wire_form: bytes = reply
        return wire_form

    def ask(self, reply: bytes) -> None:
        """See Line."""
        self.call.send(reply)

    def leave(self) -> None:
        """See Line."""
        self.end()

    @property
    def has_failed(self) -> bool:
        """See Line."""
        return self.call.has_failed


class Processor:
    """The service on our own server."""

    def __init__(self, runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
        self._run = runtime
        self._loop = loop

    def begin(self, call: Call) -> Handler:
        """Take a call."""
        if not self._run.knows_policy:
            return Refused(call, Code.UNAVAILABLE, NO_POLICY)
        return ProcessTurns(self._run, call, self._loop)


class _ContextLine:
    """A call of grpc.aio."""

    has_failed = False
    """Its errors are told as exceptions."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._task = asyncio.current_task()
        self._asking: asyncio.Future[Any] | None = None
        self.is_left = False

    def ask(self, reply: bytes) -> None:
        """See Line."""
        self._asking = asyncio.ensure_future(self._context.write(_message(reply)))
        self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def write(self, reply: bytes | None) -> None:
        """Write a reply, one after the other."""
        if self._asking is not None:
            await self._asking
            self._asking = None
        if reply is not None:
            await self._context.write(_message(reply))

    def leave(self) -> None:
        """See Line."""
        if self._task is not None:
            self.is_left = True
            self._task.cancel()


class ExternalProcessor(external_processor_pb2_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """The service on grpc.aio."""

    def __init__(self, runtime: Runtime) -> None:
        self._run = runtime

    async def Process(self, request_iterator: Any, context: Any) -> None:  # noqa: N802  Envoy's name
        """Answer each message in turn; hand the ending over whatever happens."""
        if not self._run.knows_policy:
            await context.abort(grpc.StatusCode.UNAVAILABLE, NO_POLICY)
        line = _ContextLine(context)
        call = ProcessCall(self._run, tuple(context.invocation_metadata()), line)
        try:
            while await _turn(call, line, context):
                pass
        except asyncio.CancelledError:
            if not line.is_left:
                raise
            # ended in good order: Envoy lets the rest of the answer pass
        finally:
            call.over()


async def _turn(call: ProcessCall, line: _ContextLine, context: Any) -> bool:
    """Read a message and answer it. False: there are no more. Nothing of it is kept until the next."""
    message = await context.read()
    if message is grpc.aio.EOF:
        return False
    reply = call.reply(message)
    del message
    await line.write(await made(reply))
    call.answered()
    return True
