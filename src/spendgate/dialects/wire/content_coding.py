"""Content codings of requests and answers: gzip, deflate, br, zstd, and lists of them (RFC 9110 section 8.4).

Upstreams compress although `accept-encoding` was taken away. Output is bounded, so that a small hostile
answer cannot fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

from spendgate.errors import SpendgateError

OUTPUT_BYTES_MAX = 64 * 1024 * 1024
CODINGS_MAX = 4
"""More codings on top of each other are not believed."""

_ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024  # RFC 9659: the largest window of the content coding
_ZSTD_SLICE_BYTES = 1024  # a block of 4 bytes makes at most 128 KiB, so a slice makes at most 32 MiB


class EncodingError(SpendgateError):
    """A body cannot be decoded: unknown coding, broken or cut data, or too much output. The unmetered
    reason is `encoding`."""


class TooLarge(EncodingError):
    """A body decodes to more than it may."""


class _Coding(Protocol):
    def decode(self, piece: bytes, limit: int) -> bytes: ...

    @property
    def finished(self) -> bool: ...


def codings(content_encoding: str) -> tuple[str, ...]:
    """Read a content-encoding header: the codings in the order they were applied, `identity` left out."""
    names = (name.strip().lower() for name in content_encoding.split(","))
    return tuple(name for name in names if name not in ("", "identity"))


def supported(content_encoding: str) -> bool:
    """Can a body with this content-encoding header be decoded?"""
    names = codings(content_encoding)
    return len(names) <= CODINGS_MAX and all(name in _CODINGS for name in names)


def decode(body: bytes, content_encoding: str, output_bytes_max: int = OUTPUT_BYTES_MAX) -> bytes:
    """Decode a whole body. Raises EncodingError."""
    decoder = Decoder(content_encoding, output_bytes_max)
    return decoder.feed(body) + decoder.close()


class Decoder:
    """Decodes one body in pieces of any size. Raises EncodingError; then nothing more may be fed."""

    def __init__(self, content_encoding: str, output_bytes_max: int = OUTPUT_BYTES_MAX) -> None:
        names = codings(content_encoding)
        if not supported(content_encoding):
            raise EncodingError(
                f"content-encoding {content_encoding[:80]!r} cannot be decoded; "
                f"use at most {CODINGS_MAX} of {', '.join(_CODINGS)}"
            )
        self._chain: list[tuple[str, _Coding]] = [(name, _CODINGS[name]()) for name in reversed(names)]
        self._output_bytes_max = output_bytes_max
        self._fed = False
        self._output_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        """Decode a piece. Returns what it gave, maybe nothing yet."""
        self._fed = self._fed or bool(piece)
        limit = self._output_bytes_max - self._output_bytes
        for name, coding in self._chain:
            try:
                piece = coding.decode(piece, self._output_bytes_max)
            except (zlib.error, brotli.error, zstandard.ZstdError) as e:
                raise EncodingError(f"the body is not valid {name}: {e}") from e
        if len(piece) > limit:
            raise TooLarge(f"the body decodes to more than {self._output_bytes_max} bytes")
        self._output_bytes += len(piece)
        return piece

    def close(self) -> bytes:
        """End the body. Returns the rest (none with today's codings). Raises where the body was cut."""
        for name, coding in self._chain:
            if self._fed and not coding.finished:
                raise EncodingError(f"the {name} body was cut before its end")
        return b""


class _Zlib:
    """gzip (RFC 1952, several members) and deflate: with a zlib header (RFC 1950) as the standard says, or
    raw (RFC 1951) as some servers send it."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._engine = zlib.decompressobj(wbits) if wbits else None
        self._head = b""

    def decode(self, piece: bytes, limit: int) -> bytes:
        if self._engine is None:
            self._head += piece
            if len(self._head) < 2:
                return b""
            piece, self._head = self._head, b""
            zlib_header = piece[0] & 0x0F == 8 and int.from_bytes(piece[:2], "big") % 31 == 0
            self._wbits = zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
            self._engine = zlib.decompressobj(self._wbits)
        output: list[bytes] = []
        size = 0
        while piece:
            if self._engine.eof:
                if self._wbits != _GZIP_WBITS:
                    break  # bytes after the end of deflate data: browsers ignore them too
                if not piece.startswith(b"\x1f"):
                    break  # padding after the last member
                self._engine = zlib.decompressobj(self._wbits)
            made = self._engine.decompress(piece, limit - size + 1)
            size += len(made)
            output.append(made)
            if size > limit:
                raise TooLarge(f"the body decodes to more than {limit} bytes")
            piece = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
        return b"".join(output)

    @property
    def finished(self) -> bool:
        return self._engine is not None and self._engine.eof


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._engine = brotli.Decompressor()

    def decode(self, piece: bytes, limit: int) -> bytes:
        output: list[bytes] = []
        size = 0
        while not self._engine.is_finished():
            made: bytes = self._engine.process(piece, output_buffer_limit=limit - size + 1)
            piece = b""
            size += len(made)
            output.append(made)
            if size > limit:
                raise TooLarge(f"the body decodes to more than {limit} bytes")
            if self._engine.can_accept_more_data():
                break
        return b"".join(output)

    @property
    def finished(self) -> bool:
        return bool(self._engine.is_finished())


class _Zstd:
    """zstd (RFC 8878, several frames; windows up to 8 MiB by RFC 9659)."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        self._engine = self._context.decompressobj()

    def decode(self, piece: bytes, limit: int) -> bytes:
        output: list[bytes] = []
        size = 0
        view = memoryview(piece)
        while view:
            if self._engine.eof:
                self._engine = self._context.decompressobj()
            made = self._engine.decompress(view[:_ZSTD_SLICE_BYTES])
            size += len(made)
            output.append(made)
            if size > limit:
                raise TooLarge(f"the body decodes to more than {limit} bytes")
            unused = len(self._engine.unused_data) if self._engine.eof else 0
            view = view[min(_ZSTD_SLICE_BYTES, len(view)) - unused :]
        return b"".join(output)

    @property
    def finished(self) -> bool:
        return self._engine.eof


_GZIP_WBITS = 16 + zlib.MAX_WBITS
_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": lambda: _Zlib(_GZIP_WBITS),
    "x-gzip": lambda: _Zlib(_GZIP_WBITS),
    "deflate": lambda: _Zlib(0),
    "br": _Brotli,
    "zstd": _Zstd,
}
