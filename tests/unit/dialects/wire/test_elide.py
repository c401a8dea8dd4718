"""JSON of any size keeps its keys and numbers, and loses what fills it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.dialects import registry
from spendgate.dialects.wire.elide import KEPT_BYTES, RUN_BYTES, Elider
from spendgate.dialects.wire.sse import EVENT_BYTES_MAX

PIECE = 65_536


def elided(body: bytes, size: int = PIECE) -> bytes:
    elider = Elider()
    return b"".join(elider.feed(body[at : at + size]) for at in range(0, len(body), size))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=15,
)


@settings(max_examples=300)
@given(VALUES, st.integers(1, 40), st.booleans())
def test_what_is_short_stays_byte_for_byte_however_it_comes(value: Any, size: int, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert elided(body, size) == body


@settings(max_examples=60)
@given(
    st.text(alphabet='ab"\\\u00e9\U0001f600\n', min_size=20, max_size=40),
    st.sampled_from([997, 4096, 65_536]),
    st.booleans(),
    st.integers(0, 20),
)
def test_a_long_text_is_cut_between_characters_and_escapes(
    filling: str, size: int, ascii_only: bool, at: int
) -> None:
    text = "x" * at + filling * 1200
    body = json.dumps({"before": 1, "long": text, "usage": {"n": 7}}, ensure_ascii=ascii_only).encode()
    found = json.loads(elided(body, size).decode("utf-8"))
    assert (found["before"], found["usage"]) == (1, {"n": 7})
    kept = found["long"].rstrip("\ud83d")  # the first half of a pair may be left
    assert text.startswith(kept)
    assert len(elided(body, size)) < KEPT_BYTES + 200


def test_a_long_run_of_numbers_is_cut_at_its_commas() -> None:
    document = {
        "data": [{"embedding": [0.125] * 50_000, "index": i} for i in range(5)],
        "usage": {"total_tokens": 9},
    }
    body = json.dumps(document).encode()
    kept = elided(body)
    assert len(kept) < len(body) / 20
    found = json.loads(kept)
    assert found["usage"] == {"total_tokens": 9}
    assert [d["index"] for d in found["data"]] == [0, 1, 2, 3, 4]
    assert set(found["data"][0]["embedding"]) == {0.125}


def test_a_run_of_digits_without_a_comma_stays() -> None:
    body = b"[" + b"1" * (2 * RUN_BYTES) + b"]"
    assert elided(body) == body


def test_memory_is_bounded_by_what_is_kept() -> None:
    elider = Elider()
    assert elider.feed(b'{"b64": "') == b'{"b64": "'
    kept = sum(len(elider.feed(b"A" * PIECE)) for _ in range(600))
    assert kept <= KEPT_BYTES
    assert elider.feed(b'", "usage": 1}') == b'", "usage": 1}'


@pytest.mark.parametrize("before", [0, 1, 100, KEPT_BYTES - 1, KEPT_BYTES])
@pytest.mark.parametrize("size", [1, 2, 5, PIECE])
def test_the_middles_of_characters_without_an_end_are_cut_too(before: int, size: int) -> None:
    elider = Elider()
    elider.feed(b'"' + b"A" * before)
    pieces = 4 * KEPT_BYTES // size + 2
    assert before + sum(len(elider.feed(b"\x80" * size)) for _ in range(pieces)) <= KEPT_BYTES + 3
    assert elider.feed(b'", "usage": 1}') == b'", "usage": 1}'


@pytest.mark.parametrize("character", ["\u00e9", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("short", range(5))
def test_a_character_at_the_cut_is_whole_or_gone_however_it_comes(character: str, short: int) -> None:
    body = json.dumps("A" * (KEPT_BYTES - short) + character * 3 + "A" * 9, ensure_ascii=False).encode()
    for size in (1, 2, 3, 5, PIECE):
        assert json.loads(elided(body, size)).rstrip(character) == "A" * (KEPT_BYTES - short)


PICTURE = "iVBORw0KGgoAAAANSUhEUgAA" * (EVENT_BYTES_MAX // 20)


@pytest.mark.parametrize("framing", ["events", "array"])
def test_an_event_with_a_picture_of_many_megabytes_is_metered(framing: str) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": PICTURE}}
    chunk = {
        "candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 300, "candidatesTokenCount": 2000, "totalTokenCount": 2300},
        "modelVersion": "gemini-3-pro-image-preview",
    }
    data = json.dumps(chunk).encode()
    stream = b"data: " + data + b"\r\n\r\n" if framing == "events" else b"[" + data + b"]"
    meter = registry.by_name("gemini").stream_meter(hide_usage=False, count=len)
    for at in range(0, len(stream), PIECE):
        assert meter.feed(stream[at : at + PIECE], False) is None
    meter.feed(b"", True)
    reading = meter.result()
    assert (reading.problem, reading.usage) == (None, {"input": 300, "output": 2000, "requests": 1})


def test_an_event_of_which_not_even_an_outline_can_be_kept_is_not_read() -> None:
    data = b'data: {"a": [' + b'{"b": "c"},' * (EVENT_BYTES_MAX // 5) + b"]}\n\n"
    meter = registry.by_name("openai-responses").stream_meter(hide_usage=False, count=len)
    for at in range(0, len(data), PIECE):
        meter.feed(data[at : at + PIECE], False)
    meter.feed(b"", True)
    assert meter.result().problem == "truncated"
