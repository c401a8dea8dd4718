"""A peer of our gRPC server without sockets: an h2 client on one side, the server's connection on the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events

from spendgate.rpc.call import Call, Message, Method
from spendgate.rpc.connection import Connection
from spendgate.rpc.engine import Name, factory
from spendgate.rpc.limits import Limits
from spendgate.rpc.load import Load
from spendgate.rpc.messages import framed

PATH = "/test.Echo/Say"


def _texts(headers: Any) -> dict[str, str]:
    """Headers as h2 gives them with a `header_encoding`, of which its types know nothing."""
    return dict(headers)


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> str | None:
        return self.trailers.get("grpc-status") or self.headers.get("grpc-status")


class Echo:
    """Sends each message back; `later`: not at once, `free` does it. Writes down what it is told."""

    def __init__(self, call: Call, told: list[str], *, later: bool) -> None:
        self.call, self.told, self.later = call, told, later
        self.waits: list[bytes] = []

    def message(self, message: Message) -> bool:
        self.told.append(f"message {len(message)}")
        if self.later:
            self.waits.append(bytes(message))
            return True
        self.call.send(bytes(message))
        return False

    def free(self) -> None:
        self.call.send(self.waits.pop())
        self.call.ready()

    def half_closed(self) -> None:
        self.told.append("half_closed")
        self.call.finish()

    def lost(self) -> None:
        self.told.append("lost")


class Pair:
    """Server and client in one memory. `tick` moves the clock."""

    def __init__(
        self,
        engine: Name,
        limits: Limits | None = None,
        *,
        later: bool = False,
        spent: bool = False,
        service: Method | None = None,
    ) -> None:
        """`service`: what takes the calls, instead of an Echo."""
        self.now_s = 100.0
        self.told: list[str] = []
        self.handlers: list[Echo] = []
        self.woken = 0

        def begin(call: Call) -> Echo:
            self.handlers.append(Echo(call, self.told, later=later))
            return self.handlers[-1]

        def wake() -> None:
            self.woken += 1

        step = [0.0]

        def clock() -> float:
            step[0] += 1.0 if spent else 0.0
            return self.now_s + step[0]

        self.load = Load(clock, wake)
        lenient = factory("h2") if engine == "ngh2" else None
        self.server = Connection(
            {PATH.encode(): service or begin}, factory(engine), limits or Limits(), self.load, wake, lenient
        )
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False
        )
        self.client = h2.connection.H2Connection(config)
        self.client.initiate_connection()
        self.client.increment_flow_control_window(2**30)
        self.answers: dict[int, Answer] = {}
        self.gone: list[int | None] = []

    def exchange(self) -> None:
        """Bytes both ways until nobody has any."""
        while True:
            up = self.client.data_to_send()
            if up:
                self.server.receive(up)
            down = self.server.output()
            self.take(down)
            if not up and not down:
                return

    def take(self, data: bytes) -> None:
        for event in self.client.receive_data(data):
            stream_id = getattr(event, "stream_id", None)
            answer = self.answers.setdefault(stream_id, Answer()) if stream_id else Answer()
            match event:
                case h2.events.ResponseReceived():
                    answer.headers = _texts(event.headers)
                case h2.events.DataReceived():
                    answer.data += event.data
                    self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.TrailersReceived():
                    answer.trailers = _texts(event.headers)
                case h2.events.StreamReset():
                    answer.reset = event.error_code
                case h2.events.StreamEnded():
                    answer.ended = True
                case h2.events.ConnectionTerminated():
                    self.gone.append(event.last_stream_id)

    def call(
        self, *more: tuple[str, str], path: str = PATH, authority: str = "spendgate", **changed: str
    ) -> int:
        """Begin a call; its stream."""
        stream_id = self.client.get_next_available_stream_id()
        headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": authority}
        headers |= {"content-type": "application/grpc", "te": "trailers"}
        headers |= {k.replace("_", "-"): v for k, v in changed.items()}
        self.client.send_headers(stream_id, [*headers.items(), *more])
        return stream_id

    def say(self, stream_id: int, message: bytes, *, end: bool = False, pad: int | None = None) -> None:
        """A message, as far as the windows let it at once; the rest after what the server then says."""
        data = b"".join(framed(message))
        while True:
            room = min(self.client.local_flow_control_window(stream_id), 16_000)
            piece, data = data[:room], data[room:]
            self.client.send_data(stream_id, piece, end_stream=end and not data, pad_length=pad)
            if not data:
                return
            self.exchange()


Make = Callable[..., Pair]
