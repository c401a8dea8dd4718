"""Compressing an answer piece by piece, so that every event of a stream can be decoded as it arrives."""

from __future__ import annotations

import zlib
from typing import Protocol

import brotli
import zstandard


class Encoder(Protocol):
    """One answer's compression."""

    def feed(self, piece: bytes) -> bytes:
        """Compress a piece and flush it."""
        ...

    def end(self) -> bytes:
        """What closes the compressed stream."""
        ...


class _Zlib:
    """gzip (window bits 31), or deflate as HTTP means it: with a zlib header (15)."""

    def __init__(self, window_bits: int) -> None:
        self._z = zlib.compressobj(wbits=window_bits)

    def feed(self, piece: bytes) -> bytes:
        return self._z.compress(piece) + self._z.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._z.flush()


class _Brotli:
    def __init__(self) -> None:
        self._z = brotli.Compressor(quality=4)

    def feed(self, piece: bytes) -> bytes:
        packed: bytes = self._z.process(piece) + self._z.flush()
        return packed

    def end(self) -> bytes:
        last: bytes = self._z.finish()
        return last


class _Zstd:
    def __init__(self) -> None:
        self._z = zstandard.ZstdCompressor().compressobj()

    def feed(self, piece: bytes) -> bytes:
        return self._z.compress(piece) + self._z.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._z.flush()


def encoder(name: str) -> Encoder:
    """The encoder of a content-encoding: gzip, deflate, br or zstd."""
    if name == "br":
        return _Brotli()
    return _Zstd() if name == "zstd" else _Zlib(31 if name == "gzip" else 15)
