"""Calls of a peer that keeps to the protocol."""

from __future__ import annotations

import pytest
from support.grpc_peer import Make

from spendgate.rpc.call import Call, Message
from spendgate.rpc.limits import MIB, Limits
from spendgate.rpc.load import Load
from spendgate.rpc.messages import Messages, framed


def messages(data: bytes) -> list[bytes]:
    return [bytes(m) for m in Messages(100 * MIB).feed(data)]


def test_a_call_is_answered_message_by_message_and_ends_with_a_status(pair: Make) -> None:
    wire = pair()
    stream = wire.call()
    for text in (b"one", b"", b"three" * 1000):
        wire.say(stream, text)
        wire.exchange()
    wire.client.end_stream(stream)
    wire.exchange()
    answer = wire.answers[stream]
    assert messages(answer.data) == [b"one", b"", b"three" * 1000]
    assert (answer.status, answer.ended) == ("0", True)
    assert wire.told == ["message 3", "message 0", "message 5000", "half_closed"]
    assert not wire.server.calls


def test_ten_megabytes_pass_both_ways_and_nothing_is_held_after(pair: Make) -> None:
    wire, big = pair(), bytes(range(256)) * (10 * MIB // 256)
    stream = wire.call()
    wire.say(stream, big, end=True)
    wire.exchange()
    assert messages(wire.answers[stream].data) == [big]
    assert wire.load.held_bytes == 0


def test_padding_is_no_part_of_a_message_and_does_not_close_the_window(pair: Make) -> None:
    wire = pair(Limits(window_bytes=70_000))
    stream = wire.call()
    for _ in range(400):
        wire.say(stream, b"x" * 100, pad=200)
        wire.exchange()
    assert messages(wire.answers[stream].data) == [b"x" * 100] * 400


@pytest.mark.parametrize("end", ["reset", "half closed", "our own"])
def test_what_small_messages_take_of_the_windows_is_given_back(
    pair: Make, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, given = pair(Limits(owed_bytes=1_000)), list[int]()
    acknowledge = wire.server._engine.acknowledge

    def noted(stream_id: int, owed: int) -> None:
        given.append(owed)
        acknowledge(stream_id, owed)

    monkeypatch.setattr(wire.server._engine, "acknowledge", noted)
    stream = wire.call()
    for _ in range(5):
        wire.say(stream, b"x" * 295)
        wire.exchange()
    assert given == [1_200], "not a frame for each of them"
    if end == "reset":
        wire.client.reset_stream(stream)
    elif end == "half closed":
        wire.client.end_stream(stream)
    else:
        wire.handlers[0].call.finish()
        wire.say(stream, b"x" * 295, end=True)
    wire.exchange()
    assert sum(given) == 300 * (6 if end == "our own" else 5), "the connection's window has all of it again"
    assert wire.server.calls == {}


def test_headers_in_many_continuations_are_one_call(pair: Make) -> None:
    wire = pair()
    more = [(f"x-{i}", "v" * 3_000) for i in range(15)]
    stream = wire.call(*more)
    wire.say(stream, b"hello", end=True)
    wire.exchange()
    assert wire.answers[stream].status == "0"
    assert dict(wire.handlers[0].call.metadata)["x-14"] == "v" * 3_000


def test_trailers_of_the_peer_are_its_end(pair: Make) -> None:
    wire = pair()
    stream = wire.call()
    wire.say(stream, b"hello")
    wire.client.send_headers(stream, [("x-last", "1")], end_stream=True)
    wire.exchange()
    assert wire.answers[stream].status == "0"
    assert wire.told == ["message 5", "half_closed"]


def test_a_message_waits_for_its_turn_and_the_end_for_all_messages(pair: Make) -> None:
    wire = pair(later=True)
    stream = wire.call()
    for text in (b"a", b"bb", b"ccc"):
        wire.say(stream, text)
    wire.client.end_stream(stream)
    wire.exchange()
    assert wire.told == ["message 1"]
    for _ in range(3):
        wire.handlers[0].free()
        wire.exchange()
    assert wire.told == ["message 1", "message 2", "message 3", "half_closed"]
    assert messages(wire.answers[stream].data) == [b"a", b"bb", b"ccc"]


def test_a_service_that_is_slow_closes_the_window_of_its_call_alone(pair: Make) -> None:
    wire = pair(Limits(window_bytes=100_000, backlog_bytes=50_000), later=True)
    slow = wire.call()
    sent = 0
    while wire.client.local_flow_control_window(slow) >= 10_005:
        wire.say(slow, b"x" * 10_000)
        wire.exchange()
        sent += 1
    assert sent <= 20
    other = wire.call()
    wire.say(other, b"hello")
    wire.exchange()
    assert wire.told[-1] == "message 5"
    for _ in range(sent):
        wire.handlers[0].free()
        wire.exchange()
    assert wire.client.local_flow_control_window(slow) >= 50_000
    assert wire.load.held_bytes == 0


def test_where_time_is_short_messages_are_read_first_and_answered_in_a_later_turn(pair: Make) -> None:
    wire = pair(spent=True)
    waited: list[float] = []
    wire.load.waited = waited.append
    streams = [wire.call() for _ in range(5)]
    for stream in streams:
        wire.say(stream, b"hello", end=True)
    wire.client.ping(b"12345678")
    wire.exchange()
    assert wire.told == []
    assert wire.woken
    turns = 0
    while len(wire.told) < 10:
        wire.load.work()
        wire.exchange()
        turns += 1
    assert turns == 5
    assert all(wire.answers[s].status == "0" for s in streams)
    assert len(waited) == 5
    assert min(waited) > 0


def test_a_call_whose_time_is_over_ends_so(pair: Make) -> None:
    wire = pair(later=True)
    stream = wire.call(grpc_timeout="500m")
    wire.say(stream, b"hello")
    wire.exchange()
    at = wire.server.next_deadline()
    assert at == pytest.approx(wire.now_s + 0.5)
    wire.server.expire(wire.now_s + 0.4)
    wire.exchange()
    assert "lost" not in wire.told
    wire.server.expire(wire.now_s + 0.6)
    wire.exchange()
    assert wire.answers[stream].status == "4"
    assert wire.told[-1] == "lost"
    assert wire.server.next_deadline() is None


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"path": "/test.Echo/Nothing"}, "200", "12"),
        ({"grpc_timeout": "soon"}, "200", "13"),
        ({"content_type": "text/plain"}, "415", None),
        ({":method": "GET"}, "405", None),
    ],
)
def test_what_is_no_call_of_ours_is_told_so(
    pair: Make, changed: dict[str, str], status: str, code: str | None
) -> None:
    wire = pair()
    stream = wire.call(**changed)
    wire.exchange()
    answer = wire.answers[stream]
    assert (answer.headers[":status"], answer.status) == (status, code)
    assert wire.handlers == []


def test_a_peer_that_resets_is_heard_once_in_every_state(pair: Make) -> None:
    wire = pair(later=True)
    for say in (0, 1, 2):
        stream = wire.call()
        for _ in range(say):
            wire.say(stream, b"hello")
        wire.exchange()
        wire.client.reset_stream(stream, 8)
        wire.exchange()
        assert wire.told.count("lost") == say + 1
    half = wire.call()
    wire.client.send_data(half, b"\0\0\0\1\0half")
    wire.exchange()
    assert wire.load.held_bytes > 0
    wire.client.reset_stream(half, 8)
    wire.exchange()
    assert wire.told.count("lost") == 4
    assert wire.load.held_bytes == 0
    assert not wire.server.calls
    for handler in wire.handlers:  # what was on its way is answered to nobody
        if handler.waits:
            handler.free()
    wire.exchange()


def test_a_reset_in_the_same_read_as_its_message_does_no_harm(pair: Make) -> None:
    wire = pair()
    wire.exchange()
    stream = wire.call()
    wire.say(stream, b"hello")
    wire.client.reset_stream(stream, 8)
    other = wire.call()
    wire.say(other, b"hello", end=True)
    wire.exchange()
    assert wire.told[:2] == ["message 5", "lost"]
    assert wire.answers[other].status == "0"


def test_drained_by_goaway_open_calls_go_on_and_later_ones_are_not_taken(pair: Make) -> None:
    wire = pair()
    stream = wire.call()
    wire.say(stream, b"before")
    wire.exchange()
    wire.server.notice()
    wire.take(wire.server.output())
    wire.server.go_away()
    down = wire.server.output()
    assert not wire.server.is_over
    # h2's client would take a GOAWAY for the end of all: the bytes are looked at here
    assert down[3] == 7
    assert int.from_bytes(down[9:13]) == stream
    wire.server.receive(b"".join([_data(stream, b"after"), _data(stream, b"", end=True)]))
    assert wire.told == ["message 6", "message 5", "half_closed"]
    wire.server.output()
    assert wire.server.is_over


def _data(stream: int, message: bytes, *, end: bool = False) -> bytes:
    payload = b"" if end else b"".join(framed(message))
    return len(payload).to_bytes(3) + bytes([0, int(end)]) + stream.to_bytes(4) + payload


def test_a_peer_that_starts_its_own_goaway_keeps_its_calls(pair: Make) -> None:
    wire = pair()
    stream = wire.call()
    wire.say(stream, b"one")
    wire.exchange()
    goaway = (8).to_bytes(3) + bytes([7, 0]) + bytes(4) + bytes(8)
    wire.server.receive(goaway + _data(stream, b"two") + _data(stream, b"", end=True))
    assert wire.told == ["message 3", "message 3", "half_closed"]
    wire.take(wire.server.output())
    assert wire.answers[stream].status == "0"


def test_an_authority_that_is_no_host_is_served(pair: Make) -> None:
    wire = pair()
    stream = wire.call(authority="envoyextensionpolicy/llm-gateway/spendgate/0")
    wire.say(stream, b"hello", end=True)
    wire.exchange()
    assert wire.answers[stream].status == "0"


def test_the_first_call_may_come_byte_by_byte(pair: Make) -> None:
    for authority in ("spendgate", "outbound|9002||spendgate"):
        wire = pair()
        stream = wire.call(("x-long", "v" * 20_000), authority=authority)
        wire.say(stream, b"hello", end=True)
        for byte in wire.client.data_to_send():
            wire.server.receive(bytes([byte]))
        wire.exchange()
        assert wire.answers[stream].status == "0"


class Faulty:
    """Fails where it is told to, unless a call says that it is well."""

    def __init__(self, call: Call, told: list[str], fails: str) -> None:
        well = dict(call.metadata).get("x-well") == "1"
        self.call, self.told, self.fails = call, told, "" if well else fails
        self._tell("begin")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what == self.fails:
            raise ValueError(f"planted in {what}")

    def message(self, message: Message) -> bool:
        self._tell("message")
        self.call.send(bytes(message))
        return False

    def half_closed(self) -> None:
        self._tell("half_closed")
        self.call.finish()

    def lost(self) -> None:
        self._tell("lost")


@pytest.mark.parametrize("spent", [False, True], ids=["at once", "in a later turn"])
@pytest.mark.parametrize("fails", ["begin", "message", "half_closed", "lost"])
def test_what_a_service_fails_at_ends_its_call_and_no_other(pair: Make, fails: str, spent: bool) -> None:
    told: list[str] = []
    wire = pair(spent=spent, service=lambda call: Faulty(call, told, fails))
    calls = [wire.call(), wire.call(x_well="1"), wire.call()]
    for stream in calls:
        wire.say(stream, b"hello", end=fails != "lost")
    wire.exchange()
    if fails == "lost":
        wire.client.reset_stream(calls[0])
        wire.client.end_stream(calls[1])
        wire.client.reset_stream(calls[2])
        wire.exchange()
    for _ in calls:
        wire.load.work()
        wire.exchange()
    well = wire.answers[calls[1]]
    assert (messages(well.data), well.status) == ([b"hello"], "0")
    if fails != "lost":
        assert [wire.answers[c].status for c in calls] == ["2", "0", "2"]
    assert told.count("lost") == (2 if fails != "begin" else 0)
    assert not wire.server.calls
    assert wire.load.held_bytes == 0
    later = wire.call(x_well="1")
    wire.say(later, b"again", end=True)
    wire.exchange()
    wire.load.work()
    wire.exchange()
    assert wire.answers[later].status == "0"


def test_a_fault_in_one_turn_leaves_the_others_their_turns() -> None:
    woken: list[int] = []
    load = Load(lambda: 0.0, lambda: woken.append(1))
    done: list[str] = []

    class Waits:
        def __init__(self, name: str) -> None:
            self.name = name

        def resume(self) -> None:
            done.append(self.name)
            if self.name == "bad":
                raise ValueError("planted")

    for name in ("bad", "good"):
        load.postpone(Waits(name))
    with pytest.raises(ValueError, match="planted"):
        load.work()
    assert len(woken) == 2
    load.work()
    assert done == ["bad", "good"]
    assert not load.is_spent
