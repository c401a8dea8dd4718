"""JSON without what fills it: long texts (pictures as base64) and long runs of numbers (embeddings) are cut short as
they flow, so that an answer of any size is read in little memory. What is left is JSON with the same keys. Pure."""

from __future__ import annotations

import re

KEPT_BYTES = 16 * 1024
"""So much of a text is kept."""
RUN_BYTES = 4 * 1024
"""A longer run of numbers is cut."""

_QUOTE = re.compile(rb'"')
_CONTENT = re.compile(rb'[^"\\]*+(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*+)*+', re.DOTALL)
"""What may stand in a text, escapes whole."""
_ESCAPE_BYTES = 6
_RUN = re.compile(rb"[0-9eE+\-.,\s]{%d,}" % RUN_BYTES)
_MULTIBYTE = bytes(range(0x80, 0x100))
_CONTINUING = bytes(range(0x80, 0xC0))
_REST_BYTES = 3
"""So long is the rest of a character that came in pieces, at most."""


class Elider:
    """Feed pieces of any size; each gives what is kept of it."""

    __slots__ = ("_in_string", "_is_cut", "_pending", "_string_bytes")

    def __init__(self) -> None:
        self._in_string = False
        self._is_cut = False
        self._string_bytes = 0
        self._pending = b""

    def feed(self, piece: bytes) -> bytes:
        """What is kept of a piece."""
        text = self._pending + piece
        self._pending = b""
        kept: list[bytes] = []
        at = 0
        while at < len(text):
            at = self._string(text, at, kept) if self._in_string else self._between(text, at, kept)
        return b"".join(kept)

    def _between(self, text: bytes, at: int, kept: list[bytes]) -> int:
        """Pass what stands outside texts, up to the quote that begins the next one."""
        quote = _QUOTE.search(text, at)
        end = len(text) if quote is None else quote.end()
        between = text[at:end]
        kept.append(_RUN.sub(_shortened, between) if len(between) >= RUN_BYTES else between)
        if quote is not None:
            self._in_string, self._is_cut, self._string_bytes = True, False, 0
        return end

    def _string(self, text: bytes, at: int, kept: list[bytes]) -> int:
        """Pass a text's beginning, and its end."""
        found = _CONTENT.match(text, at)
        assert found is not None
        end = found.end()
        kept.append(self._begin(text[at:end]))
        if end == len(text):
            return end
        if text[end] == 0x22:
            kept.append(b'"')
            self._in_string = False
            return end + 1
        if len(text) - end < _ESCAPE_BYTES:  # the beginning of an escape waits for its rest
            self._pending = text[end:]
            return len(text)
        kept.append(self._begin(text[end : end + 1]))  # no escape that JSON knows: its parser will say so
        return end + 1

    def _begin(self, content: bytes) -> bytes:
        room = KEPT_BYTES - self._string_bytes
        if len(content) <= room:
            self._string_bytes += len(content)
            return content
        if self._is_cut:
            return b""
        begun = min(len(content) - len(content.lstrip(_CONTINUING)), room + _REST_BYTES)
        if begun == len(content):
            self._string_bytes += begun
            return content
        self._is_cut, self._string_bytes = True, KEPT_BYTES  # what was cut is not taken up again
        found = _CONTENT.match(content, begun, max(room, begun))
        assert found is not None
        return content[:begun] + content[begun : found.end()].rstrip(_MULTIBYTE)


def _shortened(run: re.Match[bytes]) -> bytes:
    """The first and the last number of a run."""
    text = run[0]
    first, last = text.find(b","), text.rfind(b",")
    return text if first == last else text[: first + 1] + text[last + 1 :]
