"""What an image in a request is billed for, by its size and each provider's published rule. Pure.

The size is read out of the image's own header, from the beginning of its base64; an image given by URL or id, or
whose header is not found there, counts as the largest that its rule allows. Rules round against us where they are
not exact, so that a hold stays a bound:

| provider | rule | source |
|---|---|---|
| OpenAI, tiles | fitted into 2,048², shortest side to 768 (also upwards), tiles of 512² | vision guide, "Costs" |
| OpenAI, patches | patches of 32² up to a budget, times the model's factor | the same |
| Anthropic | width × height / 750, or patches of 28², whichever is more, up to the model's most | vision guide |
| Gemini 2 | 258 up to 384², else tiles of two thirds of the shorter side, 258 each | token guide |
"""

from __future__ import annotations

import binascii
import re
import struct

from spendgate.values import dataclass

HEAD_CHARACTERS = 64 * 1024
"""So much of the base64 is looked at; a JPEG's size stands behind its metadata."""

_DATA_URL = re.compile(r"data:[^,]{0,200},")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Tiles:
    """OpenAI's tiles: tokens of an image, and of each of its tiles."""

    base: int
    tile: int
    tiles_max: int = 8


@dataclass(frozen=True, slots=True)
class Patches:
    """OpenAI's patches: how many count at most, and the model's factor in percent."""

    patches_max: int
    percent: int


@dataclass(frozen=True, slots=True)
class Flat:
    """A model whose rule for sizes is not known here: every image counts as its largest."""

    tokens: int


def size_of(data: object) -> tuple[int, int] | None:
    """Width and height of an image in base64 (or a data URL of it), None where they are not found."""
    if not isinstance(data, str):
        return None
    url = _DATA_URL.match(data)
    start = url.end() if url is not None else 0
    try:
        head = data[start : start + HEAD_CHARACTERS]
        raw = binascii.a2b_base64(head[: len(head) // 4 * 4])
    except (binascii.Error, ValueError):
        return None
    size = _size(raw)
    return size if size is not None and size[0] > 0 and size[1] > 0 else None


def openai_tokens(rule: Tiles | Patches | Flat, size: tuple[int, int] | None, *, low: bool) -> int:
    """The tokens of one image with a model of OpenAI's API. `low`: its detail."""
    if isinstance(rule, Flat):
        return rule.tokens
    if isinstance(rule, Patches):
        patches = rule.patches_max
        if size is not None:
            patches = min(patches, _up(size[0], 32) * _up(size[1], 32))
        return _up(patches * rule.percent, 100)
    if low:
        return rule.base
    tiles = rule.tiles_max if size is None else min(rule.tiles_max, _tiles(*size))
    return rule.base + tiles * rule.tile


def anthropic_tokens(size: tuple[int, int] | None, most: int) -> int:
    """The tokens of one image with a Claude model, of which no image takes more than `most`."""
    if size is None:
        return most
    width, height = size
    return min(most, max(_up(width * height, 750), _up(width, 28) * _up(height, 28)))


def gemini_tokens(model: str, size: tuple[int, int] | None, most: int) -> int:
    """The tokens of one image with a Gemini model, of which no image takes more than `most`."""
    if size is None or "gemini-2" not in model:
        return most
    width, height = size
    if max(size) <= 384:
        return 258
    unit = max(1, min(width, height) * 2 // 3)
    return min(most, _up(width, unit) * _up(height, unit) * 258)


def _tiles(width: int, height: int) -> int:
    """512² tiles after fitting into 2,048² and bringing the shortest side to 768."""
    longest, shortest = max(width, height), min(width, height)
    if longest > 2048:
        longest, shortest = 2048, max(1, _up(shortest * 2048, longest))
    longest, shortest = _up(longest * 768, shortest), 768
    return _up(min(longest, 2048), 512) * _up(shortest, 512)


def _size(raw: bytes) -> tuple[int, int] | None:
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and raw[12:16] == b"IHDR" and len(raw) >= 24:
        width, height = struct.unpack(">II", raw[16:24])
        return width, height
    if raw[:4] == b"GIF8" and len(raw) >= 10:
        width, height = struct.unpack("<HH", raw[6:10])
        return width, height
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" and len(raw) >= 30:
        return _webp(raw)
    return _jpeg(raw) if raw[:2] == b"\xff\xd8" else None


def _webp(raw: bytes) -> tuple[int, int] | None:
    match raw[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(raw[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", raw[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        elif 0xD0 <= marker <= 0xD9 or marker == 0x01:  # without a length
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(raw[at + 2 : at + 4], "big"))
    return None


def _up(amount: int, unit: int) -> int:
    return -(-amount // unit)
