"""A stream that is ended early ends as its SDK expects, at an event's boundary."""

from __future__ import annotations

import json

import pytest

from spendgate.dialects.anthropic.stream import MessageTerminator
from spendgate.dialects.openai.stream import ChatTerminator
from spendgate.dialects.registry import DIALECTS
from spendgate.dialects.wire.sse import boundary


@pytest.mark.parametrize(
    ("piece", "at"),
    [(b"data: 1\n\ndata: 2", 9), (b"data: 1\n\n", 9), (b"data: 1", -1), (b"a\r\n\r\nb", 5), (b"", -1)],
)
def test_the_boundary_is_the_end_of_the_last_whole_event(piece: bytes, at: int) -> None:
    assert boundary(piece) == at


def test_openai_streams_end_with_finish_reason_length() -> None:
    text = ChatTerminator().end("gpt-4o", 5).decode()
    first, done, rest = text.split("\n\n")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert done == "data: [DONE]"
    assert rest == ""


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_anthropic_streams_close_the_block_that_is_open(cut: int) -> None:
    terminator = MessageTerminator()
    wire = (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":3,"content_block":{}}\n\n'
    )
    terminator.see(wire[:cut])
    terminator.see(wire[cut:])
    events = [x.split("\ndata: ")[1] for x in terminator.end("claude", 7).decode().strip().split("\n\n")]
    stop, delta, last = map(json.loads, events)
    assert stop == {"type": "content_block_stop", "index": 3}
    assert delta["delta"]["stop_reason"] == "max_tokens"
    assert delta["usage"]["output_tokens"] == 7
    assert last["type"] == "message_stop"


def test_streams_are_ended_only_in_apis_whose_own_end_is_known() -> None:
    streaming = [d for d in DIALECTS if d.streams("text/event-stream", True)]
    assert {d.name for d in streaming if d.stream_terminator() is not None} == {
        "openai-chat", "vertex-publishers", "anthropic-messages", "anthropic-vertex",
    }  # fmt: skip
