"""How long a sound is, by its bytes: WAV by its byte rate, MP3 by its frames. Pure.

Only where the length follows from the sound itself: what a header merely claims (FLAC, Ogg) could be too short, and
would shorten the bill. Sources: RIFF WAVE ("Multimedia Programming Interface", 1991), ISO/IEC 11172-3 and 13818-3.
"""

from __future__ import annotations

BYTES_PER_SECOND_MIN = 1_000
"""No accepted format carries speech in less than 8 kbit/s."""
RATE_MAX = 384_000
FRAMES_MAX = 500_000
"""Frames looked at: three and a half hours of MP3."""

_KBIT = {
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
}
"""(MPEG version, layer) → kbit/s by the index of a frame's header, from 1 on."""
_RATES = {1: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 25: (11_025, 12_000, 8_000)}


def seconds_of(content: bytes) -> int | None:
    """The length in seconds, rounded up; None where the format is another or the file is not whole."""
    seconds = _wav(content)
    return _mp3(content) if seconds is None else seconds


def _wav(content: bytes) -> int | None:
    if content[:4] != b"RIFF" or content[8:16] != b"WAVEfmt ":
        return None
    rate = int.from_bytes(content[28:32], "little")
    return -(-len(content) // rate) if BYTES_PER_SECOND_MIN <= rate <= RATE_MAX else None


def _mp3(content: bytes) -> int | None:
    at = 0
    if content[:3] == b"ID3" and len(content) > 10:
        at = 10 + sum((content[9 - i] & 0x7F) << (7 * i) for i in range(4))
    total = frames = 0
    rate = 0
    while frames < FRAMES_MAX and at + 4 <= len(content):
        frame = _frame(content[at : at + 4])
        if frame is None:
            break
        size, samples, rate = frame
        total += samples
        frames += 1
        at += size
    rest = len(content) - at
    if frames < 3 or rest > 4096:  # tags may follow the sound; more than that was not understood
        return None
    return -(-total // rate)


def _frame(head: bytes) -> tuple[int, int, int] | None:
    """(bytes, samples, samples a second) of a frame; None where this is no frame's header."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version = {0: 25, 2: 2, 3: 1}.get(head[1] >> 3 & 3)
    layer = 4 - (head[1] >> 1 & 3)
    index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version is None or layer == 4 or not 0 < index < 15 or rate_index == 3:
        return None
    rate = _RATES[version][rate_index]
    bits = _KBIT[min(version, 2), layer][index - 1] * 1000
    if layer == 1:
        return (12 * bits // rate + padding) * 4, 384, rate
    samples = 1152 if layer == 2 or version == 1 else 576
    return samples // 8 * bits // rate + padding, samples, rate
