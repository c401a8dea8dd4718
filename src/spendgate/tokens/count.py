"""Counting tokens of a request's texts in bounded time. Pure.

Up to 16 KB everything is counted, inline. Above, a sample stands for the whole unless the caller asks for
exactness, and then 4 MB are counted at most: in pieces, since no tokenizer here gives the interpreter's lock away
while it counts, and a thread that counts a megabyte at once would stop the event loop as well as if it ran there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from spendgate.tokens.encoder import Encoder, encoder
from spendgate.values import dataclass

INLINE_BYTES = 16_384
FULL_CHARS = 4 * 1024 * 1024
"""The most that is ever counted of one request; the rest is extrapolated."""
HEAD_CHARS, MIDDLE_CHARS, TAIL_CHARS = 2048, 1024, 1024
PIECE_CHARS = 8_192
"""The most that is counted between two pauses: half a millisecond of letters without a space."""
NEAR_CHARS = 256
"""A piece ends before a space, where one is as near: there a token ends too, and the sum stays exact."""
MANY = 512
"""More texts than this are sampled by their number, not by their length: walking a million of them would take
longer than counting the sample."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A count of o200k tokens. `exact`: every byte was counted; otherwise `tokens` is an extrapolation.

    `text_bytes` are the UTF-8 bytes of the texts, which bound the tokens of any byte-level BPE.
    """

    tokens: int
    exact: bool
    text_bytes: int


def count(text: str) -> int:
    """Count the o200k tokens of one text, exactly, lone surrogates as one `?` each."""
    return encoder().count(text)


def measure(
    texts: Sequence[str],
    text_bytes: int,
    *,
    exact: bool = False,
    inline_limit: int = INLINE_BYTES,
    pause: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> Counted:
    """Count the tokens of `texts`, whose UTF-8 bytes are `text_bytes` together.

    Up to `inline_limit` bytes: all of it. Above: a sample of 4 K characters (head, middle, tail)
    extrapolated; with `exact` all of it up to 4 M characters, and the rest extrapolated from those. `pause` is
    called between pieces: in a thread, let it give the event loop its turn. Once `stop` says so, counting ends
    and the rest is extrapolated: then the bytes are the bound.
    """
    enc = encoder()
    if text_bytes <= inline_limit:
        return Counted(_sum(enc, texts), enc.exact, text_bytes)
    if not exact:
        pieces = sample_many(texts) if len(texts) > MANY else sample(texts, sum(map(len, texts)))
        return Counted(_extrapolate(enc, pieces, text_bytes), False, text_bytes)
    tokens, counted_bytes = _sum_paused(enc, texts, pause, stop)
    if counted_bytes is None:
        return Counted(tokens, enc.exact, text_bytes)
    if not counted_bytes:  # stopped before it began
        return measure(texts, text_bytes, inline_limit=0)
    return Counted(_scaled(tokens, counted_bytes, text_bytes), False, text_bytes)


def reaches(texts: Sequence[str], threshold: int) -> bool:
    """Have `texts` at least `threshold` tokens? Stops as soon as it knows.

    Beyond 4 M characters counted without an answer, the rest is extrapolated.
    """
    chars = sum(map(len, texts))
    if threshold <= 0:
        return True
    if chars * 4 < threshold:
        return False  # a character is at most four bytes, a token at least one
    enc = encoder()
    missing = threshold
    for text in cut(texts, 0, FULL_CHARS):
        n = enc.count_till(text, missing - 1)
        if n is None:
            return True
        missing -= n
    counted = threshold - missing
    return chars > FULL_CHARS and counted * chars >= threshold * FULL_CHARS


def sample(texts: Sequence[str], chars: int) -> list[str]:
    """Head, middle and tail of `texts`, whose length together is `chars`: 4 K characters at most."""
    if chars <= HEAD_CHARS + MIDDLE_CHARS + TAIL_CHARS:
        return [t for t in texts if t]
    middle = (HEAD_CHARS + chars - TAIL_CHARS - MIDDLE_CHARS) // 2
    parts = ((0, HEAD_CHARS), (middle, MIDDLE_CHARS), (chars - TAIL_CHARS, TAIL_CHARS))
    return [piece for start, length in parts for piece in cut(texts, start, length)]


def sample_many(texts: Sequence[str]) -> list[str]:
    """The same of many texts, by places in the list: at most `MANY` of them are looked at."""
    third = MANY // 3
    middle = (len(texts) - third) // 2
    parts = (
        (texts[:third], HEAD_CHARS),
        (texts[middle : middle + third], MIDDLE_CHARS),
        (texts[-third:], TAIL_CHARS),
    )
    return [piece for part, length in parts for piece in cut(part, 0, length)]


def cut(texts: Sequence[str], start: int, length: int) -> list[str]:
    """The characters `start` to `start + length` of all `texts` laid end to end, text by text."""
    pieces: list[str] = []
    end = start + length
    at = 0
    for text in texts:
        if at >= end:
            break
        if text and at + len(text) > start:
            pieces.append(text[max(0, start - at) : end - at])
        at += len(text)
    return pieces


def _sum(enc: Encoder, texts: Sequence[str]) -> int:
    return sum(map(enc.count, filter(None, texts)))


def _sum_paused(
    enc: Encoder,
    texts: Sequence[str],
    pause: Callable[[], None],
    stop: Callable[[], bool],
    most_chars: int = FULL_CHARS,
) -> tuple[int, int | None]:
    """The same, with a pause whenever a piece's worth of characters was counted: (tokens, None where that is all
    of it, else the bytes that were counted)."""
    total = since = chars = size = 0
    for text in texts:
        for piece in pieces(text):
            if chars + len(piece) > most_chars or (since == 0 and stop()):
                return total, size
            total += enc.count(piece)
            since += len(piece)
            chars += len(piece)
            size += _size(piece)
            if since >= PIECE_CHARS // 2:
                since = 0
                pause()
    return total, None


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most `PIECE_CHARS`, cut before a space where one is near."""
    at = 0
    while len(text) - at > PIECE_CHARS:
        end = at + PIECE_CHARS
        space = text.rfind(" ", end - NEAR_CHARS, end)
        if space > at and not text[space - 1].isspace():
            end = space
        yield text[at:end]
        at = end
    if at < len(text):
        yield text[at:]


def _extrapolate(enc: Encoder, pieces: list[str], text_bytes: int) -> int:
    """The tokens of `pieces` scaled up to `text_bytes`, rounded up."""
    return _scaled(_sum(enc, pieces), sum(map(_size, pieces)), text_bytes)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _scaled(tokens: int, counted_bytes: int, text_bytes: int) -> int:
    return min(text_bytes, -(-tokens * text_bytes // counted_bytes)) if counted_bytes else 0
