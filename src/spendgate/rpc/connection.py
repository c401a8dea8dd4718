"""One connection of a peer: bytes to calls, and back. Sans-io: the clock is told, output is fetched.

What a peer may hold here is bounded: `limits.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from spendgate.rpc.call import Call, Method
from spendgate.rpc.engine import CANCEL, NO_ERROR, Broken, Factory, Headers
from spendgate.rpc.first_call import FirstCall
from spendgate.rpc.limits import Limits
from spendgate.rpc.load import Load
from spendgate.rpc.status import Code, timeout_s


class Connection:
    """One peer. `wake` is called where there is output that nobody fetches by itself: after an order of a service
    outside of `receive`."""

    def __init__(
        self,
        methods: Mapping[bytes, Method],
        engine: Factory,
        limits: Limits,
        load: Load,
        wake: Callable[[], None] = lambda: None,
        lenient: Factory | None = None,
    ) -> None:
        """`lenient`: the engine for a peer whose first call `engine` would refuse (`first_call.py`)."""
        self.limits = limits
        self.load = load
        self.calls: dict[int, Call] = {}
        self.broken: Broken | None = None
        """Why the connection is over, where the peer is to blame."""
        self._methods = methods
        self._wake = wake
        self._inside = False
        self._now_s = self._heard_at = load.clock()
        self._asked_at: float | None = None
        self._has_spoken = False
        self._lingering: dict[int, float] = {}
        """Streams that we have ended and the peer has not, and since when."""
        self._deadlines: list[tuple[float, int]] = []
        self._blocked: dict[int, Call] = {}
        self._lenient = lenient
        self._first = FirstCall(limits) if lenient is not None else None
        self._engine = engine(self, limits)
        self._owed_bytes = min(limits.owed_bytes, limits.window_bytes // 4)

    # -- bytes ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what came. Never raises: a peer that breaks the protocol ends its connection (`is_over`)."""
        if self.broken is not None:
            return
        self._now_s = self._heard_at = self.load.begin()
        self._asked_at, self._has_spoken = None, True
        self._inside = True
        try:
            if self._first is not None:
                data = self._look_at(self._first, data)
            self._engine.receive(data)
        except Broken as problem:
            self._break(problem)
        finally:
            self._inside = False

    def _look_at(self, first: FirstCall, data: bytes) -> bytes:
        """What the engine may have of the bytes of a first call: another engine has all anew where it is odd."""
        before = len(first.passed)
        data = first.take(data)
        if first.is_over:
            self._first = None
            if first.is_odd and self._lenient is not None:
                self._engine = self._lenient(self, self.limits)
                self._engine.receive(bytes(first.passed[:before]))
                self._engine.output()  # said already, by the other
        return data

    def output(self) -> bytes:
        """What is to be written now."""
        self._inside = True
        try:
            out = self._engine.output()
            if self._blocked:
                blocked, self._blocked = self._blocked, {}
                for call in blocked.values():
                    call.pump()
                out += self._engine.output()
            return out
        except Broken as problem:
            self._break(problem)
            return b""
        finally:
            self._inside = False

    @property
    def is_over(self) -> bool:
        """Is it to be closed, once its output is written?"""
        return self.broken is not None or self._engine.is_over

    def _break(self, problem: Broken) -> None:
        self.broken = self.broken or problem
        self.lost()

    def lost(self) -> None:
        """The peer is gone, and all its calls with it."""
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.lost()

    def _stir(self) -> None:
        if not self._inside:
            self._wake()

    # -- time -----------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When the next call's time is over."""
        deadlines = self._deadlines
        while deadlines:
            call = self.calls.get(deadlines[0][1])
            if call is not None and not call.is_over:
                return deadlines[0][0]
            heapq.heappop(deadlines)
        return None

    def expire(self, now_s: float) -> None:
        """End the calls whose time is over."""
        while (at := self.next_deadline()) is not None and at <= now_s:
            self.calls[heapq.heappop(self._deadlines)[1]].fail(Code.DEADLINE_EXCEEDED, "the deadline is over")

    def look(self, now_s: float) -> None:
        """To be called each second or so: is the peer there, and does it let go of what is over?"""
        limits, silent_s = self.limits, now_s - self._heard_at
        if not self._has_spoken:
            if silent_s > limits.preface_s:
                self._break(Broken("silent from the beginning"))
        elif self._asked_at is None:
            if silent_s > limits.silence_s:
                self._asked_at = now_s
                self._engine.ping()
        elif now_s - self._asked_at > limits.sign_s:
            self._break(Broken("gives no sign of life"))
        for stream_id, since in list(self._lingering.items()):
            if now_s - since > limits.linger_s:
                del self._lingering[stream_id]
                self._engine.reset(stream_id, NO_ERROR)
        self._stir()

    # -- the end --------------------------------------------------------------------------------------------

    def notice(self) -> None:
        """Ask the peer to begin no more calls; those that are on their way are still taken."""
        self._engine.notice()
        self._stir()

    def go_away(self) -> None:
        """Take no more calls; those that are open go on."""
        self._engine.go_away()
        self._stir()

    def cancel(self) -> None:
        """End all calls at once."""
        for stream_id in list(self.calls):
            self._engine.reset(stream_id, CANCEL)
        self.lost()
        self._stir()

    # -- what the engine tells ------------------------------------------------------------------------------

    def on_headers(self, stream_id: int, headers: Headers, ended: bool) -> None:
        """A call begins."""
        call = Call(self, stream_id, headers, ended)
        self.calls[stream_id] = call
        named = dict(headers)
        path, verb = named.get(b":path", b""), named.get(b":method", b"")
        if verb != b"POST" or not named.get(b"content-type", b"").startswith(b"application/grpc"):
            call.is_over = True
            self.respond(call, [(b":status", b"415" if verb == b"POST" else b"405")], end=True)
            return
        method = self._methods.get(path)
        if method is None:
            call.finish(Code.UNIMPLEMENTED, f"no such method: {path.decode('ascii', 'replace')}")
            return
        timeout = named.get(b"grpc-timeout")
        if timeout:
            seconds = timeout_s(timeout)
            if seconds is None:
                call.finish(Code.INTERNAL, "grpc-timeout cannot be read")
                return
            heapq.heappush(self._deadlines, (self._now_s + seconds, stream_id))
        call.begin(method)

    def on_data(self, stream_id: int, data: bytes, owed: int, ended: bool) -> None:
        """A piece of a call."""
        call = self.calls.get(stream_id)
        if call is None or call.is_over:
            if owed:
                self._engine.acknowledge(stream_id, owed)
        else:
            call.owed += owed
            if data:
                call.data(data)
            if call.is_over or (call.owed >= self._owed_bytes and call.is_light):
                self._acknowledge_all(call)
        if ended and call is not None:
            self._ended(call)

    def on_end(self, stream_id: int) -> None:
        """The peer's half ended by trailers."""
        call = self.calls.get(stream_id)
        if call is not None:
            self._ended(call)

    def _ended(self, call: Call) -> None:
        self._lingering.pop(call.id, None)
        call.ended()

    def on_closed(self, stream_id: int) -> None:
        """The stream is over."""
        call = self.calls.pop(stream_id, None)
        if call is None:
            return
        self._lingering.pop(stream_id, None)
        self._blocked.pop(stream_id, None)
        self._acknowledge_all(call)
        call.lost()

    # -- what calls order -----------------------------------------------------------------------------------

    def respond(self, call: Call, headers: Headers, *, end: bool = False) -> None:
        """See Wire."""
        self._engine.respond(call.id, headers, end=end)
        if end:
            self._linger(call)
        self._stir()

    def send(self, call: Call, piece: bytes) -> None:
        """See Wire."""
        self._engine.send(call.id, piece)
        self._stir()

    def trailers(self, call: Call, headers: Headers) -> None:
        """See Wire."""
        self._engine.trailers(call.id, headers)
        self._linger(call)
        self._stir()

    def _linger(self, call: Call) -> None:
        if not call.peer_ended and call.id in self.calls:
            self._lingering[call.id] = self._now_s

    def unsent(self, call: Call) -> int:
        """See Wire."""
        return self._engine.unsent(call.id)

    def block(self, call: Call) -> None:
        """See Wire."""
        self._blocked[call.id] = call

    def acknowledge(self, call: Call) -> None:
        """See Wire."""
        if call.owed >= self._owed_bytes:
            self._acknowledge_all(call)

    def _acknowledge_all(self, call: Call) -> None:
        owed, call.owed = call.owed, 0
        if owed:
            self._engine.acknowledge(call.id, owed)
            self._stir()
