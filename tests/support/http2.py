"""HTTP/2 in clear text with trailers, on both ends: an upstream of scripted answers, and a client."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """An answer: its pieces one by one, then trailers, where it has any."""

    pieces: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    trailers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    pause_s: float = 0.0


@dataclass
class Got:
    """A request as it arrived, or an answer."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: bool = False


class Http2Upstream:
    """Answers each request by `reply`; a context manager. A thread a connection."""

    def __init__(self, reply: Callable[[Got], Reply]) -> None:
        self.reply = reply
        self.requests: list[Got] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Http2Upstream:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        wire = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        wire.initiate_connection()
        got: dict[int, Got] = {}
        lock = threading.Lock()
        with client:
            client.sendall(wire.data_to_send())
            while True:
                try:
                    data = client.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                ended = []
                with lock:
                    for event in wire.receive_data(data):
                        stream = getattr(event, "stream_id", None) or 0
                        if _take(wire, event, got.setdefault(stream, Got())):
                            ended.append(stream)
                    client.sendall(wire.data_to_send())
                for stream in ended:
                    request = got.pop(stream)
                    self.requests.append(request)
                    args = (client, wire, lock, stream, self.reply(request))
                    threading.Thread(target=_answer, args=args, daemon=True).start()


def _take(wire: h2.connection.H2Connection, event: h2.events.Event, got: Got) -> bool:
    """Note an event. True: the message is whole."""
    match event:
        case h2.events.RequestReceived() | h2.events.ResponseReceived():
            got.headers = dict(event.headers)  # type: ignore[arg-type]
        case h2.events.DataReceived():
            got.body += event.data or b""
            wire.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        case h2.events.TrailersReceived():
            got.trailers = dict(event.headers)  # type: ignore[arg-type]
        case h2.events.StreamReset():
            got.reset = True
            return True
        case h2.events.StreamEnded():
            return True
    return False


def _answer(
    client: socket.socket, wire: h2.connection.H2Connection, lock: threading.Lock, stream: int, reply: Reply
) -> None:
    def send(act: Callable[[], None]) -> None:
        with lock:
            act()
            client.sendall(wire.data_to_send())

    try:
        head = [(":status", str(reply.status)), *reply.headers]
        send(lambda: wire.send_headers(stream, head, end_stream=not reply.pieces and not reply.trailers))
        last = len(reply.pieces) - 1
        for i, piece in enumerate(reply.pieces):
            if reply.pause_s:
                time.sleep(reply.pause_s)
            end = i == last and not reply.trailers
            send(lambda p=piece, e=end: wire.send_data(stream, p, end_stream=e))  # type: ignore[misc]
        if reply.trailers:
            send(lambda: wire.send_headers(stream, list(reply.trailers), end_stream=True))
    except (OSError, ProtocolError):
        return  # the client left


def post(
    url: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    body: bytes | Iterable[bytes],
    trailers: Iterable[tuple[str, str]] = (),
) -> Got:
    """Send one request over HTTP/2 with prior knowledge and read its whole answer."""
    address = urlsplit(url)
    wire = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    wire.initiate_connection()
    pieces = [body] if isinstance(body, bytes) else list(body)
    got, after = Got(), list(trailers)
    with socket.create_connection((str(address.hostname), address.port), timeout=60) as s:
        head = [
            (":method", "POST"), (":path", target), (":scheme", "http"), (":authority", "x"), *headers,
        ]  # fmt: skip
        wire.send_headers(1, head)
        for i, piece in enumerate(pieces):
            wire.send_data(1, piece, end_stream=i == len(pieces) - 1 and not after)
        if after:
            wire.send_headers(1, after, end_stream=True)
        s.sendall(wire.data_to_send())
        while True:
            data = s.recv(65536)
            if not data:
                return got
            over = [_take(wire, event, got) for event in wire.receive_data(data)]
            s.sendall(wire.data_to_send())
            if any(over):
                return got
