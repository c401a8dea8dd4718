"""Peers that break the protocol, or mean harm: what they can hold here is bounded, and no other peer is harmed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.grpc_peer import Make, Pair

from spendgate.rpc.engine import Name
from spendgate.rpc.first_call import PREFACE
from spendgate.rpc.limits import MIB, Limits

ENGINES: tuple[Name, ...] = ("ngh2", "h2")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def test_a_flood_of_pings_ends_the_connection_and_takes_no_memory(pair: Make) -> None:
    wire = pair()
    wire.exchange()
    for _ in range(100):
        wire.server.receive(frame(6, 0, 0, b"12345678") * 100)  # and never fetches an answer
    assert wire.server.is_over


def test_pings_as_envoy_sends_them_are_all_answered(pair: Make) -> None:
    wire = pair()
    wire.exchange()
    for _ in range(3_000):
        wire.server.receive(frame(6, 0, 0, b"12345678"))
        assert frame(6, 1, 0, b"12345678") in wire.server.output()
    assert not wire.server.is_over


def test_more_resets_than_the_limit_end_the_connection(pair: Make) -> None:
    wire = pair(Limits(resets=(500, 1)))
    for _ in range(700):
        stream = wire.call()
        wire.client.reset_stream(stream, 8)
        wire.server.receive(wire.client.data_to_send())
        wire.server.output()
        if wire.server.is_over:
            break
    assert wire.server.is_over
    assert not wire.server.calls


def test_the_default_bears_the_resets_of_a_busy_envoy(pair: Make) -> None:
    wire = pair()
    for _ in range(3_000):
        stream = wire.call()
        wire.say(stream, b"hello")
        wire.server.receive(wire.client.data_to_send())
        wire.take(wire.server.output())
        wire.client.reset_stream(stream, 8)
    wire.exchange()
    assert not wire.server.is_over
    assert not wire.server.calls


def test_endless_headers_end_the_connection(pair: Make) -> None:
    wire = pair()
    wire.exchange()
    wire.server.receive(frame(1, 0, 1, b"\0" * 16_000))
    for _ in range(100):
        wire.server.receive(frame(9, 0, 1, b"\0" * 16_000))
        wire.server.output()
    assert wire.server.is_over
    assert wire.handlers == []


def test_headers_above_the_limit_are_no_call(pair: Make) -> None:
    wire = pair()
    wire.call(*((f"x-{i}", "v" * 3_000) for i in range(40)))
    wire.server.receive(wire.client.data_to_send())
    wire.server.output()
    assert wire.handlers == []


def test_more_calls_at_once_than_were_granted_end_the_connection(pair: Make) -> None:
    wire = pair(Limits(streams=10))
    for _ in range(10):
        wire.call()
    wire.exchange()
    wire.client.remote_settings.update({3: 1000})
    wire.client.remote_settings.acknowledge()
    wire.call()
    wire.server.receive(wire.client.data_to_send())
    wire.server.output()
    assert wire.server.is_over
    wire.server.lost()
    assert wire.told == ["lost"] * 10


def test_messages_that_are_never_whole_hold_no_more_than_the_limit(pair: Make) -> None:
    wire = pair(Limits(buffered_bytes=MIB, window_bytes=200_000))
    wire.exchange()
    most = 0
    for _ in range(40):
        stream = wire.call()
        wire.client.send_data(stream, b"\0\0\xff\xff\xff" + b"x" * 10_000)
        for _ in range(5):
            wire.exchange()
            if not wire.answers.get(stream):
                wire.client.send_data(stream, b"x" * 10_000)
        most = max(most, wire.load.held_bytes)
    assert most <= MIB + 10_005
    assert any(a.status == "8" for a in wire.answers.values())
    wire.server.lost()
    assert wire.load.held_bytes == 0


def test_a_peer_that_takes_no_answers_makes_no_heap_of_them(pair: Make) -> None:
    wire = pair(Limits(unsent_bytes=100_000, backlog_bytes=50_000, window_bytes=100_000))
    wire.client.update_settings({4: 0})  # no window for any answer
    wire.exchange()
    stream = wire.call()
    wire.exchange()
    sent = 0
    while sent < 3_000_000 and wire.client.local_flow_control_window(stream) > 20_005:
        wire.say(stream, b"x" * 20_000)
        wire.exchange()
        wire.load.work()
        sent += 20_005
    assert sent < 400_000
    wire.client.increment_flow_control_window(2**20, stream)
    wire.exchange()
    assert len(wire.answers[stream].data) == sent


def test_a_silent_connection_is_let_go_and_one_that_answers_pings_is_not(pair: Make) -> None:
    wire = pair()
    wire.server.look(wire.now_s + 9)
    assert not wire.server.is_over
    wire.server.look(wire.now_s + 11)
    assert wire.server.is_over  # it never said anything

    wire = pair()
    stream = wire.call()
    wire.exchange()
    for _ in range(4):
        wire.now_s += 31
        wire.server.look(wire.now_s)
        wire.exchange()  # the ping, and its answer
        wire.server.look(wire.now_s + 21)
    assert not wire.server.is_over
    assert stream in wire.server.calls
    wire.now_s += 100
    wire.server.look(wire.now_s)
    wire.server.look(wire.now_s + 21)
    assert wire.server.is_over  # half open: its calls are over, so that nothing is held for them
    assert wire.told == ["lost"]


def test_a_call_that_we_ended_and_the_peer_does_not_is_reset(pair: Make) -> None:
    wire = pair()
    stream = wire.call(path="/nobody/Home")
    wire.exchange()
    assert stream in wire.server.calls
    wire.server.look(wire.now_s + 6)
    wire.exchange()
    assert wire.answers[stream].reset == 0
    assert stream not in wire.server.calls


frames = st.builds(
    frame,
    st.integers(0, 12) | st.integers(0, 255),
    st.integers(0, 255) | st.sampled_from([0, 1, 4, 5]),
    st.integers(0, 7) | st.integers(0, 2**31 - 1),
    st.binary(max_size=60) | st.just(b"\0\0\0\0\5hello"),
)


def valid_start(engine: Name) -> tuple[Pair, bytes]:
    wire = Pair(engine)
    wire.say(wire.call(), b"hello")
    return wire, wire.client.data_to_send()


@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_input_makes_it_fail_or_leaves_anything_held(engine: Name, data: st.DataObject) -> None:
    wire, start = valid_start(engine)
    kind = data.draw(st.sampled_from(["noise", "frames", "cut", "flip"]))
    if kind == "noise":
        sent = data.draw(st.sampled_from([b"", PREFACE, start])) + data.draw(st.binary(max_size=300))
    elif kind == "frames":
        sent = start + b"".join(data.draw(st.lists(frames, max_size=12)))
    elif kind == "cut":
        sent = start[: data.draw(st.integers(0, len(start)))]
    else:
        at = data.draw(st.integers(0, len(start) - 1))
        sent = start[:at] + bytes([start[at] ^ data.draw(st.integers(1, 255))]) + start[at + 1 :]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=4)))
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        wire.server.receive(sent[begin:end])
        wire.server.output()
    wire.server.look(wire.now_s + 3)
    wire.server.lost()
    wire.server.output()
    assert wire.load.held_bytes == 0
    assert not wire.server.calls
    ended = wire.told.count("lost") + wire.told.count("half_closed")
    assert ended <= len(wire.handlers)
    assert all(h.call.is_over for h in wire.handlers)
