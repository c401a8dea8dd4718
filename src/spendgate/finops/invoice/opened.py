"""The bytes of an export, unpacked, and as text: gzip, zip, bzip2 and zstd by their first bytes; UTF-8, UTF-16 and
Windows' Latin by what they hold. I/O."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from spendgate.finops.invoice.line import BadInvoice

CHUNK = 1 << 20
PARQUET = b"PAR1"
_DOWNLOADED = "give the export as it was downloaded"


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked. Raises BadInvoice for what cannot be opened."""
    try:
        with path.open("rb") as raw:
            yield _unpack(raw, str(path))
    except _damages() as e:
        raise BadInvoice(str(path), 0, "", f"is cut off or damaged: {e}", "download it again") from e
    except OSError as e:
        reason = e.strerror or str(e)
        raise BadInvoice(str(path), 0, "", f"cannot be read: {reason}", "name a file that is there") from e


def _damages() -> tuple[type[Exception], ...]:
    """What the readers of packed files raise for one that is damaged; zstd's only where it is loaded."""
    zstd = sys.modules.get("zstandard")
    of_zstd: tuple[type[Exception], ...] = () if zstd is None else (zstd.ZstdError,)
    return (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, *of_zstd)


def _unpack(raw: IO[bytes], where: str) -> IO[bytes]:
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic[:3] == b"BZh":
        return bz2.BZ2File(raw)
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(raw, closefd=False)
    if magic == b"PK\x03\x04":
        return _member(raw, where)
    return raw


def _member(raw: IO[bytes], where: str) -> IO[bytes]:
    """The one file of a zip. Raises BadInvoice for another archive, and one that zipfile knows no way to unpack."""
    try:
        archive = zipfile.ZipFile(raw)
        names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
        if "[Content_Types].xml" in names:
            raise BadInvoice(where, 0, "", "is a workbook", "save its sheet as CSV and give that")
        if len(names) != 1:
            raise BadInvoice(
                where, 0, "", f"is an archive of {len(names)} files", "unpack it and give its files"
            )
        return archive.open(names[0])
    except RuntimeError as e:  # a password is wanted; NotImplementedError: a newer form
        raise BadInvoice(where, 0, "", f"cannot be unpacked: {e}", "unpack it and give its file") from e


def encoding_of(path: Path) -> str:
    """The text's encoding: by its byte-order mark, by zero bytes in every other place, else UTF-8 where all of it is;
    else Windows' Latin."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with unpacked(path) as file:
        first = file.read(CHUNK)
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        for encoding, offset in (("utf-16-le", 1), ("utf-16-be", 0)):
            places = first[offset:400:2]
            if places and places.count(0) * 10 > len(places) * 9:
                return encoding
        if b"\x00" in first[:CHUNK]:
            raise BadInvoice(str(path), 0, "", "is no text and no Parquet", _DOWNLOADED)
        chunk = first
        try:
            while chunk:
                decoder.decode(chunk)
                chunk = file.read(CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


@contextmanager
def text_of(path: Path, encoding: str) -> Iterator[IO[str]]:
    """The file as text, a byte that the encoding does not have as the replacement character."""
    with unpacked(path) as raw:
        yield io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="")
