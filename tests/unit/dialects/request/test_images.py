"""Images are counted by their size and the providers' published rules."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects import registry
from spendgate.dialects.request.images import (
    Patches,
    Tiles,
    anthropic_tokens,
    gemini_tokens,
    openai_tokens,
    size_of,
)

GPT_4O = Tiles(85, 170)
sizes = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def jpeg(width: int, height: int, metadata: int = 0) -> bytes:
    head = (
        b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + metadata) + b"\0" * metadata + b"\xff\xdb\x00\x04ab\xff"
    )
    return head + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" * 20


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0" * 5


def webp(width: int, height: int, form: bytes) -> bytes:
    if form == b"VP8X":
        body = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif form == b"VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + b"\0" * 9
    else:
        body = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + b"\0" * 4 + b"WEBP" + form + struct.pack("<I", len(body)) + body + b"\0" * 8


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


FORMS: dict[str, Callable[[int, int], bytes]] = {
    "png": png,
    "jpeg": jpeg,
    "gif": gif,
    "webp lossy": lambda w, h: webp(w, h, b"VP8 "),
    "webp lossless": lambda w, h: webp(w, h, b"VP8L"),
    "webp extended": lambda w, h: webp(w, h, b"VP8X"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_size_is_read_out_of_the_header(form: str) -> None:
    raw = FORMS[form](1234, 567)
    assert size_of(b64(raw)) == (1234, 567)
    assert size_of(f"data:image/{form.split()[0]};base64,{b64(raw)}") == (1234, 567)


def test_a_jpegs_size_stands_behind_its_metadata() -> None:
    assert size_of(b64(jpeg(800, 600, 30_000))) == (800, 600)
    assert size_of(b64(jpeg(800, 600, 60_000))) is None  # further than is looked


@pytest.mark.parametrize(
    "data",
    ["", "https://example.com/a.png", "data:image/png;base64,", "data:image/png;base64,????", None, 7, {},
     b64(b"\x89PNG\r\n\x1a\n"), b64(png(0, 10)), b64(b"\xff\xd8\xff"), b64(b"RIFF....WEBPVP8 "), "é" * 100],
)  # fmt: skip
def test_what_is_no_known_image_has_no_size(data: object) -> None:
    assert size_of(data) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    for head in (b"", b"\xff\xd8", b"GIF8", b"RIFF0000WEBP", b"\x89PNG\r\n\x1a\n"):
        found = size_of(b64(head + raw))
        assert found is None or min(found) > 0


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((1024, 1024), 765), ((2048, 4096), 1105), ((512, 512), 765), ((1, 1), 765), (None, 1445)],
)
def test_openais_tiles_are_those_of_its_guide(size: tuple[int, int] | None, tokens: int) -> None:
    assert openai_tokens(GPT_4O, size, low=False) == tokens
    assert openai_tokens(GPT_4O, size, low=True) == 85


@pytest.mark.parametrize(
    ("size", "patches"), [((1024, 1024), 1024), ((1800, 2400), 1536), ((33, 32), 2), (None, 1536)]
)
def test_openais_patches_are_those_of_its_guide(size: tuple[int, int] | None, patches: int) -> None:
    assert openai_tokens(Patches(1536, 100), size, low=False) == patches
    assert openai_tokens(Patches(1536, 246), size, low=False) == -(-patches * 246 // 100)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((200, 200), 64), ((1000, 1000), 1334), ((1092, 1092), 1590), ((5000, 5000), 1600), (None, 1600)],
)
def test_claudes_are_a_token_every_750_pixels(size: tuple[int, int] | None, tokens: int) -> None:
    assert anthropic_tokens(size, 1600) == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (768, 768), 4 * 258),
        ("gemini-2.5-flash", (960, 540), 6 * 258),
        ("gemini-2.5-flash", (9000, 100), 2580),
        ("gemini-3-pro", (384, 384), 2580),
        ("gemini-2.5-flash", None, 2580),
    ],
)
def test_geminis_are_tiles_of_258(model: str, size: tuple[int, int] | None, tokens: int) -> None:
    assert gemini_tokens(model, size, 2580) == tokens


@given(sizes, st.booleans())
def test_no_size_counts_for_more_than_an_unknown_one(size: tuple[int, int], low: bool) -> None:
    for rule in (GPT_4O, Patches(1536, 246)):
        assert 0 < openai_tokens(rule, size, low=low) <= openai_tokens(rule, None, low=low)
    assert 0 < anthropic_tokens(size, 1600) <= 1600
    assert 0 < gemini_tokens("gemini-2.5-pro", size, 2580) <= 2580


SMALL = b64(png(200, 200))
URL = f"data:image/png;base64,{SMALL}"


@pytest.mark.parametrize(
    ("path", "model", "part", "tokens"),
    [
        ("/v1/chat/completions", "gpt-4o", {"type": "image_url", "image_url": {"url": URL}}, 765),
        ("/v1/chat/completions", "gpt-4.1-mini", {"type": "image_url", "image_url": {"url": URL}}, 121),
        ("/v1/responses", "gpt-4.1-mini", {"type": "input_image", "image_url": URL}, 121),
        ("/v1/messages", "claude-sonnet-4-5",
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": SMALL}}, 64),
    ],
)  # fmt: skip
def test_a_dialect_counts_an_image_by_its_size(
    path: str, model: str, part: dict[str, Any], tokens: int
) -> None:
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None

    def extra(*parts: dict[str, Any]) -> int:
        turn = [{"role": "user", "content": list(parts)}]
        key = "input" if path.endswith("responses") else "messages"
        body = json.dumps({"model": model, key: turn, "max_tokens": 9}).encode()
        return dialect.read_request(body, path).extra_input_tokens

    assert extra(part) - extra() == tokens


def test_gemini_counts_an_image_by_its_size() -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None

    def extra(*parts: dict[str, Any]) -> int:
        return dialect.read_request(
            json.dumps({"contents": [{"parts": list(parts)}]}).encode(), path
        ).extra_input_tokens

    assert extra({"inlineData": {"mimeType": "image/png", "data": SMALL}}) - extra() == 258
