"""A provider that reads a request as leniently as any server in the field and bills whatever it can make sense of.

It shares no code with the gateway, so that both cannot be wrong in the same way. HTTP/1.1 by hand: paths, methods and
bodies are judged as they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import brotli
import zstandard

from support.raw_upstream import Threaded

BODY_MAX = 64 * 1024 * 1024
MADE_OF_MODELS = re.compile(
    r"/(chat/completions|completions|responses|messages|embeddings|moderations|images/(generations|edits|variations)"
    r"|audio/(speech|transcriptions|translations)|rerank|embed|chat|generate|api/(chat|generate|embed|embeddings)"
    r"|model/[^/]+/(converse|converse-stream|invoke|invoke-with-response-stream)|interactions|ocr)/?$"
    r"|:(generatecontent|streamgeneratecontent|embedcontent|batchembedcontents|predict|rawpredict|streamrawpredict)$"
)
FREE = re.compile(r"count_?tokens|input_tokens|count-tokens|tokenize")
ASKS = re.compile(
    r"""["']?(messages|contents?|prompt|input|inputs|texts?|query|documents|file)["']?\s*[:=\r]""", re.I
)
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was billed: the attack's label and what arrived."""

    label: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __str__(self) -> str:
        head = f"{self.label}: {self.method} {self.target} {dict(self.headers)}"
        return f"{head} {self.body[:300]!r} ({len(self.body)} bytes)"


def path_of(target: str) -> str:
    """A target as the most forgiving router sees it: decoded, without parameters, dot segments, case and blanks."""
    path = re.sub(r"^[a-z]+://[^/]*", "", target, flags=re.I).partition("?")[0].partition("#")[0]
    for _ in range(3):
        path = unquote(path)
    kept: list[str] = []
    for segment in re.split(r"[/\\]+", path):
        segment = segment.partition(";")[0].strip(" \t\r\n\0.") if segment not in ("..", ".") else segment
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept).lower()


def readings(body: bytes) -> Iterator[str]:
    """The body as text, in every way in which somebody might read it."""
    for plain in {body, *_inflated(body, 3)}:
        head = plain[:4]
        for charset in (
            "utf-8",
            "utf-16",
            "utf-16-le",
            "utf-16-be",
            "utf-32",
            "utf-32-le",
            "utf-32-be",
            "utf-7",
        ):
            if charset == "utf-8" or b"\0" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"+" in head:
                yield plain.decode(charset, "replace")


def _inflated(body: bytes, depth: int) -> Iterator[bytes]:
    for inflate in (_gzip, _zlib, _raw, _brotli, _zstd):
        with contextlib.suppress(Exception):
            plain = inflate(body)
            if plain and plain != body:
                yield plain
                if depth > 1:
                    yield from _inflated(plain, depth - 1)


def _gzip(body: bytes) -> bytes:
    return zlib.decompressobj(31).decompress(body, BODY_MAX)


def _zlib(body: bytes) -> bytes:
    return zlib.decompressobj().decompress(body, BODY_MAX)


def _raw(body: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(body, BODY_MAX)


def _brotli(body: bytes) -> bytes:
    return bytes(brotli.Decompressor().process(body))


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


def is_billed(method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes) -> bool:
    """Would the most forgiving provider make a model work for this?"""
    named = {k.lower(): v for k, v in headers}
    path = path_of(target)
    if FREE.search(path) or not MADE_OF_MODELS.search(path):
        return False
    if "websocket" in named.get("upgrade", "").lower():
        return True
    query = target.partition("?")[2].lower()
    overridden = any(named.get(h, "").upper() == "POST" for h in OVERRIDES) or "method=post" in query
    if method.upper() not in ("POST", "PUT", "PATCH") and not overridden:
        return False
    return any(ASKS.search(text) for text in readings(body))


@dataclass
class GreedyProvider(Threaded):
    """Runs in a thread of its own; a context manager. `billed` has every call that it would bill."""

    billed: list[Call] = field(default_factory=list)
    arrived: int = 0
    url: str = ""

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while await self._exchange(reader, writer):
                pass
        with contextlib.suppress(ConnectionError):
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = tuple(
            (k.strip().lower(), v.strip()) for k, _, v in (x.partition(":") for x in head[1:] if x)
        )
        named = dict(headers)
        body = bytearray()
        try:
            async for piece in _body(reader, named):
                body += piece
        except (asyncio.IncompleteReadError, ConnectionError):
            # a reader that works with the first document that it gets does not wait for the rest
            self._judge(method, target, headers, bytes(body), named)
            raise
        self._judge(method, target, headers, bytes(body), named)
        if "websocket" in named.get("upgrade", "").lower():
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
            )
            await writer.drain()
            return False
        answer = (
            b'{"id":"x","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"finish_reason":"stop",'
            b'"message":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":4,'
            b'"total_tokens":13}}'
        )
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
        )
        writer.write(answer if method != "HEAD" else b"")
        await writer.drain()
        return method != "HEAD"

    def _judge(
        self,
        method: str,
        target: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        named: dict[str, str],
    ) -> None:
        self.arrived += 1
        if is_billed(method, target, headers, body):
            self.billed.append(Call(named.get("x-attack", "?"), method, target, headers, body))


async def _body(reader: asyncio.StreamReader, named: dict[str, str]):  # type: ignore[no-untyped-def]
    if "chunked" in named.get("transfer-encoding", ""):
        while size := int((await reader.readline()).partition(b";")[0].strip(), 16):
            yield await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()).strip():
            pass  # trailers
        return
    left = int(named.get("content-length") or 0)
    while left:
        piece = await reader.read(min(left, 1 << 16))
        if not piece:
            raise ConnectionError
        left -= len(piece)
        yield piece
