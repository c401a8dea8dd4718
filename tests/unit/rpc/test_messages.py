"""gRPC's length-prefixed messages, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.rpc.messages import Messages, framed
from spendgate.rpc.status import Code, Fault, percent_encoded, timeout_s


@given(st.lists(st.binary(max_size=40_000), max_size=6), st.data())
def test_messages_are_the_same_however_the_bytes_are_cut(sent: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(b"".join(framed(m)) for m in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    reader, got = Messages(40_000), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += [bytes(m) for m in reader.feed(wire[start:end])]
    assert got == sent
    assert reader.held == 0


@given(st.binary(min_size=1, max_size=100), st.integers(1, 104))
def test_what_is_held_of_a_message_is_counted(message: bytes, cut: int) -> None:
    wire, reader = b"".join(framed(message)), Messages(1000)
    cut = min(cut, len(wire) - 1)
    assert reader.feed(wire[:cut]) == []
    assert reader.held == cut
    assert [bytes(m) for m in reader.feed(wire[cut:])] == [message]
    assert reader.held == 0


def test_a_message_that_is_too_long_is_refused_by_its_prefix_alone() -> None:
    with pytest.raises(Fault) as caught:
        Messages(10).feed(b"\0\0\0\0\x0b")
    assert caught.value.code == Code.RESOURCE_EXHAUSTED


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(Fault) as caught:
        Messages(10).feed(b"\1\0\0\0\x01x")
    assert caught.value.code == Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600.0), (b"2M", 120.0), (b"3S", 3.0), (b"250m", 0.25), (b"99999999n", 0.099999999), (b"5u", 5e-6)],
)  # fmt: skip
def test_a_timeout_is_read_in_each_unit(text: bytes, seconds: float) -> None:
    assert timeout_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"1", b"S", b"123456789S", b"1.5S", b"-1S", b"1s"])
def test_what_is_no_timeout_is_none(text: bytes) -> None:
    assert timeout_s(text) is None


def test_a_status_message_is_printable_ascii() -> None:
    assert percent_encoded("100 % of 5 €\n") == b"100 %25 of 5 %E2%82%AC%0A"
